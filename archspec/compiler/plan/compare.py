"""Hold a plan against what was really built, whoever built it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archspec.compiler.plan.make import BuildPlan
from archspec.compiler.plan.parameters import plan_model


@dataclass(frozen=True, slots=True)
class Local:
    """What one rank really holds of a parameter: its shape, and the name of its element type."""

    shape: tuple[int, ...]
    dtype: str


def differences(found: BuildPlan, rank: int, built: Mapping[str, Local]) -> Iterator[str]:
    """Yield every parameter of a rank that is not as planned, in one line each.

    Args:
        found: The plan.
        rank: The rank.
        built: What it holds, by the parameter's name in the model.
    """
    planned = plan_model(found.spec, found.plan, found.mesh)
    for name in planned.keys() - built.keys():
        yield f"{name}: planned, but rank {rank} has no such parameter"
    for name in built.keys() - planned.keys():
        yield f"{name}: not planned, but rank {rank} holds {_words(built[name])}"
    for name in planned.keys() & built.keys():
        expected = Local(planned[name].local_shape(rank), planned[name].dtype)
        if expected != built[name]:
            said, there = _words(expected), _words(built[name])
            yield f"{name}: planned as {said}, but rank {rank} holds {there}"


def _words(local: Local) -> str:
    return f"{local.dtype} {'x'.join(map(str, local.shape))}"
