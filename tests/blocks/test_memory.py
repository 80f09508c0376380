"""Memory blocks against brute force over all slots."""

import itertools
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from archspec.blocks.memory.config import MemoryConfig
from archspec.blocks.usage import UsageRecorder
from archspec.testing.blocks import SCOPE, BlockContract, build_rig, context_of, random_input


def memory(**changes):
    sizes = {"num_keys": 9, "value_dim": SCOPE.d_model, "num_heads": 3, "top_k": 4, "key_dim": 10}
    return MemoryConfig(**(sizes | changes))


class TestContract(BlockContract):
    cases: ClassVar = {
        "no-output": memory(),
        "output": memory(value_dim=30, num_heads=1, bias=False),
        "gate": memory(gate="swilu", key_dim=22),
        "qk-norm": memory(qk_norm=True, key_dim=32),
        "memory+": memory(value_dim=61, gate="swilu", qk_norm=True, bias=False),
        "one-slot": memory(num_keys=1, top_k=1, key_dim=2),
        "rank1": memory(expert="rank1", bias=False),
        "rank1-memory+": memory(expert="rank1", value_dim=61, gate="swilu", qk_norm=True),
        "rank1-one-head": memory(expert="rank1", value_dim=7, num_heads=1, key_dim=4),
    }


def rms_norm(x, weight, eps=1e-5):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def brute_force(block, config, table, x):
    """The block by its definition: plain matmuls, scores of all num_keys ** 2 slots.

    Of a rank-1 expert only the picked hidden units are computed, as the books say.
    """
    w = dict(block.named_parameters())
    tokens = x.flatten(0, 1)
    heads, half = config.num_heads, config.key_dim // 2
    queries = F.linear(tokens, w["query.weight"], w.get("query.bias")).view(-1, heads, 2, half)
    keys = w["codebooks"]
    if config.qk_norm:
        queries, keys = rms_norm(queries, w["query_norm"]), rms_norm(keys, w["key_norm"])
    first = torch.einsum("thd,hnd->thn", queries[:, :, 0], keys[0])
    second = torch.einsum("thd,hnd->thn", queries[:, :, 1], keys[1])
    scores = (first[..., :, None] + second[..., None, :]).flatten(2)  # [tokens, heads, slots]
    best, slots = scores.sort(-1, descending=True)
    weights = best[..., : config.top_k].softmax(-1).flatten(1)
    slots = slots[..., : config.top_k].flatten(1)
    rows = table[slots]  # [tokens, picks, value_dim]
    if config.expert == "rank1":
        hidden = torch.bmm(block.pool.down[slots], tokens[:, :, None])[..., 0]
        weights = weights * hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    value = torch.bmm(weights[:, None], rows)[:, 0]
    if config.gate == "swilu":
        value = value * F.silu(F.linear(tokens, w["gate.weight"], w.get("gate.bias")))
    if "output.weight" in w:
        value = F.linear(value, w["output.weight"], w.get("output.bias"))
    return value.view_as(x)


def randomise(rig):
    """Constant starts, biases above all, would hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in rig.parameters():
            noise = torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
            parameter.add_(0.3 * noise)
    return rig


def designs():
    """Every combination of the switches with two widths, and two sizes of the plain table."""
    switches = itertools.product(("none", "swilu"), (False, True), (False, True), (45, 20))
    for gate, qk_norm, bias, value_dim in switches:
        shared = {"gate": gate, "qk_norm": qk_norm, "bias": bias, "value_dim": value_dim}
        for changes in ({"num_keys": 4}, {"num_keys": 9}, {"expert": "rank1", "num_keys": 6}):
            yield memory(**shared, **changes)


@pytest.mark.parametrize("config", list(designs()))
def test_equals_brute_force(config):
    rig = randomise(build_rig(config))
    table = rig.block.values.weight
    found = {}
    for name in ("block", "brute"):
        rig.zero_grad()
        x = random_input(2, 5).requires_grad_()
        with FlopCounterMode(display=False) as counter:
            result = rig(x) if name == "block" else brute_force(rig.block, config, table, x)
        result.cos().sum().backward()
        grads = {key: p.grad.clone() for key, p in rig.block.named_parameters()}
        found[name] = {"result": result.detach(), "x": x.grad, **grads}
        flops = 10 * config.cost(TestContract().cost_context()).flops_per_token
        assert counter.get_total_flops() == flops
    for key, value in found["brute"].items():
        torch.testing.assert_close(found["block"][key], value, rtol=1e-9, atol=1e-11, msg=key)


def test_scores_start_with_standard_deviation_one():
    for qk_norm in (False, True):
        rig = build_rig(memory(num_keys=32, key_dim=64, qk_norm=qk_norm, num_heads=8, top_k=32))
        block = rig.block
        queries = block.query(random_input(4, 64).flatten(0, 1)).view(-1, 8, 2, 32)
        keys = block.codebooks
        if qk_norm:
            queries, keys = rms_norm(queries, block.query_norm), rms_norm(keys, block.key_norm)
        halves = torch.einsum("thpd,phnd->pthn", queries, keys)
        slots = halves[0][..., :, None] + halves[1][..., None, :]
        assert slots.std().item() == pytest.approx(1.0, abs=0.1)


def test_records_the_slots_it_reads():
    rig = build_rig(memory())
    x = random_input(2, 6)
    context = context_of(x)
    context.usage = usage = UsageRecorder(rig)
    rig(x, context)
    rig(x, context)
    counts = usage.counts["block.values"]
    assert counts.shape == (81,)
    assert counts.sum().item() == 2 * 12 * 3 * 4
    usage.reset()
    assert not usage.counts


def test_heads_add_up():
    """Rows of all heads are summed, not averaged or concatenated."""
    rig = build_rig(memory(top_k=1))
    with torch.no_grad():
        rig.block.values.weight.fill_(1.0)
    assert torch.equal(rig(random_input(1, 2)), torch.full((1, 2, 45), 3.0, dtype=torch.float64))


def test_rank1_experts_differentiate():
    rig = randomise(build_rig(memory(expert="rank1", num_keys=3, top_k=2, num_heads=2, key_dim=4)))
    parameters = dict(rig.block.named_parameters())

    def run(x, *values):
        named = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(rig.block, named, (x, context_of(x)))

    x = random_input(1, 2).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *parameters.values()))


def test_rank1_experts_that_are_always_chosen_are_a_dense_layer():
    rig = build_rig(memory(expert="rank1", num_keys=1, top_k=1, num_heads=3))
    down, up = rig.block.values.down, rig.block.values.weight
    x = random_input(2, 3)
    expected = 3 * F.gelu(x @ down.T) @ up  # three heads read the only slot
    torch.testing.assert_close(rig(x), expected)


def test_a_slot_of_rank1_experts_has_both_vectors():
    plain, rank1 = memory(value_dim=30), memory(value_dim=30, expert="rank1")
    context = TestContract().cost_context()
    before, after = plain.cost(context), rank1.cost(context)
    slots, picks, d_model = 81, 3 * 4, SCOPE.d_model
    assert after.num_table_params - before.num_table_params == slots * d_model
    assert after.num_params - before.num_params == slots * d_model
    assert after.num_active_params - before.num_active_params == picks * d_model
    assert after.flops_per_token - before.flops_per_token == 2 * picks * d_model
    assert after.table_bytes_per_token - before.table_bytes_per_token == 4 * picks * d_model
