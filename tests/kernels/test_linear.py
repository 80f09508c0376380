import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from archspec.kernels import linear as module
from archspec.kernels.linear import linear

if not torch.backends.mkldnn.is_available():
    pytest.skip("needs oneDNN", allow_module_level=True)

NARROW, WIDE = 32, 1024
ROWS = 128  # with the two, 2^22 multiply-adds


@pytest.fixture(autouse=True)
def _preferred(monkeypatch):
    """Let oneDNN run on processors where it is no faster, too."""
    monkeypatch.setattr(module, "prefers_onednn", lambda: True)
    monkeypatch.delenv("ARCHSPEC_KERNELS", raising=False)


@pytest.fixture
def calls(monkeypatch):
    """Counts what went to oneDNN."""
    found, real = [], module._times_transposed

    def spy(x, weight, bias=None):
        found.append((x.shape, weight.shape))
        return real(x, weight, bias)

    monkeypatch.setattr(module, "_times_transposed", spy)
    return found


def draw(in_dim=NARROW, out_dim=WIDE, *, bias=True):
    x = torch.randn(4, ROWS // 4, in_dim, requires_grad=True)
    weight = torch.randn(out_dim, in_dim, requires_grad=True)
    return (x, weight, torch.randn(out_dim, requires_grad=True)) if bias else (x, weight)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dims", [(NARROW, WIDE), (WIDE, NARROW), (257, 129)])
def test_results_and_gradients_are_those_of_stock_torch(dims, bias, calls):
    leaves = draw(*dims, bias=bias)
    result, exact = linear(*leaves), F.linear(*(leaf.double() for leaf in leaves))
    torch.testing.assert_close(result.double(), exact, rtol=1e-5, atol=1e-4)
    grad = torch.randn_like(result)
    found = torch.autograd.grad(result, leaves, grad)
    expected = torch.autograd.grad(exact, leaves, grad.double())
    for ours, theirs, leaf in zip(found, expected, leaves, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-3)
        assert ours.stride() == leaf.stride()
    assert len(calls) == 3


def test_what_is_frozen_gets_no_gradient(calls):
    x, weight, bias = draw()
    linear(x, weight.detach(), bias.detach()).sum().backward()
    assert len(calls) == 2
    torch.testing.assert_close(x.grad, weight.sum(0).expand_as(x), rtol=1e-4, atol=1e-4)


def test_it_can_be_differentiated_twice():
    x, weight, bias = draw()
    (first,) = torch.autograd.grad(linear(x, weight, bias).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), weight)
    y, twin, shift = (leaf.detach().requires_grad_() for leaf in (x, weight, bias))
    (first,) = torch.autograd.grad(F.linear(y, twin, shift).square().sum(), y, create_graph=True)
    (expected,) = torch.autograd.grad(first.sum(), twin)
    torch.testing.assert_close(second, expected, rtol=1e-4, atol=1e-1)


def test_a_step_repeats_to_the_bit():
    leaves = draw()
    once, again = (torch.autograd.grad(linear(*leaves).square().sum(), leaves) for _ in range(2))
    assert all(map(torch.equal, once, again))


def by_demand(monkeypatch, leaves):
    monkeypatch.setenv("ARCHSPEC_KERNELS", "torch")
    return linear(*leaves)


def when_counted(monkeypatch, leaves):
    with FlopCounterMode(display=False) as counter:
        result = linear(*leaves)
    assert counter.get_total_flops() == 2 * ROWS * NARROW * WIDE
    return result


def when_somebody_took_its_place(monkeypatch, leaves):
    monkeypatch.setattr(F, "linear", torch._C._nn.linear.__call__)
    return linear(*leaves)


def when_traced(monkeypatch, leaves):
    return torch.jit.trace(linear, leaves, check_trace=False)(*leaves)


def when_transformed(monkeypatch, leaves):
    return torch.func.vmap(linear, in_dims=(0, None, None))(*leaves)


def under_autocast(monkeypatch, leaves):
    with torch.autocast("cpu"):
        result = linear(*leaves)
    assert result.dtype == torch.bfloat16
    return result.float()


def in_fp64(monkeypatch, leaves):
    return linear(*(leaf.double() for leaf in leaves)).float()


@pytest.mark.parametrize(
    "way",
    [
        by_demand,
        when_counted,
        when_somebody_took_its_place,
        when_traced,
        when_transformed,
        under_autocast,
        in_fp64,
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit
def test_stock_torch_runs_where_somebody_watches(way, monkeypatch, calls):
    leaves = draw()
    result = way(monkeypatch, leaves)
    assert not calls
    tolerance = 0.3 if way is under_autocast else 1e-4
    torch.testing.assert_close(result, linear(*leaves), rtol=0.1, atol=tolerance)


def test_stock_torch_runs_where_little_is_multiplied(calls):
    linear(torch.randn(8, NARROW), torch.randn(WIDE, NARROW))
    assert not calls


def test_only_other_processors_than_intels_prefer_it(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    for vendor, expected in (("AuthenticAMD", True), ("GenuineIntel", False), ("", False)):
        monkeypatch.setattr(module, "_vendor", lambda vendor=vendor: vendor)
        assert module.prefers_onednn.__wrapped__() is expected
    monkeypatch.setattr(module, "_vendor", lambda: "AuthenticAMD")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert module.prefers_onednn.__wrapped__() is False
