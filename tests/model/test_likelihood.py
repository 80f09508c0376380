import pytest
import torch
import torch.nn.functional as F

from archspec.model import likelihood
from archspec.model.likelihood import target_nll


@pytest.fixture(autouse=True)
def _by_chunks(monkeypatch):
    """Take small logits in chunks of three tokens, too."""
    monkeypatch.setattr(likelihood, "_LEAST_BYTES", 1)
    monkeypatch.setattr(likelihood, "_CHUNK_ELEMENTS", 3 * 11)


def draw(tokens=10, dtype=torch.float64):
    logits = (3 * torch.randn(tokens, 11, dtype=dtype)).requires_grad_()
    return logits, torch.randint(11, (tokens,))


def stock(logits, targets):
    return F.cross_entropy(logits, targets, reduction="none")


@pytest.mark.parametrize("tokens", [1, 3, 10])
def test_values_and_gradients_are_those_of_cross_entropy(tokens):
    logits, targets = draw(tokens)
    ours, exact = target_nll(logits, targets), stock(logits, targets)
    torch.testing.assert_close(ours, exact)
    weights = torch.rand(tokens, dtype=torch.float64)
    found, expected = (torch.autograd.grad((weights * nll).sum(), logits) for nll in (ours, exact))
    torch.testing.assert_close(found, expected)


def test_gradients_are_right_to_second_order():
    logits, targets = draw(4)
    assert torch.autograd.gradcheck(lambda x: target_nll(x, targets), logits)
    assert torch.autograd.gradgradcheck(lambda x: target_nll(x, targets), logits)


def test_a_certain_target_costs_nothing():
    logits = torch.full((2, 11), -torch.inf)
    logits[:, 4] = 0.0
    assert target_nll(logits, torch.tensor([4, 4])).tolist() == [0.0, 0.0]


def test_small_logits_are_left_to_stock_torch(monkeypatch):
    monkeypatch.setattr(likelihood, "_LEAST_BYTES", 10 * 11 * 8 + 1)
    monkeypatch.setattr(likelihood, "_nll", None)
    logits, targets = draw()
    assert torch.equal(target_nll(logits, targets), stock(logits, targets))


def test_half_precision_is_widened_as_if_before():
    logits = (3 * torch.randn(10, 11)).bfloat16().requires_grad_()
    targets = torch.randint(11, (10,))
    ours, exact = target_nll(logits, targets), stock(logits.float(), targets)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, exact)
    found, expected = (torch.autograd.grad(nll.sum(), logits)[0] for nll in (ours, exact))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)
