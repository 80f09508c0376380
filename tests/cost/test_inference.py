import pytest

from archspec.cost.inference import decode_work, inference_memory, prefill_work
from archspec.cost.summary import cost_context, summarize
from archspec.cost.work import total_work
from archspec.quantities import expected_distinct
from archspec.spec.load import load_model
from archspec.testing.specs import random_spec

DENSE = load_model("specs/models/dense_1.3b.yaml")
MOE = load_model("specs/models/moe_1.3b.yaml")
MEMORY = load_model("specs/models/memory_1.3b.yaml")
LAYER = 4 * 2048 * 2048 + 3 * 2048 * 5632 + 2 * 2048


def layer_work(spec, index, *, batch, context=4096):
    parts = decode_work(spec, cost_context(spec, seq_len=context), batch=batch)
    return next(part.work for part in parts if part.index == index)


def brute_force(total, drawn, times):
    """Follow the expected number of things not met yet, draw by draw."""
    missed = float(total)
    for _ in range(times):
        missed *= 1 - drawn / total
    return total - missed


@pytest.mark.parametrize(("total", "drawn", "times"), [(4, 1, 1), (64, 4, 7), (9, 9, 3), (8, 2, 0)])
def test_expected_distinct(total, drawn, times):
    assert expected_distinct(total, drawn, times) == pytest.approx(brute_force(total, drawn, times))


def test_expected_distinct_keeps_its_digits_in_large_tables():
    assert expected_distinct(8192**2, 32, 4) == pytest.approx(128, rel=1e-5)


def test_a_dense_layer_by_hand():
    work = layer_work(DENSE, 0, batch=8)
    assert work.weight_bytes == 2 * LAYER
    assert work.kv_bytes == 8 * 4096 * 2 * 16 * 128 * 2
    assert work.flops == 8 * (2 * (LAYER - 2 * 2048) + 4 * 4096 * 2048)


@pytest.mark.parametrize("batch", [1, 2, 8, 64])
def test_a_batch_reads_the_experts_it_meets(batch):
    met = 4 * (1 - (1 - 1 / 4) ** batch)
    work = layer_work(MOE, 0, batch=batch)
    weights = 4 * 2048**2 + 2 * 2048 + 4 * 2048 + met * 3 * 2048 * 5632
    assert work.weight_bytes == pytest.approx(2 * weights)


def test_a_batch_reads_a_row_once():
    one, many = (layer_work(MEMORY, 11, batch=batch).table_bytes for batch in (1, 4096))
    assert one == pytest.approx(4 * 32 * 2048 * 2, rel=1e-4)
    assert many == pytest.approx(2 * 2048 * expected_distinct(1024**2, 32, 4 * 4096))
    assert many < 4096 * one


def test_the_cache_grows_with_batch_and_length():
    memory = inference_memory(DENSE, cost_context(DENSE), batch=3, length=100)
    assert memory.cache == 3 * 100 * 22 * 2 * 2048 * 2
    assert memory.weights == 2 * 1_261_529_088


def test_prefill_counts_the_head_once_a_prompt():
    parts = prefill_work(DENSE, cost_context(DENSE), batch=2)
    forward = 2 * 4096 * summarize(DENSE).total.flops_per_token
    head = 2 * 32000 * 2048
    assert total_work(parts).flops == forward - 2 * 4095 * head


def test_a_tied_head_reads_its_matrix_all_the_same():
    tied = DENSE.replace(tie_embeddings=True)
    for spec in (DENSE, tied):
        parts = decode_work(spec, cost_context(spec), batch=1)
        assert parts[-1].work.weight_bytes == 2 * 32000 * 2048


def test_decoding_every_random_model():
    for seed in range(30):
        spec = random_spec(seed)
        context = cost_context(spec)
        full = summarize(spec, causal=False).total.flops_per_token
        unseen = sum(unseen_flops(layer.attention, context.seq_len) for layer in spec.layers)
        assert total_work(decode_work(spec, context, batch=5)).flops == 5 * (full - unseen)


def unseen_flops(attention, length):
    """FLOPs of the keys that have left a window: queries and values, 2 per multiply-add."""
    if attention.is_identity or attention.cached_tokens(length) == length:
        return 0
    heads, _, head_dim = attention.shape
    return 4 * heads * head_dim * (length - attention.cached_tokens(length))
