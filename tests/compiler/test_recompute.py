"""What a second pass does again, and what it does not record again."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from archspec.blocks.module import ForwardContext
from archspec.blocks.usage import UsageRecorder
from archspec.compiler.compile import compile
from archspec.compiler.recompute import recompute_layer
from archspec.testing.parity import batch, mean_loss
from archspec.testing.parity_models import SMALL
from archspec.testing.specs import load_document

SPEC = load_document(SMALL)


class Runs(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func).removesuffix(".default")] += 1
        return func(*args, **(kwargs or {}))


def build(recompute):
    model = compile(SPEC, dtype="float64")
    for layer in model.layers:
        recompute_layer(layer, recompute)
    return model


def step(recompute):
    model = build(recompute)
    with Runs() as runs:
        loss = mean_loss(model, *batch(SPEC, 0))
        loss.backward()
    return loss, {name: p.grad for name, p in model.named_parameters()}, runs.counts


@pytest.mark.parametrize("recompute", ["full", "selective"])
def test_gradients_are_equal_to_the_bit(recompute):
    loss, gradients, _ = step("none")
    again, others, _ = step(recompute)
    assert torch.equal(loss, again)
    for name, gradient in gradients.items():
        assert torch.equal(gradient, others[name]), name


def test_selective_runs_look_ups_and_selections_once_and_full_twice():
    once, kept, twice = (step(recompute)[2] for recompute in ("none", "selective", "full"))
    for op in ("archspec.product_key_topk", "archspec.embedding_bag"):
        assert (once[op], kept[op], twice[op]) == (1, 1, 2), op
    assert once["aten.silu"] < kept["aten.silu"] == twice["aten.silu"]


@pytest.mark.parametrize("recompute", ["full", "selective"])
def test_losses_and_uses_are_recorded_once(recompute):
    model = build(recompute)
    usage = UsageRecorder(model)
    ids, targets = batch(SPEC, 0)
    context = ForwardContext(token_ids=ids, usage=usage)
    model.nll(ids, targets, context).mean().backward()
    assert [len(losses) for losses in context.losses.values()] == [1]
    assert usage.counts["layers.0.blocks.0.experts"].sum() == ids.numel() * 2


def test_nothing_is_kept_without_gradients():
    model = build("full")
    with torch.no_grad():
        assert not model(batch(SPEC, 0)[0]).requires_grad
