"""The ops over ranks: values and gradients equal those of one rank, and no table moves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import (
    DTensor,
    Partial,
    Placement,
    Replicate,
    Shard,
    distribute_tensor,
)
from torch.distributed.tensor.debug import CommDebugMode
from torch.testing._internal.distributed.fake_pg import FakeStore

from archspec.errors import KernelError
from archspec.kernels import dispatch
from archspec.kernels.embedding_bag import (
    embedding_bag,
    embedding_bag_backward,
    gather_dot,
    scatter_rows,
)
from archspec.kernels.grouped_matmul import grouped_matmul, grouped_outer
from archspec.kernels.product_key_topk import product_key_topk
from archspec.kernels.product_key_topk.op import product_key_topk_backward
from archspec.testing.ranks import run_on_threads
from archspec.testing.tensors import (
    as_tuple,
    assert_close,
    cotangents_of,
    differentiable,
    is_float,
    with_grad,
)

R, S0, S1, S2, SUM = Replicate(), Shard(0), Shard(1), Shard(2), Partial()
TOKENS, PICKS, SLOTS, WIDTH = 8, 4, 11, 12
OFFSETS = torch.tensor([3, 3, 8], dtype=torch.int32)


@dataclass(frozen=True)
class Split:
    """An op, its arguments, and for each axis of a mesh where its tensors and results lie."""

    op: Callable[..., Any]
    args: tuple[Any, ...]
    inputs: tuple[tuple[Placement, ...], ...]
    outputs: tuple[tuple[Placement, ...], ...]


def drawn(seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=random)

    return {
        "indices": torch.randint(0, SLOTS, (TOKENS, PICKS), generator=random),
        "weights": normal(TOKENS, PICKS),
        "grad": normal(TOKENS, WIDTH),
        "table": normal(SLOTS, WIDTH),
        "queries": normal(TOKENS, 4, 2, 3),
        "codebooks": normal(2, 4, 6, 3),
        "grad_scores": normal(TOKENS, 4, 3),
        "slots": torch.randint(0, 36, (TOKENS, 4, 3), generator=random).int(),
        "matrices": normal(3, WIDTH, 8),
        "row_grads": normal(TOKENS, 8),
    }


DRAWN = drawn()
BAG = (embedding_bag, tuple(DRAWN[name] for name in ("indices", "weights", "table")))
DOT = (gather_dot, tuple(DRAWN[name] for name in ("indices", "grad", "table")))
SCATTER = (scatter_rows, (*(DRAWN[name] for name in ("indices", "weights", "grad")), SLOTS))
BAG_BACKWARD = (
    embedding_bag_backward,
    tuple(DRAWN[name] for name in ("indices", "weights", "grad", "table")),
)
TOPK = (product_key_topk, (DRAWN["queries"], DRAWN["codebooks"], 3))
TOPK_BACKWARD = (
    product_key_topk_backward,
    tuple(DRAWN[name] for name in ("grad_scores", "slots", "queries", "codebooks")),
)
GROUPED = (grouped_matmul, (DRAWN["grad"], DRAWN["matrices"], OFFSETS))
OUTER = (grouped_outer, (DRAWN["grad"], DRAWN["row_grads"], OFFSETS))

# Over a mesh of one axis; of two axes where placements come in pairs.
SPLITS = {
    "bag, whole": Split(*BAG, ((R,), (R,), (R,)), ((R,),)),
    "bag, tokens": Split(*BAG, ((S0,), (S0,), (R,)), ((S0,),)),
    "bag, picks": Split(*BAG, ((S1,), (S1,), (R,)), ((SUM,),)),
    "bag, columns": Split(*BAG, ((R,), (R,), (S1,)), ((S1,),)),
    "bag, tokens and columns": Split(*BAG, ((S0, R), (S0, R), (R, S1)), ((S0, S1),)),
    "dot, tokens": Split(*DOT, ((S0,), (S0,), (R,)), ((S0,),)),
    "dot, picks": Split(*DOT, ((S1,), (R,), (R,)), ((S1,),)),
    "dot, columns": Split(*DOT, ((R,), (S1,), (S1,)), ((SUM,),)),
    "scatter, tokens": Split(*SCATTER, ((S0,), (S0,), (S0,)), ((SUM,),)),
    "scatter, picks": Split(*SCATTER, ((S1,), (S1,), (R,)), ((SUM,),)),
    "scatter, columns": Split(*SCATTER, ((R,), (R,), (S1,)), ((S1,),)),
    "scatter, tokens and columns": Split(*SCATTER, ((S0, R), (S0, R), (S0, S1)), ((SUM, S1),)),
    "bag backward, tokens": Split(*BAG_BACKWARD, ((S0,), (S0,), (S0,), (R,)), ((S0,), (SUM,))),
    "bag backward, picks": Split(*BAG_BACKWARD, ((S1,), (S1,), (R,), (R,)), ((S1,), (SUM,))),
    "bag backward, columns": Split(*BAG_BACKWARD, ((R,), (R,), (S1,), (S1,)), ((SUM,), (S1,))),
    "topk, tokens": Split(*TOPK, ((S0,), (R,)), ((S0,), (S0,))),
    "topk, heads": Split(*TOPK, ((S1,), (S1,)), ((S1,), (S1,))),
    "topk, tokens and heads": Split(*TOPK, ((S0, S1), (R, S1)), ((S0, S1), (S0, S1))),
    "topk backward, tokens": Split(*TOPK_BACKWARD, ((S0,), (S0,), (S0,), (R,)), ((S0,), (SUM,))),
    "topk backward, heads": Split(*TOPK_BACKWARD, ((S1,), (S1,), (S1,), (S1,)), ((S1,), (S1,))),
    "grouped, out": Split(*GROUPED, ((R,), (S2,), (R,)), ((S1,),)),
    "grouped, in": Split(*GROUPED, ((S1,), (S1,), (R,)), ((SUM,),)),
    "outer, out": Split(*OUTER, ((R,), (S1,), (R,)), ((S2,),)),
    "outer, in": Split(*OUTER, ((S1,), (R,), (R,)), ((S1,),)),
}


def mesh_of(axes: int) -> DeviceMesh:
    return init_device_mesh("cpu", {1: (2,), 2: (2, 2)}[axes])


def place(values: tuple[Any, ...], placements, mesh: DeviceMesh) -> tuple[Any, ...]:
    """Put tensors on a mesh as given; every rank has the whole of them to begin with."""
    tensors = iter(placements)
    return tuple(
        distribute_tensor(v, mesh, next(tensors), src_data_rank=None).requires_grad_(is_float(v))
        if isinstance(v, Tensor)
        else v
        for v in values
    )


def whole(tensors: tuple[DTensor, ...]) -> list[Tensor]:
    return [tensor.detach().full_tensor() for tensor in tensors]


def test_every_op_that_takes_more_than_the_rows_of_a_rank_has_a_rule() -> None:
    ruled = DTensor._op_dispatcher.sharding_propagator.op_strategy_funcs
    for name, row in dispatch.IMPLEMENTATIONS.items():
        if not row[0].module.startswith("row_optimizer."):
            assert getattr(torch.ops.archspec, name).default in ruled, f"{name} has no rule"


@pytest.mark.parametrize("name", SPLITS)
def test_ranks_compute_what_one_rank_does_without_communication(name: str) -> None:
    split = SPLITS[name]
    alone = with_grad(split.args)
    exact = as_tuple(split.op(*alone))
    cotangents = cotangents_of(exact)
    exact_grads = torch.autograd.grad(differentiable(exact), differentiable(alone), cotangents)

    def work(_rank: int) -> tuple[list[Tensor], list[Tensor], dict, list]:
        mesh = mesh_of(len(split.inputs[0]))
        args = place(split.args, split.inputs, mesh)
        with CommDebugMode() as communication:
            outputs = as_tuple(split.op(*args))
        # Each rank of a sum receives the gradient of the sum.
        received = [
            tuple(R if p.is_partial() else p for p in output.placements)
            for output in differentiable(outputs)
        ]
        parts = place(cotangents, received, mesh)
        with communication:
            grads = torch.autograd.grad(differentiable(outputs), differentiable(args), parts)
        counts = communication.get_comm_counts()
        return whole(outputs), whole(grads), counts, [output.placements for output in outputs]

    for outputs, grads, counts, placements in run_on_threads(2 ** len(split.inputs[0]), work):
        assert placements == list(split.outputs)
        assert sum(counts.values()) == 0
        for actual, expected in zip((*outputs, *grads), (*exact, *exact_grads), strict=True):
            assert_close(actual, expected.detach(), 1e-14)


def test_what_lies_elsewhere_moves_and_the_table_stays() -> None:
    indices, weights, table = BAG[1]

    def work(_rank: int) -> list[tuple[tuple[Placement, ...], Tensor]]:
        args = place((indices, weights, table), ((S0,), (S0,), (S1,)), mesh_of(1))
        grad = distribute_tensor(DRAWN["grad"], mesh_of(1), [S0], src_data_rank=None)
        results = embedding_bag(*args), gather_dot(args[0], grad, args[2])
        return [(result.placements, result.detach().full_tensor()) for result in results]

    exact = embedding_bag(*BAG[1]), gather_dot(indices, DRAWN["grad"], table)
    for results in run_on_threads(2, work):
        # A table that had been gathered would have left the results divided by tokens.
        assert [placements for placements, _ in results] == [(S1,), (SUM,)]
        for (_, actual), expected in zip(results, exact, strict=True):
            assert_close(actual, expected, 1e-14)


@pytest.fixture
def fake_ranks() -> Iterator[int]:
    """Be rank 0 of 64 whose collectives do nothing."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=64)
    yield 64
    dist.destroy_process_group()


@pytest.mark.parametrize("name", SPLITS)
def test_shapes_and_placements_over_a_fake_mesh(name: str, fake_ranks: int) -> None:
    split, axes = SPLITS[name], len(SPLITS[name].inputs[0])
    mesh = init_device_mesh("cpu", {1: (4, 16), 2: (2, 2, 16)}[axes])
    args = place(split.args, [(*p, R) for p in split.inputs], mesh)
    with CommDebugMode() as communication:
        outputs = as_tuple(split.op(*args))
    assert communication.get_total_counts() == 0
    assert [output.placements for output in outputs] == [(*p, R) for p in split.outputs]
    assert [output.shape for output in outputs] == [
        t.shape for t in as_tuple(split.op(*split.args))
    ]


@pytest.mark.parametrize("placements", [(S0,), (SUM,)], ids=str)
def test_a_table_without_whole_rows_is_refused(fake_ranks: int, placements) -> None:
    mesh = init_device_mesh("cpu", (fake_ranks,))
    indices, weights, _ = place(BAG[1], ((R,), (R,), (R,)), mesh)
    table = DTensor.from_local(torch.ones(4, WIDTH).double(), mesh, placements)
    with CommDebugMode() as communication:
        with pytest.raises(KernelError, match="exchange look-ups, as a model's memory axis does"):
            embedding_bag(indices, weights, table)
        # DTensor reports what goes wrong in a rule as an error of its own.
        with pytest.raises(RuntimeError, match="exchange look-ups, as a model's memory axis does"):
            gather_dot(indices, weights, table)
    assert communication.get_total_counts() == 0


def test_matrices_divided_by_group_are_refused(fake_ranks: int) -> None:
    mesh = init_device_mesh("cpu", (2, 32))
    rows, matrices, offsets = place(GROUPED[1], ((R, R), (S0, R), (R, R)), mesh)
    with pytest.raises(RuntimeError, match="exchange the rows first and multiply local tensors"):
        grouped_matmul(rows, matrices, offsets)
