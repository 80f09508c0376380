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
from archspec.spec.plan import PlanSpec, Precision

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

    def gathered_bytes(self, precision: Precision) -> int:
        """Return the bytes of a rank's copy of it once FSDP has gathered it."""
        return sum(gathered_bytes(one, precision) for one in self.parameters)

    def units(self) -> dict[tuple[Axis, bool], list[PlannedParameter]]:
        """Group what FSDP gathers into its units: by the axis, tables apart."""
        found: dict[tuple[Axis, bool], list[PlannedParameter]] = {}
        for one in self.parameters:
            if one.fsdp is not None:
                found.setdefault((one.fsdp, one.table), []).append(one)
        return found


def gathered_bytes(one: PlannedParameter, precision: Precision) -> int:
    """Return the bytes of a gathered parameter: in the type of computing, tables as they are."""
    dtype = precision.tables if one.table else precision.compute
    return one.gathered_numel * DTYPE_BYTES[dtype]


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
