"""A task: one size of one case, and who runs it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from archspec.bench.contest import Entrant

Size = Mapping[str, int | str]

# How far results may differ, relative to ours: that of a first step, and that of a second one on
# the same batch, which shows that gradients and updates were the same.
FP32 = (1e-5, 1e-4)
BF16 = (1e-2, 2e-2)
TOLERANCES = {"float32": FP32, "bfloat16": BF16}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One size of one case, nothing allocated yet.

    Args:
        case: As ``dense``.
        label: What tells it from the others of its case, as ``256 x 6``.
        size: Every size.
        dtype: Of parameters and activations; a name in torch.
        threads: Of torch.
        draw: Draws the first weights and names the entrants, ours first.
        tolerances: Of a first and a second step.
        packages: What must be installed.
    """

    case: str
    label: str
    size: Size
    dtype: str
    threads: int
    draw: Callable[[], tuple[Entrant, ...]]
    tolerances: tuple[float, float]
    packages: tuple[str, ...] = ()

    @property
    def missing(self) -> str | None:
        """Why the task cannot run here, or None."""
        absent = [name for name in self.packages if importlib.util.find_spec(name) is None]
        return f"{' and '.join(absent)} is not installed: make bench-train" if absent else None
