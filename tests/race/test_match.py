import dataclasses
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.blocks.dense.config import DenseConfig
from archspec.errors import ArchspecError
from archspec.race.match import TOLERANCE, _solve, _Width, flops_per_token, match_flops
from archspec.spec.dump import spec_hash, to_yaml
from archspec.spec.load import load_model
from archspec.spec.model import ModelSpec
from archspec.testing.specs import random_spec


def without_widths(spec: ModelSpec) -> ModelSpec:
    """The spec with every dense block's inner width set to 1."""
    layers = tuple(
        dataclasses.replace(
            layer,
            blocks=tuple(
                block.model_copy(update={"hidden_dim": 1})
                if isinstance(block, DenseConfig)
                else block
                for block in layer.blocks
            ),
        )
        for layer in spec.layers
    )
    return spec.replace(layers=layers)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6), share=st.floats(0.3, 3.0), round_to=st.sampled_from([1, 2, 4, 8])
)
def test_a_random_design_is_matched_or_refused(seed: int, share: float, round_to: int) -> None:
    spec = random_spec(seed)
    seq_len = spec.max_seq_len
    before = flops_per_token(spec, seq_len=seq_len)
    target = max(1, round(before * share))
    try:
        match = match_flops(spec, target, seq_len=seq_len, round_to=round_to)
    except ArchspecError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert f"{target:,}" in refused
        return
    assert abs(match.flops_per_token - target) <= TOLERANCE * target
    assert match.flops_per_token == flops_per_token(match.spec, seq_len=seq_len)
    assert match.flops_before == before
    assert without_widths(match.spec) == without_widths(spec)
    if match.hidden_dims != match.hidden_dims_before:
        assert all(width > 0 and width % round_to == 0 for width in match.hidden_dims)


@settings(max_examples=200, deadline=None)
@given(
    widths=st.lists(st.tuples(st.integers(1, 40), st.sampled_from([4, 6])), min_size=1, max_size=6),
    budget=st.integers(0, 3000),
    round_to=st.integers(1, 4),
)
def test_no_rounding_comes_nearer(
    widths: list[tuple[int, int]], budget: int, round_to: int
) -> None:
    given_widths = [_Width(*width) for width in widths]

    def cost(chosen: tuple[int, ...]) -> int:
        return sum(n * w.flops for n, w in zip(chosen, given_widths, strict=True))

    chosen = _solve(given_widths, budget, round_to)
    lower = [width - round_to if width > round_to else width for width in chosen]
    neighbours = itertools.product(
        *({low, width} for low, width in zip(lower, chosen, strict=True))
    )
    best = min(abs(budget - cost(neighbour)) for neighbour in neighbours)
    assert abs(budget - cost(chosen)) == best


def test_equal_widths_stay_within_one_step_and_spread_over_depth(folder: Path) -> None:
    spec = load_model("large.yaml")
    step = 2 * 3 * spec.d_model * 8  # FLOPs of 8 elements of one block
    target = flops_per_token(spec, seq_len=16) - 4 * step
    match = match_flops(spec, target, seq_len=16)
    assert match.flops_per_token == target
    assert sorted(match.hidden_dims) == [112, 120, 120]
    assert match.hidden_dims_before == (128, 128, 128)


def test_a_design_at_the_target_is_left_alone(folder: Path) -> None:
    spec = load_model("dense.yaml", ["blocks.ffn.hidden_dim=47"])
    target = flops_per_token(spec, seq_len=16)
    assert match_flops(spec, target, seq_len=16, round_to=8).spec is spec


def test_the_trimmed_spec_loads_again_to_the_same(folder: Path) -> None:
    target = flops_per_token(load_model("dense.yaml"), seq_len=16)
    match = match_flops(load_model("shared.yaml"), target, seq_len=16)
    assert match.hidden_dims != match.hidden_dims_before
    Path("trimmed.yaml").write_text(to_yaml(match.spec))
    assert spec_hash(load_model("trimmed.yaml")) == spec_hash(match.spec)


def test_what_cannot_be_reached_is_said_with_the_range(folder: Path) -> None:
    spec = load_model("shared.yaml")
    with pytest.raises(ArchspecError, match=r"with hidden_dim 8 in all 3 dense blocks it still"):
        match_flops(spec, 10_000, seq_len=16)
    with pytest.raises(ArchspecError, match="lower --round-to, which is 256"):
        match_flops(spec, flops_per_token(spec, seq_len=16) * 3, seq_len=16, round_to=256)


def test_a_design_without_dense_blocks_is_refused(folder: Path) -> None:
    bare = load_model("dense.yaml", ["layers.default=x", "blocks.x={type: none}"])
    with pytest.raises(ArchspecError, match="none, and costs"):
        match_flops(bare, 10_000, seq_len=16)


def test_a_sequence_too_long_is_refused(folder: Path) -> None:
    with pytest.raises(ArchspecError, match="seq_len must be between 1 and max_seq_len=32"):
        match_flops(load_model("dense.yaml"), 10_000, seq_len=64)
