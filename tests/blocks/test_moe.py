"""Mixtures of experts against a loop over tokens and their experts."""

import dataclasses
import itertools
import math
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from archspec.blocks.base import CostContext
from archspec.blocks.moe.config import MoeConfig
from archspec.blocks.moe.routing import balance_step, choose_experts, load_balance_loss
from archspec.blocks.usage import UsageRecorder
from archspec.testing.blocks import SCOPE, BlockContract, build_rig, context_of, random_input

DEEPSEEK_V3 = MoeConfig(
    num_experts=12,
    top_k=3,
    hidden_dim=7,
    num_shared_experts=1,
    scores="sigmoid",
    normalize_scores=True,
    routed_scale=2.5,
    routing_bias=True,
    num_groups=4,
    top_groups=2,
)


class TestContract(BlockContract):
    cases: ClassVar = {
        "plain": MoeConfig(num_experts=7, top_k=2, hidden_dim=21),
        "one-of-one": MoeConfig(num_experts=1, top_k=1, hidden_dim=8, activation="relu2"),
        "one-of-many": MoeConfig(num_experts=5, top_k=1, hidden_dim=16, scores="sigmoid"),
        "all-of-many": MoeConfig(
            num_experts=4, top_k=4, hidden_dim=9, activation="gelu", normalize_scores=True
        ),
        "shared": MoeConfig(
            num_experts=6,
            top_k=3,
            hidden_dim=13,
            num_shared_experts=2,
            scores="sigmoid",
            normalize_scores=True,
        ),
        "gated-shared": MoeConfig(
            num_experts=5, top_k=2, hidden_dim=8, shared_hidden_dim=19, shared_gate=True
        ),
        "deepseek-v3": DEEPSEEK_V3,
    }


def act(up, gate, activation):
    if activation in ("swiglu", "geglu"):
        return (F.silu(gate) if activation == "swiglu" else F.gelu(gate)) * up
    return F.gelu(up) if activation == "gelu" else F.relu(up) ** 2


def choose(scores, bias, config):
    """The experts of one token, with plain numbers."""
    ranked = (scores + bias).tolist()
    size = config.num_experts // config.num_groups
    groups = [range(start, start + size) for start in range(0, config.num_experts, size)]
    share = math.ceil(config.top_k / config.top_groups)
    worth = [sum(sorted((ranked[i] for i in group), reverse=True)[:share]) for group in groups]
    best = sorted(range(config.num_groups), key=lambda g: -worth[g])[: config.top_groups]
    open_to_it = [expert for group in best for expert in groups[group]]
    return sorted(open_to_it, key=lambda i: -ranked[i])[: config.top_k]


def loop_over_tokens(block, config, x):
    """The block by its definition: plain matmuls, one token and one expert at a time."""
    w = dict(block.named_parameters())
    bias = w.get("routing_bias", torch.zeros(config.num_experts))
    rows = []
    for token in x.flatten(0, 1):
        logits = token[None] @ w["router.weight"].T
        scores = (logits.sigmoid() if config.scores == "sigmoid" else logits.softmax(-1))[0]
        chosen = choose(scores, bias, config)
        total = scores[chosen].sum() if config.normalize_scores else 1.0
        row = torch.zeros_like(token)[None]
        for expert in chosen:
            gate = token[None] @ w["experts.gate"][expert] if "experts.gate" in w else None
            inner = act(token[None] @ w["experts.up"][expert], gate, config.activation)
            weight = config.routed_scale * scores[expert] / total
            row = row + weight * (inner @ w["experts.down"][expert])
        if "shared.up.weight" in w:
            gated = "shared.gate.weight" in w
            gate = token[None] @ w["shared.gate.weight"].T if gated else None
            inner = act(token[None] @ w["shared.up.weight"].T, gate, config.activation)
            share = 1.0
            if config.shared_gate:
                share = (token[None] @ w["shared_gate.weight"].T).sigmoid()
            row = row + share * (inner @ w["shared.down.weight"].T)
        rows.append(row)
    return torch.cat(rows).view_as(x)


SHARED = ({}, {"num_shared_experts": 2}, {"shared_hidden_dim": 11, "shared_gate": True})
ROUTED = (
    {},
    {"routing_bias": True, "routed_scale": 2.5},
    {"num_groups": 3, "top_groups": 2, "top_k": 3},
    {"routing_bias": True, "num_groups": 3, "top_groups": 1, "routed_scale": 0.3},
)


def designs():
    """Every combination of what a router, its scores, the experts and the shared ones can be."""
    names = ("activation", "scores", "normalize_scores")
    switches = itertools.product(
        ["swiglu", "geglu", "gelu", "relu2"], ["softmax", "sigmoid"], [False, True]
    )
    for values, shared, routed in itertools.product(switches, SHARED, ROUTED):
        sizes = {"num_experts": 6, "top_k": 2, "hidden_dim": 6}
        yield MoeConfig(**{**sizes, **dict(zip(names, values, strict=True)), **shared, **routed})


def randomise_bias(rig):
    """A bias that starts at 0 would hide itself."""
    if rig.block.routing_bias is not None:
        rig.block.routing_bias.copy_(torch.linspace(-0.3, 0.3, 6).roll(2))
    return rig


@pytest.mark.parametrize("config", list(designs()))
def test_equals_a_loop_over_tokens(config):
    rig = randomise_bias(build_rig(config))
    x = random_input(2, 5)
    grads = {}
    for name, run in (("block", rig), ("loop", lambda x: loop_over_tokens(rig.block, config, x))):
        rig.zero_grad()
        leaf = x.clone().requires_grad_()
        with FlopCounterMode(display=False) as counter:
            result = run(leaf)
        result.cos().sum().backward()
        used = {n: p.grad.clone() for n, p in rig.block.named_parameters() if p.requires_grad}
        grads[name] = {"result": result.detach(), "x": leaf.grad, **used}
        if name == "loop":
            context = TestContract().cost_context()
            assert counter.get_total_flops() == 10 * config.cost(context).flops_per_token
    for name, value in grads["loop"].items():
        torch.testing.assert_close(grads["block"][name], value, rtol=1e-10, atol=1e-12, msg=name)


def test_drops_no_token_when_all_choose_one_expert():
    config = MoeConfig(num_experts=6, top_k=1, hidden_dim=4)
    rig = build_rig(config)
    with torch.no_grad():
        rig.block.router.weight.zero_()
        rig.block.router.weight[3] = 1.0
    x = random_input(4, 8).abs()  # expert 3 scores highest for every token
    assert torch.allclose(rig(x), loop_over_tokens(rig.block, config, x), atol=1e-12)
    context = context_of(x)
    context.usage = UsageRecorder(rig)
    rig(x, context)
    assert context.usage.counts["block.experts"].tolist() == [0, 0, 0, 32, 0, 0]


def test_load_balance_loss_is_one_when_balanced_and_more_when_not():
    even = torch.full((8, 4), 0.25, dtype=torch.float64)
    assert load_balance_loss(even, torch.tensor([4, 4, 4, 4])).item() == pytest.approx(1.0)
    skewed = torch.tensor([[0.7, 0.1, 0.1, 0.1]]).expand(8, 4)
    counts = torch.tensor([8, 8, 0, 0])  # top_k of 2
    assert load_balance_loss(skewed, counts).item() == pytest.approx(4 * (0.5 * 0.7 + 0.5 * 0.1))


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_load_balance_loss_reaches_the_context_and_the_router(scores):
    rig = build_rig(MoeConfig(num_experts=5, top_k=2, hidden_dim=4, scores=scores))
    x = random_input(2, 16)
    context = context_of(x)
    rig(x, context)
    (loss,) = context.losses["load_balance"]
    loss.backward()
    assert rig.block.router.weight.grad.abs().sum() > 0
    assert rig.block.router.weight.shape == (5, SCOPE.d_model)


def test_minimising_the_loss_spreads_the_tokens():
    rig = build_rig(MoeConfig(num_experts=4, top_k=1, hidden_dim=2))
    x = random_input(4, 64) + 1.0
    with torch.no_grad():
        rig.block.router.weight[0] += 0.05
    optimizer = torch.optim.SGD([rig.block.router.weight], lr=0.02)
    shares = []
    for _ in range(60):
        context = context_of(x)
        context.usage = UsageRecorder(rig)
        rig(x, context)
        optimizer.zero_grad()
        context.losses["load_balance"][0].backward()
        optimizer.step()
        shares.append(context.usage.counts["block.experts"].max().item() / 256)
    assert shares[0] > 0.9
    assert sum(shares[-10:]) / 10 < 0.6


def test_routing_bias_moves_choices_and_not_weights():
    config = MoeConfig(num_experts=6, top_k=1, hidden_dim=4, routing_bias=True, scores="sigmoid")
    rig = build_rig(config)
    x = random_input(2, 8)
    rig.block.routing_bias[4] = 2.0  # above any sigmoid
    context = context_of(x)
    context.usage = UsageRecorder(rig)
    with_bias = rig(x, context)
    assert context.usage.counts["block.experts"].tolist() == [0, 0, 0, 0, 16, 0]
    assert torch.allclose(with_bias, loop_over_tokens(rig.block, config, x), atol=1e-12)
    with_bias.sum().backward()
    assert rig.block.routing_bias.grad is None
    assert rig.block.router.weight.grad[4].abs().sum() > 0


def test_routing_bias_is_stored_and_counted():
    plain = MoeConfig(num_experts=6, top_k=2, hidden_dim=4)
    biased = MoeConfig(num_experts=6, top_k=2, hidden_dim=4, routing_bias=True)
    context = TestContract().cost_context()
    before, after = plain.cost(context), biased.cost(context)
    assert after.num_params - before.num_params == 6
    assert after.num_active_params - before.num_active_params == 6
    assert after.flops_per_token == before.flops_per_token
    assert "routing_bias" in build_rig(biased).block.state_dict()


def test_balancing_spreads_the_tokens_without_a_loss():
    rig = build_rig(
        MoeConfig(num_experts=4, top_k=1, hidden_dim=2, scores="sigmoid", routing_bias=True)
    )
    x = random_input(4, 64)
    with torch.no_grad():
        rig.block.router.weight[0] = 0.0
        rig.block.router.weight[1:] *= 0.01
        rig.block.router.weight[0, 0] = 0.2
    shares = []
    for _ in range(80):
        context = context_of(x + 1.0)
        context.usage = UsageRecorder(rig)
        rig(x + 1.0, context)
        counts = context.usage.counts["block.experts"]
        rig.block.balance(counts, rate=0.002)
        shares.append(counts.max().item() / 256)
    assert shares[0] > 0.6
    assert sum(shares[-10:]) / 10 < 0.4


def test_balance_step_is_the_sign_of_the_lack():
    assert balance_step(torch.tensor([4, 0, 2, 2]), 0.5).tolist() == [-0.5, 0.5, 0.0, 0.0]


def test_a_token_stays_within_its_groups():
    config = MoeConfig(num_experts=12, top_k=4, hidden_dim=2, num_groups=4, top_groups=2)
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(200, 12, generator=generator)
    chosen = choose_experts(scores, None, config)
    assert max(len(row.unique()) for row in chosen // 3) == 2
    for row, score in zip(chosen, scores, strict=True):
        assert row.tolist() == choose(score, torch.zeros(12), config)
    free = choose_experts(scores, None, MoeConfig(num_experts=12, top_k=4, hidden_dim=2))
    assert not torch.equal(free.sort().values, chosen.sort().values)


def test_one_shared_width_has_one_spelling():
    sizes = {"num_experts": 6, "top_k": 2, "hidden_dim": 4}
    assert MoeConfig(**sizes, shared_hidden_dim=12) == MoeConfig(**sizes, num_shared_experts=3)
    assert MoeConfig(**sizes, shared_hidden_dim=10).shared_width == 10


@pytest.mark.parametrize(
    ("changes", "extra"),
    [
        ({"num_shared_experts": 4}, 4 * 3 * 2048 * 1408),
        ({"num_shared_experts": 4, "shared_gate": True}, 4 * 3 * 2048 * 1408 + 2048),
    ],
)
def test_price_of_what_is_shared(changes, extra):
    """Qwen1.5-MoE-A2.7B: 60 experts of 1408, 4 active, a gated shared one of 5632."""
    scope = dataclasses.replace(SCOPE, d_model=2048)
    context = CostContext(scope=scope, seq_len=1)
    sizes = {"num_experts": 60, "top_k": 4, "hidden_dim": 1408}
    own, whole = MoeConfig(**sizes).cost(context), MoeConfig(**sizes, **changes).cost(context)
    assert whole.num_params - own.num_params == extra
    assert whole.flops_per_token - own.flops_per_token == 2 * extra


def test_deepseek_v3_has_the_total_of_its_released_weights():
    """Everything but the experts by hand; 58 of 61 layers are MoE, each with 256 biases."""
    d_model = 7168
    config = MoeConfig(
        num_experts=256,
        top_k=8,
        hidden_dim=2048,
        num_shared_experts=1,
        scores="sigmoid",
        normalize_scores=True,
        routed_scale=2.5,
        routing_bias=True,
        num_groups=8,
        top_groups=4,
    )
    scope = dataclasses.replace(SCOPE, d_model=d_model, num_layers=61)
    assert not list(config.check(scope))
    experts = config.cost(CostContext(scope=scope, seq_len=1))
    queries = d_model * 1536 + 1536 + 1536 * 128 * 192
    keys_and_values = d_model * 576 + 512 + 512 * 128 * 256
    attention = queries + keys_and_values + 128 * 128 * d_model
    dense = 3 * d_model * 18432
    rest = 2 * 129_280 * d_model + 61 * (attention + 2 * d_model) + d_model + 3 * dense
    assert rest + 58 * experts.num_params == 671_026_419_200
    assert rest + 58 * experts.num_active_params == 37_552_297_472
