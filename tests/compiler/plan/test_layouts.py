"""Layouts are those of the model that is built."""

from __future__ import annotations

import pytest

from archspec.blocks.registry import kinds, sharding_of
from archspec.blocks.table import Table
from archspec.compiler.build import build
from archspec.compiler.plan.layouts import model_layouts
from archspec.spec.load import load_model
from archspec.spec.model import ModelSpec
from archspec.testing.specs import random_spec


def built(spec: ModelSpec) -> dict[str, tuple[tuple[int, ...], bool, bool]]:
    """Return shape, table or not, and trained or not, of every parameter of the built model."""
    model = build(spec)
    tables = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, Table)
        for parameter in module.parameters(recurse=False)
    }
    return {
        name: (tuple(parameter.shape), id(parameter) in tables, parameter.requires_grad)
        for name, parameter in model.named_parameters()
    }


def laid_out(spec: ModelSpec) -> dict[str, tuple[tuple[int, ...], bool, bool]]:
    layouts = model_layouts(spec)
    return {name: (one.shape, one.table, one.trains) for name, one in layouts.items()}


@pytest.mark.parametrize("start", range(0, 200, 25))
def test_layouts_are_the_parameters_of_the_built_model(start):
    for seed in range(start, start + 25):
        spec = random_spec(seed)
        assert laid_out(spec) == built(spec), seed


@pytest.mark.parametrize("name", ["tiny", "moe_grouped_tiny", "ngram_tiny", "peer_tiny"])
def test_layouts_of_shipped_models(name):
    spec = load_model(f"specs/models/{name}.yaml")
    assert laid_out(spec) == built(spec)


def test_a_cut_dimension_exists():
    for seed in range(100):
        for name, layout in model_layouts(random_spec(seed)).items():
            assert all(0 <= dim < len(layout.shape) for dim in layout.shard.values()), (seed, name)


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_says_how_it_is_cut(kind):
    sharding = sharding_of(kind)
    assert callable(sharding.layout)
    assert callable(sharding.faults)
