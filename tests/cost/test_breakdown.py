from archspec.cost.breakdown import ROWS, bars
from archspec.cost.summary import cost_context, summarize
from archspec.quantities import FREE
from archspec.spec.load import load_model
from archspec.testing.specs import random_spec


def test_bars_add_up_to_the_total():
    for seed in range(50):
        spec = random_spec(seed)
        pieces = [piece for bar in bars(spec, cost_context(spec)) for piece in bar.pieces]
        assert sum((piece.cost for piece in pieces), FREE) == summarize(spec).total


def test_rows_are_a_piece_of_their_owner():
    private = bars(*with_context("memory_1.3b"))
    assert [bar.label for bar in private if any(p.kind == ROWS for p in bar.pieces)] == ["11"]
    pooled = bars(*with_context("memory_plus_1.3b_1m"))
    rows = [bar.label for bar in pooled if any(p.kind == ROWS for p in bar.pieces)]
    assert rows == ["pool values"]


def with_context(name):
    spec = load_model(f"specs/models/{name}.yaml")
    return spec, cost_context(spec)
