"""Who measures against whom: a task, its entrants, and the check that they do the same work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archspec.bench.results import Size

OURS = "archspec"
_PART = 1 << 26  # elements that are compared at a time, half a GiB in fp64

# Largest norm of the difference over the norm of our result. A 16-bit result is rounded by 2^-9,
# and stock ways round in between as well.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2**-6, torch.float16: 2**-8}


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to do the work, ready to run.

    Args:
        prepare: Takes the number of the inputs (they rotate); not timed.
        run: Takes what ``prepare`` returned; timed.
        outputs: Takes what ``run`` returned and gives what must equal everybody's; None where
            nothing can be compared.
    """

    prepare: Callable[[int], Any]
    run: Callable[[Any], Any]
    outputs: Callable[[Any], Sequence[Tensor]] | None = None


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A way before it takes any memory.

    Args:
        name: ``archspec`` or the stock op.
        enter: Allocates what the way keeps.
        needs: Bytes that it keeps or holds while it runs, the shared inputs apart.
        refusal: Why it must not even be tried at this size.
    """

    name: str
    enter: Callable[[], Way]
    needs: int = 0
    refusal: str | None = None


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A task with its inputs drawn.

    Args:
        entrants: Ours first.
        traffic: Bytes that a perfect kernel moves, by reason.
        tolerance: Of the comparison with ours.
        flops: 2 for each multiply-add.
        implementation: Word of ours where no op chooses it.
    """

    entrants: tuple[Entrant, ...]
    traffic: Mapping[str, int]
    tolerance: float
    flops: int = 0
    implementation: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One size of one case, nothing allocated yet.

    Args:
        case: As ``forward``.
        varied: Key of the size that this task varies, or empty for the base.
        size: The size.
        needs: Bytes of the inputs.
        draw: Draws the inputs.
        refusal: Why it cannot be measured here.
    """

    case: str
    varied: str
    size: Size
    needs: int
    draw: Callable[[], Contest]
    refusal: str | None = None


def disagreement(found: Sequence[Tensor], ours: Sequence[Tensor], tolerance: float) -> str | None:
    """Say by how much a way's results differ from ours, or None if they agree."""
    for place, (theirs, our) in enumerate(zip(found, ours, strict=True)):
        difference, scale = _norms(theirs, our)
        if not difference <= tolerance * scale:  # a NaN fails too
            return (
                f"its result {place} and ours must agree to {tolerance:.1e}, but differ by "
                f"{difference / max(scale, torch.finfo(torch.float32).tiny):.1e}, so the two do "
                "not do the same work"
            )
    return None


def _norms(theirs: Tensor, ours: Tensor) -> tuple[float, float]:
    """Return the norm of the difference and of ours, in fp64, a part at a time."""
    squares = torch.zeros(2, dtype=torch.float64, device=ours.device)
    flat = (theirs.reshape(-1).split(_PART), ours.reshape(-1).split(_PART))
    for their, our in zip(*flat, strict=True):
        exact = our.double()
        squares += torch.stack(((their.double() - exact).square().sum(), exact.square().sum()))
    difference, scale = squares.sqrt().tolist()
    return difference, scale
