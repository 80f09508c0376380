"""Sizes that change over depth."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archspec.cost.summary import summarize
from archspec.spec.depth import DepthRange
from archspec.spec.dump import spec_hash, to_yaml
from archspec.spec.load import load_model
from archspec.spec.search.check import check_layers
from archspec.spec.search.vary import LayerChoices
from archspec.testing.specs import load_document

BASE = {
    "archspec": 1,
    "kind": "model",
    "vocab_size": 16,
    "max_seq_len": 8,
    "d_model": 8,
    "attention": {"num_heads": 1},
}


def sizes(blocks, layers, key="hidden_dim"):
    spec = load_document({**BASE, "blocks": blocks, "layers": layers})
    return [[getattr(block, key) for block in layer.blocks] for layer in spec.layers]


def graded(start, stop, **keys):
    return {"type": "dense", "hidden_dim": {"from": start, "to": stop, **keys}}


@pytest.mark.parametrize(
    ("size", "layers", "expected"),
    [
        ((8, 16), 5, [8, 10, 12, 14, 16]),
        ((16, 8), 3, [16, 12, 8]),
        ((4, 4), 3, [4, 4, 4]),
        ((8, 16), 2, [8, 16]),
        ((1, 4), 3, [1, 3, 4]),  # 2.5, halves up
        ((2048, 8192, 256), 4, [2048, 4096, 6144, 8192]),
        ((256, 1024, 256), 6, [256, 512, 512, 768, 768, 1024]),  # 409.6, 563.2, 716.8, 870.4
    ],
)
def test_sizes(size, layers, expected):
    keys = {"round_to": size[2]} if len(size) > 2 else {}
    blocks = {"ffn": graded(*size[:2], **keys)}
    found = sizes(blocks, {"num_layers": layers, "default": "ffn"})
    assert [size for (size,) in found] == expected


@given(
    start=st.integers(1, 10**30),
    stop=st.integers(1, 10**30),
    unit=st.integers(1, 999),
    count=st.integers(2, 50),
)
def test_every_size_is_the_nearest_multiple(start, stop, unit, count):
    size = DepthRange(**{"from": start * unit, "to": stop * unit, "round_to": unit})
    found = [size.at(rank, count) for rank in range(count)]
    assert (found[0], found[-1]) == (start * unit, stop * unit)
    for rank, value in enumerate(found):
        exact = start * unit + Fraction((stop - start) * unit * rank, count - 1)
        assert value % unit == 0
        assert -unit < 2 * (exact - value) <= unit or 2 * (value - exact) == unit


def test_only_the_layers_where_the_template_stands_count():
    blocks = {"ffn": graded(8, 16), "plain": {"type": "dense", "hidden_dim": 99}}
    layers = {"num_layers": 6, "default": "plain", "place": {"ffn": [1, 3, 4]}}
    assert sizes(blocks, layers) == [[99], [8], [99], [12], [16], [99]]


def test_a_layer_counts_once_and_changed_copies_count():
    blocks = {"ffn": graded(8, 16)}
    layers = [["ffn", "ffn"], {"block": "ffn", "activation": "gelu"}, "ffn"]
    assert sizes(blocks, layers) == [[8, 8], [12], [16]]


def test_a_change_may_itself_go_over_depth():
    blocks = {"ffn": {"type": "dense", "hidden_dim": 5}}
    changed = {"block": "ffn", "hidden_dim": {"from": 8, "to": 16}}
    layers = ["ffn", {"repeat": 3, "layers": [changed, "ffn"]}]
    assert sizes(blocks, layers) == [[5], [8], [5], [12], [5], [16], [5]]


def test_several_keys_of_any_block():
    blocks = {
        "experts": {
            "type": "moe",
            "num_experts": {"from": 4, "to": 8, "round_to": 2},
            "top_k": {"from": 1, "to": 3},
            "hidden_dim": 6,
        }
    }
    layers = {"num_layers": 3, "default": "experts"}
    assert sizes(blocks, layers, "num_experts") == [[4], [6], [8]]
    assert sizes(blocks, layers, "top_k") == [[1], [2], [3]]


def test_an_unused_template_may_have_it():
    blocks = {"ffn": {"type": "dense", "hidden_dim": 5}, "spare": graded(8, 16)}
    assert sizes(blocks, ["ffn"]) == [[5]]


def test_it_is_one_design_with_the_sizes_written_out(tmp_path):
    layers = {"num_layers": 3, "default": "ffn"}
    spec = load_document({**BASE, "blocks": {"ffn": graded(8, 16)}, "layers": layers})
    plain = {f"b{size}": {"type": "dense", "hidden_dim": size} for size in (8, 12, 16)}
    same = load_document({**BASE, "blocks": plain, "layers": list(plain)})
    assert spec_hash(spec) == spec_hash(same)
    path = tmp_path / "written.yaml"
    path.write_text(to_yaml(spec))
    assert load_model(path) == spec


def test_the_summary_shows_each_size():
    layers = {"num_layers": 3, "default": "ffn"}
    spec = load_document({**BASE, "blocks": {"ffn": graded(8, 16)}, "layers": layers})
    found = [layer.blocks[0][1].size() for layer in summarize(spec).layers]
    assert found == ["8", "12", "16"]


def test_it_is_no_choice_of_a_search():
    layers = {"num_layers": 3, "default": "ffn"}
    base = load_document({**BASE, "blocks": {"ffn": graded(8, 16)}, "layers": layers})
    found = list(check_layers(LayerChoices(choices=["ffn"]), base))
    assert [path for path, _ in found] == [("choices", 0)]
    assert "sizes that change over depth" in found[0][1]
