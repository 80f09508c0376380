"""Designs as Optuna parameters with readable names: ``layers.03``, ``pools.big.num_keys``.

What does not vary is no parameter. A pool nobody reads has its first size, so that equal designs
have equal parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import BaseTrial, FrozenTrial

from archspec.search.space import Design, Space


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the parameters of a space, layers first."""
    return {
        name: CategoricalDistribution(values)
        for name, values in _values(space).items()
        if len(values) > 1
    }


def to_params(space: Space, design: Design) -> dict[str, Any]:
    """Return the parameters of a design."""
    indices = (*design.layers, *design.sizes)
    return {
        name: values[index]
        for (name, values), index in zip(_values(space).items(), indices, strict=True)
        if len(values) > 1
    }


def from_params(space: Space, params: Mapping[str, Any]) -> Design | None:
    """Return the design of parameters, None if some are missing or none of this space."""
    indices = []
    for name, values in _values(space).items():
        value = params.get(name) if len(values) > 1 else values[0]
        if value not in values:
            return None
        indices.append(values.index(value))
    layers = len(space.choices)
    return space.normal(indices[:layers], indices[layers:])


def suggest(space: Space, trial: BaseTrial) -> Design:
    """Ask a trial for a design."""
    params = {
        name: trial.suggest_categorical(name, values)
        for name, values in _values(space).items()
        if len(values) > 1
    }
    design = from_params(space, params)
    assert design is not None, "suggested values are values of the space"
    return design


def design_of(space: Space, trial: FrozenTrial) -> Design | None:
    """Return the design of a trial, one that waits to run included; None if it got none yet."""
    fixed = trial.system_attrs.get("fixed_params", {})
    return from_params(space, {**fixed, **trial.params})


def _values(space: Space) -> dict[str, tuple[Any, ...]]:
    digits = len(str(len(space.choices) - 1))
    layers: dict[str, tuple[Any, ...]] = {
        f"layers.{position:0{digits}}": space.labels(position)
        for position in range(len(space.choices))
    }
    return layers | {f"pools.{name}.num_keys": sizes for name, sizes in space.pools.items()}
