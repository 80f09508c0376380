"""Designs as Optuna parameters with readable names: ``layers.03``, ``pools.big.num_keys``.

What does not vary is no parameter. A pool nobody reads has its first size, and a model without a
layer 20 has no parameter for it, so that equal designs have equal parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import BaseTrial, FrozenTrial

from archspec.search.space import Design, Space

_Values = dict[str, tuple[Any, ...]]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the parameters of a space: settings of its variants, then layers, then pools."""
    return {name: CategoricalDistribution(v) for name, v in _names(space).varied.items()}


def to_params(space: Space, design: Design) -> dict[str, Any]:
    """Return the parameters of a design."""
    names = _names(space)
    params = dict(space.variants[design.variant].settings)
    indices = (*design.layers, *design.sizes)
    for (name, choices), index in zip(names.genes[design.variant].items(), indices, strict=True):
        params[name] = choices[index]
    return {name: value for name, value in params.items() if name in names.varied}


def from_params(space: Space, params: Mapping[str, Any]) -> Design | None:
    """Return the design of parameters, None if some are missing or none of this space."""
    try:
        return _read(space, tuple(params.get(name) for name in _names(space).varied))
    except TypeError:  # a list or a map, which is no choice of ours
        return None


# A study is read anew for every proposal, and most of its trials have been read before.
@functools.lru_cache(maxsize=1 << 16)
def _read(space: Space, given: tuple[Any, ...]) -> Design | None:
    names = _names(space)
    params = dict(zip(names.varied, given, strict=True))
    variant = names.variant_of(params)
    if variant is None:
        return None
    indices = []
    for name, values in names.genes[variant].items():
        value = params.get(name) if name in names.varied else values[0]
        if value not in values:
            return None
        indices.append(values.index(value))
    genes = len(space.parts[variant].genes)
    return space.normal(indices[:genes], indices[genes:], variant)


def nearest_design(space: Space, params: Mapping[str, Any]) -> Design:
    """Return the design of values that may not go together.

    What its variant lacks is replaced by the first choice there, and settings of no variant by
    those of the variant that has most of them.
    """
    names = _names(space)

    def shared(variant: int) -> int:
        own = space.variants[variant].settings
        return sum(params.get(name) == own[name] for name in names.settings)

    variant = max(range(len(space.variants)), key=shared)
    genes = names.genes[variant].items()
    indices = [values.index(v) if (v := params.get(n)) in values else 0 for n, values in genes]
    count = len(space.parts[variant].genes)
    return space.normal(indices[:count], indices[count:], variant)


def suggest(space: Space, trial: BaseTrial) -> Design:
    """Ask a trial for a design.

    Raises:
        optuna.TrialPruned: If a sampler other than ours combines values that no design has.
    """
    names = _names(space)
    params: dict[str, Any] = {}

    def ask(name: str) -> None:
        if name in names.varied:
            params[name] = trial.suggest_categorical(name, names.varied[name])

    for name in space.settings:
        ask(name)
    variant = names.variant_of(params)
    assert variant is not None, "every combination of settings is a variant"
    for name in names.genes[variant]:
        ask(name)
    design = from_params(space, params)
    if design is None:
        raise optuna.TrialPruned("no design has these values together")
    return design


def design_of(space: Space, trial: FrozenTrial) -> Design | None:
    """Return the design of a trial, one that waits to run included; None if it got none yet."""
    fixed = trial.system_attrs.get("fixed_params", {})
    return from_params(space, {**fixed, **trial.params})


@dataclass(frozen=True)
class _Names:
    """The names of a space's parameters.

    Attributes:
        varied: Those with more than one value, with every value that some variant has for them.
        genes: For each variant the choices of its genes, then the sizes of the pools. A gene has
            the name of its first layer.
        variants: The variants by the values of the settings that vary.
        settings: The names of those.
    """

    varied: _Values
    genes: tuple[_Values, ...]
    variants: dict[tuple[Any, ...], int]
    settings: tuple[str, ...]

    def variant_of(self, params: Mapping[str, Any]) -> int | None:
        return self.variants.get(tuple(params.get(name) for name in self.settings))


@functools.lru_cache(maxsize=16)
def _names(space: Space) -> _Names:
    digits = len(str(max(len(part.gene_of) for part in space.parts) - 1))
    pools = {f"pools.{name}.num_keys": sizes for name, sizes in space.pools.items()}
    genes: list[_Values] = []
    values: dict[str, dict[Any, None]] = {
        name: dict.fromkeys(found) for name, found in space.settings.items()
    }
    for part in space.parts:
        own = {
            f"layers.{layers[0]:0{digits}}": labels
            for layers, labels in zip(part.genes, part.labels, strict=True)
        }
        genes.append({**own, **pools})
        for name, labels in genes[-1].items():
            values.setdefault(name, {}).update(dict.fromkeys(labels))
    ordered = {name: found for name, found in values.items() if name not in pools}
    ordered |= {name: values[name] for name in pools}
    settings = tuple(name for name, found in space.settings.items() if len(found) > 1)
    return _Names(
        varied={name: tuple(found) for name, found in ordered.items() if len(found) > 1},
        genes=tuple(genes),
        variants={
            tuple(variant.settings[name] for name in settings): index
            for index, variant in enumerate(space.variants)
        },
        settings=settings,
    )
