"""What attention, windows and norms cost, by hand, in summaries and in the prices of a search."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from archspec.cost.pricing import QUANTITIES, PriceSetting, PriceTable, price
from archspec.cost.summary import summarize
from archspec.testing.specs import load_document

D_MODEL, SEQ = 16, 12


def spec_of(attention, layers=("ffn",), **keys):
    return load_document(
        {
            "archspec": 1,
            "kind": "model",
            "vocab_size": 9,
            "max_seq_len": SEQ,
            "d_model": D_MODEL,
            "attention": attention,
            "blocks": {
                "ffn": {"type": "dense", "hidden_dim": 10},
                "wide": {"type": "dense", "hidden_dim": 14},
            },
            "layers": list(layers),
            **keys,
        }
    )


def core_flops(window, *, causal=True):
    """Return the core's FLOPs of two heads of eight, without projections."""
    attention = {"num_heads": 2, "window": window}
    spec = spec_of(attention)
    found = summarize(spec, causal=causal).total.flops_per_token
    return found - 2 * (4 * 16 * 16 + 3 * 16 * 10 + 16 * 9)


@pytest.mark.parametrize("window", [1, 2, 5, 12, 40, None])
def test_a_window_costs_the_area_under_it(window):
    """w - w ** 2 / (2 s) keys on average, 4 H h FLOPs each, rounded to a whole FLOP."""
    seen = min(window or SEQ, SEQ)
    assert core_flops(window) == round(4 * 16 * (seen - seen**2 / (2 * SEQ)))
    assert core_flops(window, causal=False) == 4 * 16 * SEQ


def test_a_window_of_the_whole_sequence_is_the_causal_half():
    assert core_flops(SEQ) == core_flops(None) == 2 * SEQ * 16


@pytest.mark.parametrize(
    ("keys", "per_layer"),
    [
        ({}, 2),
        ({"norm_position": "post"}, 2),
        ({"norm_position": "both"}, 4),
        ({"parallel": True}, 1),
        ({"parallel": True, "norm_position": "both"}, 2),
    ],
)
def test_norms(keys, per_layer):
    attention = {"full": {"num_heads": 2}, "none": {"type": "none"}}
    layers = ["ffn", {"block": "ffn", "attention": "none"}]
    spec = spec_of(attention, layers, **keys)
    with_attention, without = (
        layer.cost.num_params - 3 * 16 * 10 for layer in summarize(spec).layers
    )
    assert with_attention == 4 * 16 * 16 + per_layer * D_MODEL
    assert without == (per_layer if keys.get("parallel") else per_layer // 2) * D_MODEL


def test_a_search_prices_each_layer_with_its_attention_and_norms():
    attention = {
        "full": {"num_heads": 2, "qk_norm": "full", "bias": "all"},
        "local": {"num_heads": 4, "window": 5},
        "none": {"type": "none"},
    }
    layers = ["ffn", *({"block": "ffn", "attention": name} for name in attention)]
    for keys in ({}, {"parallel": True}, {"norm_position": "both"}):
        base = spec_of(attention, layers, **keys)
        choices = [
            [
                replace(layer, blocks=blocks, names=("",) * len(blocks))
                for blocks in (
                    (base.templates["ffn"],),
                    (base.templates["wide"],),
                    tuple(base.templates.values()),
                )
            ]
            for layer in base.layers
        ]
        table = PriceTable(base, choices, {}, PriceSetting(micro_tokens=8))
        designs = np.array(list(itertools.product(range(3), repeat=4)))
        prices = table.prices(designs, np.zeros((len(designs), 0), dtype=np.int64))
        for design, found in zip(designs, prices, strict=True):
            model = base.replace(
                layers=tuple(choices[i][choice] for i, choice in enumerate(design))
            )
            expected = price(model, PriceSetting(micro_tokens=8))
            assert dict(zip(QUANTITIES, found, strict=True)) == expected


def test_layers_that_differ_in_attention_alone_have_rows_of_their_own():
    attention = {"turns": {"num_heads": 2}, "still": {"num_heads": 2, "rope_theta": None}}
    spec = spec_of(attention, ["ffn", {"block": "ffn", "attention": "still"}])
    first, second = summarize(spec).layers
    assert first.cost == second.cost
    assert not first.same_kind(second)
    assert summarize(spec).as_dict()["layers"][1]["attention"]["name"] == "still"
