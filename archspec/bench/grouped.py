"""Small experts: one matrix a group of rows, beside a loop, padding and one dense matmul."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.bench.contest import OURS, TOLERANCES, Contest, Entrant, Task, Way
from archspec.bench.inputs import draw_normal
from archspec.bench.traffic import grouped_traffic
from archspec.kernels.grouped_matmul import grouped_matmul

_SETS = 4
CEILING = "one dense matmul"


@dataclass(frozen=True, kw_only=True)
class GroupedSize:
    """Rows and the experts they go to, uniformly at random.

    Args:
        rows: Of all experts together.
        experts: Matrices.
        in_dim: Elements of a row.
        out_dim: Elements of a result.
        dtype: A name in torch.
    """

    rows: int
    experts: int
    in_dim: int
    out_dim: int
    dtype: str

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype that the name stands for."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


class GroupedInputs:
    """Matrices, and the rows and groups that take turns on them.

    Attributes:
        weights: [experts, in_dim, out_dim].
        rows: [rows, in_dim] each.
        offsets: [experts] int32 each, where a group ends.
        bounds: The same with a leading 0, on the host.
    """

    def __init__(self, size: GroupedSize, device: torch.device) -> None:
        generator = torch.Generator(device=device)
        generator.manual_seed(0)
        self.weights = draw_normal(
            (size.experts, size.in_dim, size.out_dim), size.torch_dtype, generator
        )
        self.rows, self.offsets, self.bounds = [], [], []
        for _ in range(_SETS):
            self.rows.append(draw_normal((size.rows, size.in_dim), size.torch_dtype, generator))
            groups = torch.randint(size.experts, (size.rows,), generator=generator, device=device)
            counts = torch.bincount(groups, minlength=size.experts)
            self.offsets.append(counts.cumsum(0).int())
            self.bounds.append([0, *self.offsets[-1].tolist()])

    def turn(self, turn: int) -> tuple[Tensor, Tensor, list[int]]:
        """Return rows, offsets and bounds of a turn."""
        chosen = turn % _SETS
        return self.rows[chosen], self.offsets[chosen], self.bounds[chosen]


Multiply = Callable[[GroupedInputs, Tensor, Tensor, list[int]], Tensor]


def grouped_task(size: GroupedSize, varied: str, device: torch.device) -> Task:
    """Declare the grouped matmul at one size."""
    element = size.torch_dtype.itemsize
    return Task(
        case="grouped",
        varied=varied,
        size=asdict(size),
        needs=element
        * (_SETS * size.rows * size.in_dim + size.experts * size.in_dim * size.out_dim),
        draw=functools.partial(_draw, size, device),
    )


def _draw(size: GroupedSize, device: torch.device) -> Contest:
    inputs = GroupedInputs(size, device)
    element = size.torch_dtype.itemsize
    ways: dict[str, Multiply] = {
        OURS: _ours,
        "F.grouped_mm": _stock,
        "loop of mm": _loop,
        "padded bmm": _padded,
        CEILING: _dense,
    }
    return Contest(
        entrants=tuple(
            Entrant(name=name, enter=functools.partial(_way, inputs, multiply, name != CEILING))
            for name, multiply in ways.items()
        ),
        traffic=grouped_traffic(
            rows=size.rows,
            experts=size.experts,
            in_dim=size.in_dim,
            out_dim=size.out_dim,
            element=element,
        ),
        tolerance=TOLERANCES[size.torch_dtype],
        flops=2 * size.rows * size.in_dim * size.out_dim,
    )


def _way(inputs: GroupedInputs, multiply: Multiply, compared: bool) -> Way:
    def run(state: tuple[Tensor, Tensor, list[int]]) -> Tensor:
        with torch.no_grad():
            return multiply(inputs, *state)

    return Way(
        prepare=inputs.turn, run=run, outputs=(lambda result: (result,)) if compared else None
    )


def _ours(inputs: GroupedInputs, rows: Tensor, offsets: Tensor, _bounds: list[int]) -> Tensor:
    return grouped_matmul(rows, inputs.weights, offsets)


def _stock(inputs: GroupedInputs, rows: Tensor, offsets: Tensor, _bounds: list[int]) -> Tensor:
    return F.grouped_mm(rows, inputs.weights, offs=offsets)


def _loop(inputs: GroupedInputs, rows: Tensor, _offsets: Tensor, bounds: list[int]) -> Tensor:
    result = rows.new_empty(rows.shape[0], inputs.weights.shape[2])
    for weight, (start, end) in zip(inputs.weights, pairwise(bounds), strict=True):
        torch.mm(rows[start:end], weight, out=result[start:end])
    return result


def _padded(inputs: GroupedInputs, rows: Tensor, offsets: Tensor, bounds: list[int]) -> Tensor:
    """Pad every group to the longest, multiply, and take the real rows out again."""
    longest = max(end - start for start, end in pairwise(bounds))
    places = torch.arange(rows.shape[0], device=rows.device)
    group = torch.searchsorted(offsets, places, right=True)  # [rows]
    starts = torch.cat([offsets.new_zeros(1), offsets[:-1]])
    flat = group * longest + places - starts[group]
    padded = rows.new_zeros(inputs.weights.shape[0] * longest, rows.shape[1])
    padded[flat] = rows
    product = torch.bmm(padded.view(-1, longest, rows.shape[1]), inputs.weights)
    return product.flatten(0, 1)[flat]


def _dense(inputs: GroupedInputs, rows: Tensor, _offsets: Tensor, _bounds: list[int]) -> Tensor:
    return torch.mm(rows, inputs.weights[0])
