"""Training with collected rows equals training with dense gradients."""

import copy

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from archspec.blocks.table import Table, row_gradients
from archspec.compiler.compile import compile
from archspec.errors import ArchspecError
from archspec.kernels.row_optimizer.joint import JointOptimizer
from archspec.kernels.row_optimizer.optimizer import RowOptimizer
from archspec.testing.kernels import assert_close
from archspec.testing.specs import load_document

LOOKUP = {"num_heads": 2, "top_k": 3, "key_dim": 8}
SPEC = load_document(
    {
        "archspec": 1,
        "kind": "model",
        "vocab_size": 31,
        "max_seq_len": 16,
        "d_model": 24,
        "attention": {"num_heads": 3},
        "pools": {
            "big": {"num_keys": 6, "value_dim": 10},
            "experts": {"num_keys": 5, "value_dim": 24, "expert": "rank1"},
        },
        "blocks": {
            "read": {
                "type": "shared_pool",
                "pool": "big",
                "num_heads": 2,
                "top_k": 3,
                "key_dim": 8,
            },
            "peer": {
                "type": "shared_pool",
                "pool": "experts",
                "expert": "rank1",
                "num_heads": 2,
                "top_k": 3,
                "key_dim": 8,
            },
            "grams": {"type": "ngram", "slots": 13, "row_dim": 4},
        },
        "layers": ["read", "peer", ["read", "grams"], "read"],
    }
)
NAMES = {
    "pools.big.weight": (36, 10),
    "pools.experts.weight": (25, 24),
    "pools.experts.down": (25, 24),
}
TOKENS = torch.randint(0, 31, (4, 16), generator=torch.Generator().manual_seed(0))


def build(*, collect: bool, seed: int = 0) -> torch.nn.Module:
    model = compile(SPEC, dtype="float64", seed=seed)
    if collect:
        collect_all(model)
    return model


def collect_all(model: torch.nn.Module, *, enabled: bool = True) -> None:
    for module in model.modules():
        if isinstance(module, Table):
            module.collect_rows(enabled)


def named(model: torch.nn.Module) -> dict[str, Tensor]:
    """The dense gradient of every parameter, whichever way it is held."""
    collected = row_gradients(model)
    return {
        name: collected[parameter].to_dense() if parameter in collected else parameter.grad
        for name, parameter in model.named_parameters()
    }


def assert_same_gradients(model: torch.nn.Module, exact: torch.nn.Module) -> None:
    grads = named(model)
    for name, expected in named(exact).items():
        assert_close(grads[name], expected, 1e-12)


def loss_of(model: torch.nn.Module, tokens: Tensor = TOKENS) -> Tensor:
    return model(tokens).square().mean(-1).sum()


def test_every_table_collects_and_has_no_dense_gradient() -> None:
    model = build(collect=True)
    loss_of(model).backward()
    collected = row_gradients(model)
    found = {name: p for name, p in model.named_parameters() if p in collected}
    ngram = "layers.2.blocks.1.table.weight"
    assert {name: tuple(found[name].shape) for name in NAMES} == NAMES
    assert found.keys() == NAMES.keys() | {ngram}
    assert all(parameter.grad is None for parameter in found.values())
    lengths = {name: len(collected[p].entries) for name, p in found.items()}
    assert lengths == {**dict.fromkeys(found, 1), "pools.big.weight": 3}  # one entry a reader


def test_gradients_equal_dense_ones_over_readers_and_micro_batches() -> None:
    model, exact = build(collect=True), build(collect=False)
    for part in TOKENS.split(2):
        loss_of(model, part).backward()
    loss_of(exact).backward()
    assert_same_gradients(model, exact)


def test_training_equals_dense_training() -> None:
    model, exact = build(collect=True), build(collect=False)
    collected = row_gradients(model)
    rest = [parameter for parameter in model.parameters() if parameter not in collected]
    optimizer = JointOptimizer(
        RowOptimizer(collected, collected, rule="sgd", lr=1e-3), torch.optim.SGD(rest, lr=1e-3)
    )
    dense = torch.optim.SGD(exact.parameters(), lr=1e-3)
    for _ in range(4):
        for each, each_optimizer in ((model, optimizer), (exact, dense)):
            each_optimizer.zero_grad()
            loss_of(each).backward()
            each_optimizer.step()
    for one, other in zip(model.parameters(), exact.parameters(), strict=True):
        assert_close(one, other, 1e-12)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_layer_collects_once(reentrant: bool) -> None:
    model, exact = build(collect=True), build(collect=False)
    for layer in model.layers:
        forward = layer.forward
        layer.forward = lambda *args, forward=forward: checkpoint(
            forward, *args, use_reentrant=reentrant
        )
    loss_of(model).backward()
    loss_of(exact).backward()
    assert_same_gradients(model, exact)


@pytest.mark.slow  # traces and lowers a whole model
@pytest.mark.filterwarnings("default")  # dynamo's own warnings
def test_a_compiled_model_breaks_its_graph_and_is_right() -> None:
    torch.compiler.reset()
    model, exact = build(collect=True), build(collect=False)
    loss_of(torch.compile(model, backend="aot_eager")).backward()
    loss_of(exact).backward()
    assert_same_gradients(model, exact)


def test_evaluation_collects_nothing() -> None:
    model, exact = build(collect=True), build(collect=False)
    with torch.no_grad():
        assert_close(model(TOKENS), exact(TOKENS), 1e-13)
    assert all(gradient.is_empty for gradient in row_gradients(model).values())


def test_a_copy_collects_for_itself() -> None:
    model = build(collect=True)
    loss_of(model).backward()
    clone = copy.deepcopy(model)
    mine, theirs = row_gradients(model), row_gradients(clone)
    for one, other in zip(mine.values(), theirs.values(), strict=True):
        assert torch.equal(one.to_dense(), other.to_dense())
    assert not set(mine) & set(theirs)
    for gradient in theirs.values():
        gradient.clear()
    assert not any(gradient.is_empty for gradient in mine.values())
    loss_of(clone).backward()
    assert [len(g.entries) for g in mine.values()] == [len(g.entries) for g in theirs.values()]


def test_a_frozen_table_collects_nothing() -> None:
    model, exact = build(collect=True), build(collect=False)
    for each in (model, exact):
        each.pools.big.weight.requires_grad_(False)
        loss_of(each).backward()
    assert model.pools.big.row_gradients["weight"].is_empty
    assert_close(model.embedding.weight.grad, exact.embedding.weight.grad, 1e-12)


def test_collecting_is_switched_on_once_and_off_again() -> None:
    model, exact = build(collect=True), build(collect=False)
    before = model.pools.big.row_gradients["weight"]
    collect_all(model)
    assert model.pools.big.row_gradients["weight"] is before
    collect_all(model, enabled=False)
    assert not row_gradients(model)
    for each in (model, exact):
        loss_of(each).backward()
    assert_same_gradients(model, exact)


def test_collecting_does_not_end_over_a_held_gradient_or_owed_decay() -> None:
    model = build(collect=True)
    collected = row_gradients(model)
    optimizer = RowOptimizer(collected, collected, lr=0.1, weight_decay=0.1)
    loss_of(model).backward()
    with pytest.raises(ArchspecError, match=r"Pool.weight: .* gradient of 1152 look-ups is held"):
        model.pools.big.collect_rows(False)
    optimizer.step()
    optimizer.zero_grad()
    with pytest.raises(ArchspecError, match=r"settle_decay\(release=True\)"):
        model.pools.big.collect_rows(False)
    before = model(TOKENS)
    optimizer.settle_decay(release=True)
    collect_all(model, enabled=False)
    assert_close(model(TOKENS), before, 1e-12)


def test_the_state_dict_is_that_of_a_dense_model() -> None:
    model, exact = build(collect=True), build(collect=False)
    loss_of(model).backward()
    assert model.state_dict().keys() == exact.state_dict().keys()
