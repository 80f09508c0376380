import pytest

from archspec.cost.activations import RECOMPUTE, activation_memory, layer_activations
from archspec.cost.measure import measure_activations
from archspec.cost.summary import cost_context, summarize
from archspec.spec.load import load_model
from archspec.testing.specs import random_spec

DENSE = "specs/models/dense_1.3b.yaml"


@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_whole_models_keep_what_is_counted(recompute):
    for seed in range(6):
        spec = random_spec(seed)
        counted = activation_memory(spec, cost_context(spec, dtype="float32"), recompute).kept
        measured = measure_activations(spec, recompute)
        assert counted == pytest.approx(measured, rel=0.1), f"seed {seed}"


def test_a_dense_layer_by_hand():
    spec = load_model(DENSE)
    context = cost_context(spec)
    d, f, heads, head_dim = 2048, 5632, 16, 128
    norm = 2 * (2 * d) + 4
    attention = 2 * (d + 4 * heads * head_dim) + 4 * heads
    dense = 2 * (d + 4 * f)
    layer = spec.layers[0]
    none = layer_activations(layer, context)
    assert (none.kept, none.rebuilt) == (2 * norm + attention + dense, 0)
    selective = layer_activations(layer, context, "selective")
    assert selective.kept == 2 * d + attention + 2 * (2 * f + d)
    full = layer_activations(layer, context, "full")
    assert (full.kept, full.kept + full.rebuilt) == (2 * d, none.kept)


def test_each_mode_keeps_less_and_no_peak_is_higher():
    spec = load_model(DENSE)
    memories = [activation_memory(spec, cost_context(spec), mode) for mode in RECOMPUTE]
    assert memories[0].kept > memories[1].kept > memories[2].kept
    assert memories[0].peak > memories[1].peak > memories[2].peak
    assert memories[0].kept == summarize(spec).total.activation_bytes_per_token


def test_the_peak_holds_the_largest_layer_once():
    spec = load_model("specs/models/memory_plus_1.3b_1m.yaml")
    memory = activation_memory(spec, cost_context(spec), "full")
    assert memory.peak - memory.kept == max(layer.rebuilt for layer in memory.layers)
