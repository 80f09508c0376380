"""Mixtures of experts against a loop over tokens and their experts."""

import itertools
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from archspec.blocks.moe.config import MoeConfig
from archspec.blocks.moe.module import load_balance_loss
from archspec.blocks.usage import UsageRecorder
from archspec.testing.blocks import SCOPE, BlockContract, build_rig, context_of, random_input


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
    }


def act(up, gate, activation):
    if activation == "swiglu":
        return F.silu(gate) * up
    return F.gelu(up) if activation == "gelu" else F.relu(up) ** 2


def loop_over_tokens(block, config, x):
    """The block by its definition: plain matmuls, one token and one expert at a time."""
    w = dict(block.named_parameters())
    rows = []
    for token in x.flatten(0, 1):
        logits = token[None] @ w["router.weight"].T
        scores = (logits.sigmoid() if config.scores == "sigmoid" else logits.softmax(-1))[0]
        chosen = scores.argsort(descending=True)[: config.top_k]
        total = scores[chosen].sum() if config.normalize_scores else 1.0
        row = torch.zeros_like(token)[None]
        for expert in chosen:
            gate = token[None] @ w["experts.gate"][expert] if "experts.gate" in w else None
            inner = act(token[None] @ w["experts.up"][expert], gate, config.activation)
            row = row + scores[expert] / total * (inner @ w["experts.down"][expert])
        if config.num_shared_experts:
            gated = "shared.gate.weight" in w
            gate = token[None] @ w["shared.gate.weight"].T if gated else None
            inner = act(token[None] @ w["shared.up.weight"].T, gate, config.activation)
            row = row + inner @ w["shared.down.weight"].T
        rows.append(row)
    return torch.cat(rows).view_as(x)


@pytest.mark.parametrize(
    ("activation", "scores", "normalize", "shared"),
    list(
        itertools.product(
            ["swiglu", "gelu", "relu2"], ["softmax", "sigmoid"], [False, True], [0, 2]
        )
    ),
)
def test_equals_a_loop_over_tokens(activation, scores, normalize, shared):
    config = MoeConfig(
        num_experts=5,
        top_k=2,
        hidden_dim=6,
        num_shared_experts=shared,
        activation=activation,
        scores=scores,
        normalize_scores=normalize,
    )
    rig = build_rig(config)
    x = random_input(2, 5)
    grads = {}
    for name, run in (("block", rig), ("loop", lambda x: loop_over_tokens(rig.block, config, x))):
        rig.zero_grad()
        leaf = x.clone().requires_grad_()
        with FlopCounterMode(display=False) as counter:
            result = run(leaf)
        result.cos().sum().backward()
        used = {n: p.grad.clone() for n, p in rig.block.named_parameters()}
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
