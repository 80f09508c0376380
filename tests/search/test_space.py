import dataclasses

import numpy as np
import pytest

from archspec.search.drawing import Drawing
from archspec.search.hand import centered, hand_designs
from archspec.search.space import Design, Space
from archspec.spec.dump import to_yaml
from archspec.spec.read import parse_tree
from archspec.spec.resolve import resolve_model
from archspec.testing.spaces import allowed_designs, random_space, small_model, space_over
from archspec.testing.specs import load_document

CHOICES = ["ffn", "experts", "private", "shared0"]


@pytest.mark.parametrize("seed", range(20))
def test_every_design_is_listed_once_and_hashes_apart(seed: int) -> None:
    space = random_space(seed)
    designs = [d for batch in space.enumerate() for d in allowed_designs(space, ()).select(*batch)]
    assert len(designs) == len(set(designs)) == space.num_designs
    some = designs[:: max(1, len(designs) // 60)]
    assert len({space.hash(design) for design in some}) == len(some)


def test_a_pool_nobody_reads_has_one_size_and_is_dropped() -> None:
    space = space_over(small_model(3), CHOICES, {"pool0": (8, 16)})
    unread, read = space.normal([0, 1, 2], [1]), space.normal([0, 3, 2], [1])
    assert unread == space.normal([0, 1, 2], [0]) == Design((0, 1, 2), (0,))
    assert read != space.normal([0, 3, 2], [0])
    assert not space.model(unread).pools
    assert space.model(read).pools["pool0"].num_keys == 16


def test_a_design_is_an_ordinary_spec() -> None:
    space = space_over(small_model(3), ["ffn+shared0", "private"], {"pool0": (8, 16)})
    model = space.model(space.normal([0, 1, 0], [1]))
    assert resolve_model(parse_tree(to_yaml(model), "best.yaml")) == model


def test_draws_are_uniform_over_different_designs() -> None:
    space = space_over(small_model(2), ["ffn", "shared0"], {"pool0": (8, 16, 24)})
    layers, sizes, _ = space.draw(np.random.default_rng(0), 60_000)
    counts: dict[Design, int] = {}
    for placed, chosen in zip(layers.tolist(), sizes.tolist(), strict=True):
        design = space.normal(placed, chosen)
        counts[design] = counts.get(design, 0) + 1
    assert len(counts) == space.num_designs == 10
    assert max(counts.values()) < 1.1 * min(counts.values())


@pytest.mark.parametrize("num_layers", [3, 4, 6, 7, 22, 24])
@pytest.mark.parametrize("count", [1, 3])
def test_centred_is_what_model_documents_mean_by_it(num_layers: int, count: int) -> None:
    document = {
        "archspec": 1, "kind": "model", "vocab_size": 8, "max_seq_len": 8, "d_model": 8,
        "attention": {"num_heads": 1},
        "blocks": {"a": {"type": "dense", "hidden_dim": 8},
                   "b": {"type": "dense", "hidden_dim": 4}},
        "layers": {"num_layers": num_layers, "default": "a",
                   "place": {"b": {"centered": {"count": count}}}},
    }  # fmt: skip
    placed = [i for i, layer in enumerate(load_document(document).layers) if layer.names == ("b",)]
    assert placed == centered(num_layers, count)


def test_hand_designs_have_names_and_respect_fixed_layers() -> None:
    space = space_over(small_model(6), CHOICES, {"pool0": (8, 16)}, fixed={0: "ffn"})
    drawing = Drawing(space)
    drawn = {
        hand.name: (drawing.placement(hand.design), drawing.pools(hand.design))
        for hand in hand_designs(allowed_designs(space, ()))
    }
    assert drawn == {
        "all ffn": ("F F F F F F", ""),
        "all experts": ("F E E E E E", ""),
        "all private": ("F P P P P P", ""),
        "all shared0": ("F S S S S S", "pool0 16²"),
        "centred private": ("F F F P F F", ""),
        "centred shared0": ("F S F S F S", "pool0 16²"),
    }


@pytest.mark.parametrize("varies", [True, False])
def test_of_many_variants_a_few_have_hand_designs(varies: bool) -> None:
    one = space_over(small_model(3), ["ffn", "experts"], {}).variants[0]
    if not varies:
        one = dataclasses.replace(one, choices=tuple((layer,) for layer in one.base.layers))
    variants = [dataclasses.replace(one, settings={"number": n}) for n in range(40)]
    found = hand_designs(allowed_designs(Space(variants, {}), ()))
    others = {hand.design.variant for hand in found} - {0}
    assert len(others) == (8 if varies else 0)
    assert found[0].name == ("all ffn" if varies else "base")


def test_letters_stay_apart_and_long_placements_are_grouped() -> None:
    space = space_over(small_model(14, pools=2), ["shared0", "shared1", "ffn"], {})
    drawing = Drawing(space)
    assert drawing.legend == "S shared0, H shared1, F ffn"
    design = space.normal([2] * 13 + [1], [0, 0])
    assert drawing.placement(design) == "FFFF FFFF FFFF FH"
    assert drawing.words(design) == "[13 x ffn, shared1] with pool1 16²"
