"""A model in sections, each of which FSDP gathers as one: the frame, every layer, every pool.

Equal layers are one section with a count, so that the arithmetic does not grow with depth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from archspec.compiler.plan.layouts import layer_layouts, model_layouts
from archspec.compiler.plan.mesh import Axis, Mesh
from archspec.compiler.plan.parameters import PlannedParameter, plan_layouts, plan_pool
from archspec.quantities import DTYPE_BYTES
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.plan import PlanSpec

FRAME = "frame"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the model that stands in it once or several times.

    Attributes:
        name: ``frame`` (embedding, last norm, head), ``layers`` or ``pools.NAME``.
        layers: The layers that are like this; empty for another section.
        layer: What stands in them, None for another section.
        parameters: Named within the section.
    """

    name: str
    layers: tuple[int, ...] = ()
    layer: LayerSpec | None = None
    parameters: tuple[PlannedParameter, ...]

    @property
    def count(self) -> int:
        """How often it stands in the model."""
        return max(1, len(self.layers))

    def gathered_bytes(self, dtype: str) -> int:
        """Return the bytes of what a rank holds of it once FSDP has gathered it in ``dtype``."""
        return sum(one.gathered_numel for one in self.gathered) * DTYPE_BYTES[dtype]

    @property
    def gathered(self) -> tuple[PlannedParameter, ...]:
        """The parameters that are gathered before use."""
        return tuple(one for one in self.parameters if one.gathered)

    def by_axis(self) -> dict[Axis | None, list[PlannedParameter]]:
        """Group what is gathered by the axis over which it is; None where that has one rank."""
        found: dict[Axis | None, list[PlannedParameter]] = {}
        for one in self.gathered:
            found.setdefault(one.fsdp_axis(), []).append(one)
        return found


def plan_sections(spec: ModelSpec, plan: PlanSpec, mesh: Mesh) -> tuple[Section, ...]:
    """Lay every section of a model over a mesh."""
    frame = model_layouts(spec.replace(layers=(), pools={}))
    found = [Section(name=FRAME, parameters=plan_layouts(frame, plan, mesh, None))]
    for layer, indices in equal_layers(spec).items():
        parameters = plan_layouts(layer_layouts(layer, spec), plan, mesh, plan.tables)
        section = Section(name="layers", layers=indices, layer=layer, parameters=parameters)
        found.append(section)
    for name in spec.pools:
        parameters = plan_pool(name, spec, plan, mesh)
        found.append(Section(name=f"pools.{name}", parameters=parameters))
    return tuple(found)


def equal_layers(spec: ModelSpec) -> dict[LayerSpec, tuple[int, ...]]:
    """Return the distinct layers of a model, each with the places where it stands."""
    found: dict[LayerSpec, list[int]] = {}
    for index, layer in enumerate(spec.layers):
        found.setdefault(layer, []).append(index)
    return {layer: tuple(indices) for layer, indices in found.items()}


def counted(sections: Iterable[Section]) -> Iterator[tuple[PlannedParameter, int]]:
    """Yield every parameter of some sections with how often it stands in the model."""
    for section in sections:
        for one in section.parameters:
            yield one, section.count


def spans(indices: tuple[int, ...]) -> str:
    """Write layer indices in few characters.

    >>> spans((0, 1, 2, 5, 7, 8)), spans(())
    ('0-2, 5, 7-8', '')
    """
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def total_numel(sections: Iterable[Section]) -> int:
    """Count the parameters of the whole model."""
    return sum(math.prod(one.shape) * count for one, count in counted(sections))
