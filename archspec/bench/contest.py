"""Who measures against whom: a task, its entrants, and the check that they do the same work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archspec.bench.results import Size
from archspec.errors import BenchmarkError

OURS = "archspec"

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


def require_equal(
    task: Task, name: str, found: Sequence[Tensor], ours: Sequence[Tensor], tolerance: float
) -> None:
    """Hold a way's results to ours.

    Raises:
        BenchmarkError: They differ by more than the tolerance.
    """
    for place, (theirs, our) in enumerate(zip(found, ours, strict=True)):
        exact = our.double()
        difference = (theirs.double() - exact).norm().item()
        scale = max(exact.norm().item(), torch.finfo(torch.float32).tiny)
        if not difference <= tolerance * scale:  # a NaN fails too
            raise BenchmarkError(
                f"{task.case} {dict(task.size)}: result {place} of {name} and of {OURS} must agree "
                f"to {tolerance:.1e}, but differ by {difference / scale:.1e}; they do not do the "
                "same work, so their times cannot be compared"
            )
