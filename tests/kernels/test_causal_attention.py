from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from archspec.kernels.causal_attention import causal_attention, stock
from archspec.kernels.causal_attention import op as module

pytest.importorskip("numba")

SCALE = 0.2
# batch, tokens, heads, kv_heads, width, value_width
PLAIN = (2, 128, 2, 2, 64, 64)
GROUPED = (2, 200, 4, 2, 64, 32)  # with a last block of 8 queries
ODD = (3, 77, 2, 1, 96, 64)
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


@pytest.fixture(autouse=True)
def _preferred(monkeypatch):
    """Let the kernel run on processors where it is no faster, and on small inputs."""
    monkeypatch.setattr(module, "prefers_onednn", lambda: True)
    monkeypatch.setattr(module, "_LEAST_MACS", 0)
    monkeypatch.delenv("ARCHSPEC_KERNELS", raising=False)


@pytest.fixture
def calls(monkeypatch):
    """Counts runs of the kernels."""
    found, real = [], module._on_heads

    def spy(kernel, tensors, scale):
        found.append(kernel.__name__)
        return real(kernel, tensors, scale)

    monkeypatch.setattr(module, "_on_heads", spy)
    return found


def draw(shape, dtype=torch.float32):
    batch, tokens, heads, kv_heads, width, value_width = shape
    sizes = ((heads, width), (kv_heads, width), (kv_heads, value_width))
    return tuple(torch.randn(batch, tokens, *size).to(dtype).requires_grad_() for size in sizes)


def by_definition(query, key, value):
    """Attention in fp64, of [batch, tokens, heads, width]."""
    group = query.shape[2] // key.shape[2]
    query, key, value = (tensor.double().transpose(1, 2) for tensor in (query, key, value))
    key, value = (tensor.repeat_interleave(group, dim=1) for tensor in (key, value))
    visible = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool).tril()
    logits = (SCALE * query @ key.mT).masked_fill(~visible, -torch.inf)
    return (logits.softmax(-1) @ value).transpose(1, 2)


def attend(leaves):
    return causal_attention(*leaves, scale=SCALE)


def error(found, exact):
    found, exact = found.detach().double(), exact.detach().double()
    return float((found - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", [PLAIN, GROUPED, ODD, (1, 64, 1, 1, 32, 32)])
def test_results_and_gradients_are_those_of_the_definition(shape, dtype, calls):
    leaves = draw(shape, dtype)
    result, exact = attend(leaves), by_definition(*leaves)
    grad = torch.randn_like(result)
    found = torch.autograd.grad(result, leaves, grad)
    expected = torch.autograd.grad(exact, leaves, grad.double())
    assert calls == ["attend_heads", "attend_heads_backward"]
    assert error(result, exact) < TOLERANCES[dtype]
    for ours, theirs, leaf in zip(found, expected, leaves, strict=True):
        assert error(ours, theirs) < TOLERANCES[dtype]
        assert (ours.shape, ours.dtype) == (leaf.shape, dtype)


def test_bf16_is_no_less_exact_than_stock():
    leaves = draw(PLAIN, torch.bfloat16)
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    exact = by_definition(*wide)
    grad = torch.randn_like(exact).bfloat16()
    goal = (exact, *torch.autograd.grad(exact, wide, grad.double()))
    ours, theirs = attend(leaves), stock.causal_attention(*leaves, SCALE)
    errors = [
        list(map(error, (out, *torch.autograd.grad(out, leaves, grad)), goal))
        for out in (ours, theirs)
    ]
    assert all(mine <= 1.1 * other for mine, other in zip(*errors, strict=True))


def test_steep_logits_neither_overflow_nor_vanish():
    query, key, value = (leaf.detach() for leaf in draw(PLAIN))
    leaves = [tensor.requires_grad_() for tensor in (100 * query, key, value)]
    result, exact = attend(leaves), by_definition(*leaves)
    assert error(result, exact) < 1e-3  # what fp32 leaves of logits of some thousands
    grads = torch.autograd.grad(result, leaves, torch.ones_like(result))
    assert all(bool(grad.isfinite().all()) for grad in grads)


def test_what_is_not_a_number_reaches_all_who_see_it():
    leaves = [leaf.detach() for leaf in draw(PLAIN)]
    leaves[1][:, 70] = torch.nan
    is_number = attend(leaves).isfinite().all(-1).all(-1)
    assert is_number[:, :70].all()
    assert not is_number[:, 70:].any()


def test_rows_may_lie_anyhow():
    whole = torch.randn(2, 100, 3, 2, 64, requires_grad=True)
    result = attend(whole.unbind(2))
    (found,) = torch.autograd.grad(result.transpose(1, 2).sum(), whole)
    (expected,) = torch.autograd.grad(by_definition(*whole.unbind(2)).sum(), whole)
    assert error(found, expected) < TOLERANCES[torch.float32]


def test_it_can_be_differentiated_twice():
    leaves = draw((1, 64, 2, 1, 32, 32))
    ours, exact = attend(leaves), by_definition(*leaves)
    seconds = []
    for result in (ours, exact):
        (first,) = torch.autograd.grad(result.square().sum(), leaves[0], create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), leaves))
    for found, expected in zip(*seconds, strict=True):
        assert error(found, expected) < 1e-5


def test_what_is_frozen_gets_no_gradient(calls):
    query, key, value = draw(PLAIN)
    result = attend((query, key.detach(), value.detach()))
    (found,) = torch.autograd.grad(result.sum(), query)
    exact = by_definition(query, key.detach(), value.detach())
    (expected,) = torch.autograd.grad(exact.sum(), query)
    assert error(found, expected) < TOLERANCES[torch.float32]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_numbers_of_threads_and_heads_beside_change_no_bit(dtype):
    leaves = draw(GROUPED, dtype)
    before = torch.get_num_threads()
    steps = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            result = attend(leaves)
            steps.append((result, *torch.autograd.grad(result.float().square().sum(), leaves)))
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *steps))
    alone = attend([leaf[1:, :, leaf.shape[2] // 2 :] for leaf in leaves])
    assert torch.equal(alone, steps[0][0][1:, :, 2:])


def test_under_autocast_it_runs_in_its_dtype(calls):
    leaves = draw(PLAIN)
    with torch.autocast("cpu"):
        result = attend(leaves)
    assert result.dtype == torch.bfloat16
    grads = torch.autograd.grad(result.float().sum(), leaves)
    assert [grad.dtype for grad in grads] == [torch.float32] * 3
    assert len(calls) == 2


def by_demand(monkeypatch, leaves):
    monkeypatch.setenv("ARCHSPEC_KERNELS", "torch")
    return attend(leaves)


def when_counted(monkeypatch, leaves):
    with FlopCounterMode(display=False):
        return attend(leaves)


def when_somebody_took_its_place(monkeypatch, leaves):
    replacement = partial(F.scaled_dot_product_attention)
    monkeypatch.setattr(F, "scaled_dot_product_attention", replacement)
    return attend(leaves)


def when_traced(monkeypatch, leaves):
    return torch.jit.trace(lambda *inputs: attend(inputs), leaves, check_trace=False)(*leaves)


def when_transformed(monkeypatch, leaves):
    by_one = [leaf[:, None] for leaf in leaves]
    return torch.func.vmap(lambda *inputs: attend(inputs))(*by_one)[:, 0]


def without_numba(monkeypatch, leaves):
    monkeypatch.setattr(module, "is_installed", lambda package: package != "numba")
    return attend(leaves)


def with_more_threads_than_heads(monkeypatch, leaves):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    return attend(leaves)


def in_fp64(monkeypatch, leaves):
    return attend([leaf.double() for leaf in leaves]).float()


@pytest.mark.parametrize(
    "way",
    [
        by_demand,
        when_counted,
        when_somebody_took_its_place,
        when_traced,
        when_transformed,
        without_numba,
        with_more_threads_than_heads,
        in_fp64,
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # vmap
def test_stock_torch_runs_where_somebody_watches_or_it_must(way, monkeypatch, calls):
    leaves = draw(PLAIN)
    result = way(monkeypatch, leaves)
    assert not calls
    torch.testing.assert_close(result, by_definition(*leaves).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 63, 2, 2, 32, 32), (1, 64, 2, 2, 48, 48)])
def test_stock_torch_runs_for_short_rows_and_odd_widths(shape, calls):
    leaves = draw(shape)
    assert error(attend(leaves), by_definition(*leaves)) < TOLERANCES[torch.float32]
    assert not calls


def test_stock_torch_runs_where_little_is_multiplied(monkeypatch, calls):
    monkeypatch.undo()
    monkeypatch.setattr(module, "prefers_onednn", lambda: True)
    attend(draw((1, 64, 2, 2, 32, 32)))
    assert not calls
