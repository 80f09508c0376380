"""What is wrong with laying a model over a mesh: a place in each of the two documents, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from archspec.errors import ArchspecError, Path, format_path


@dataclass(frozen=True, slots=True)
class PlanFault:
    """A rule that a model and a plan break together.

    Attributes:
        message: Rule, values and way out.
        spec_path: The value in the model's document, empty where there is none.
        plan_path: The value in the plan's document, likewise.
    """

    message: str
    spec_path: Path = ()
    plan_path: Path = ()

    def __str__(self) -> str:
        paths = (("model", self.spec_path), ("plan", self.plan_path))
        where = ", ".join(f"{name} {format_path(path)}" for name, path in paths if path)
        return f"{where}: {self.message}" if where else self.message


class PlanError(ArchspecError, ValueError):
    """A model cannot be laid over a mesh, or does not fit it. Carries every fault found."""

    def __init__(self, faults: Iterable[PlanFault]) -> None:
        self.faults: tuple[PlanFault, ...] = tuple(dict.fromkeys(faults))
        super().__init__("\n".join(map(str, self.faults)))
