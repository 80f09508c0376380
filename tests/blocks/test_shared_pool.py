"""Readers of shared pools."""

import copy
from typing import ClassVar

import torch

from archspec.blocks.memory.config import MemoryConfig
from archspec.blocks.module import ForwardContext
from archspec.blocks.shared_pool.config import SharedPoolConfig
from archspec.blocks.usage import UsageRecorder
from archspec.compiler.compile import compile
from archspec.testing.blocks import SCOPE, BlockContract, build_rig, random_input
from archspec.testing.specs import load_document


def reader(**changes):
    sizes = {"pool": "wide", "num_heads": 2, "top_k": 5, "key_dim": 12}
    return SharedPoolConfig(**(sizes | changes))


class TestContract(BlockContract):
    cases: ClassVar = {
        "output": reader(),
        "no-output": reader(pool="equal", num_heads=3),
        "gate": reader(pool="equal", gate="swilu", bias=False),
        "memory+": reader(gate="swilu", qk_norm=True),
        "rank1": reader(pool="experts", expert="rank1", num_heads=3),
    }


def test_differs_from_a_private_memory_only_in_where_values_live():
    shared = build_rig(reader(gate="swilu", qk_norm=True))
    pool = SCOPE.pools["wide"]
    private = build_rig(
        MemoryConfig(
            num_keys=pool.num_keys,
            value_dim=pool.value_dim,
            num_heads=2,
            top_k=5,
            key_dim=12,
            gate="swilu",
            qk_norm=True,
        )
    )
    state = shared.block.state_dict()
    private.block.load_state_dict({**state, "values.weight": shared.pools["wide"].weight})
    x = random_input(2, 7)
    assert torch.equal(shared(x), private(x))


SPEC = load_document(
    {
        "archspec": 1,
        "kind": "model",
        "vocab_size": 31,
        "max_seq_len": 16,
        "d_model": 24,
        "attention": {"num_heads": 3},
        "pools": {"big": {"num_keys": 6, "value_dim": 10}},
        "blocks": {
            "read": {"type": "shared_pool", "pool": "big", "num_heads": 2, "top_k": 3, "key_dim": 8}
        },
        "layers": [{"repeat": 3, "layers": ["read"]}],
    }
)
TOKENS = torch.randint(0, 31, (2, 16), generator=torch.Generator().manual_seed(0))


def test_the_gradient_is_the_sum_over_readers():
    model = compile(SPEC, dtype="float64")
    model(TOKENS).square().sum().backward()
    apart = compile(SPEC, dtype="float64")
    pools = [copy.deepcopy(apart.pools.big) for _ in range(3)]
    for layer, pool in zip(apart.layers, pools, strict=True):
        object.__setattr__(layer.blocks[0], "_pool", pool)
    apart(TOKENS).square().sum().backward()
    grads = [pool.weight.grad for pool in pools]
    assert all(grad.abs().sum() > 0 for grad in grads)
    torch.testing.assert_close(model.pools.big.weight.grad, sum(grads), rtol=1e-12, atol=1e-12)


def test_the_pool_has_one_name():
    model = compile(SPEC)
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert [name for name in names if "pool" in name or "values" in name] == ["pools.big.weight"]
    assert sum("big" in key for key in model.state_dict()) == 1


def test_a_copy_reads_its_own_pool():
    model = compile(SPEC)
    clone = copy.deepcopy(model)
    for layer in clone.layers:
        assert layer.blocks[0].pool is clone.pools.big
    assert clone.pools.big is not model.pools.big
    before = model(TOKENS)
    with torch.no_grad():
        clone.pools.big.weight.zero_()
    assert torch.equal(model(TOKENS), before)
    assert not torch.equal(clone(TOKENS), before)


def test_the_link_survives_moves_and_casts():
    model = compile(SPEC, device="meta").to_empty(device="cpu").to(torch.float64)
    assert all(layer.blocks[0].pool is model.pools.big for layer in model.layers)


def test_use_is_counted_per_pool_over_all_readers():
    model = compile(SPEC)
    usage = UsageRecorder(model)
    model(TOKENS, ForwardContext(token_ids=TOKENS, usage=usage))
    assert usage.counts.keys() == {"pools.big"}
    assert usage.counts["pools.big"].sum().item() == 3 * 32 * 2 * 3
