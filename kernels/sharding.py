"""How the ops may be split over the ranks of a mesh: what their DTensor rules have in common.

A rule says, for one axis of a mesh, which placements of the inputs give which placements of the
outputs without communication. DTensor takes the nearest one and moves the rest, which must never be
a large parameter: one that would have to be gathered is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate
from torch.distributed.tensor.experimental import register_sharding

from archspec.errors import KernelError

WHOLE = Replicate()
SUM = Partial()
Placements = list[Placement | None]  # None stands for an argument that is no tensor
Rule = tuple[Placements, Placements]  # of the outputs, of the inputs
Rules = TypeVar("Rules", bound=Callable[..., list[Rule]])


def rules_of(op: Any) -> Callable[[Rules], Rules]:
    """Register a function of an op's arguments that returns the rules of the op."""
    register: Callable[[Rules], Rules] = register_sharding(op)
    return register


def rule(outputs: Sequence[Placement], *inputs: Placement | None) -> Rule:
    """Put one way to split an op in the form that ``register_sharding`` takes."""
    return list(outputs), list(inputs)


def is_split(placements: Sequence[Placement], axis: int) -> bool:
    """Say whether an axis of a tensor is divided over some axis of the mesh."""
    return any(getattr(placement, "dim", None) == axis for placement in placements)


def stay(rules: Sequence[Rule], place: int, placements: Sequence[Placement]) -> list[Rule]:
    """Leave the rules under which a large argument stays where it is.

    Where the axes of a mesh differ in its placement every rule remains, since DTensor combines them
    freely: it then moves the argument only if it is smaller than what else would move.

    Args:
        rules: Of an op.
        place: Of the argument among the inputs.
        placements: Of the argument, for each axis of the mesh.
    """
    kept = [(outputs, inputs) for outputs, inputs in rules if inputs[place] in placements]
    return kept if kept and len(set(placements)) == 1 else list(rules)


def refuse_row_shards(op_name: str, placements: Sequence[Placement]) -> None:
    """Refuse a table of which every rank holds some rows, or some summands.

    Raises:
        KernelError: Such a table would have to be gathered as a whole, on every rank.
    """
    if is_split(placements, 0) or any(placement.is_partial() for placement in placements):
        raise KernelError(
            f"{op_name}: a table's rows must not be divided among the ranks of a DTensor, which "
            f"would gather the whole table, but its placements are {tuple(placements)}; split its "
            "columns, Shard(1), or keep rows on their ranks and exchange look-ups, as a model's "
            "memory axis does"
        )


def require_whole_rows(op_name: str, table: Tensor) -> None:
    """Refuse a DTensor that :func:`refuse_row_shards` refuses; take any other tensor."""
    if isinstance(table, DTensor):
        refuse_row_shards(op_name, table.placements)
