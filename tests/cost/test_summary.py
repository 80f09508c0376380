import pytest

from archspec.cost.summary import summarize
from archspec.quantities import COST_FIELDS, FREE
from archspec.spec.load import load_model
from archspec.testing.specs import random_spec

# Published totals, with the norm weights that the paper leaves out; FLOPs at 4,096 tokens, causal
# half, head included.
PAPER = {
    "dense_1.3b": (1_261_529_088, 2_760_900_608),
    "moe_1.3b": (3_545_507_840, 2_761_261_056),
    "memory_1.3b": (3_377_556_480, 2_698_510_336),
    "memory_plus_1.3b_1m": (3_368_142_848, 2_680_684_544),
    "memory_plus_1.3b_4m": (9_823_176_704, 2_705_850_368),
    "memory_plus_1.3b_16m": (35_618_146_304, 2_756_182_016),
    "memory_plus_1.3b_64m": (138_747_693_056, 2_856_845_312),
}
WITHOUT_NORMS = {
    "dense_1.3b": 1_261_436_928,
    "moe_1.3b": 3_545_415_680,
    "memory_1.3b": 3_377_464_320,
    "memory_plus_1.3b_1m": 3_368_050_688,
    "memory_plus_1.3b_4m": 9_823_084_544,
    "memory_plus_1.3b_16m": 35_618_054_144,
    "memory_plus_1.3b_64m": 138_747_600_896,
}
NORMS = 22 * 2 * 2048 + 2048


def summary_of(name: str):
    return summarize(load_model(f"specs/models/{name}.yaml"))


@pytest.mark.parametrize("name", PAPER)
def test_paper_totals_to_the_unit(name):
    total = summary_of(name).total
    assert (total.num_params, total.flops_per_token) == PAPER[name]
    assert total.num_params - NORMS == WITHOUT_NORMS[name]


@pytest.mark.parametrize(
    ("name", "num_params"), [("llama2_7b", 6_738_415_616), ("llama3_8b", 8_030_261_248)]
)
def test_published_totals_to_the_unit(name, num_params):
    assert summary_of(name).total.num_params == num_params


def test_rows_add_up_to_the_total():
    for seed in range(50):
        summary = summarize(random_spec(seed))
        rows = [*summary.layers, *summary.pools, *summary.parts]
        assert sum((row.cost for row in rows), FREE) == summary.total


def test_a_pool_is_stored_once_and_read_by_name():
    summary = summary_of("memory_plus_1.3b_1m")
    assert summary.readers == {"values": (3, 11, 19)}
    assert summary.total.num_table_params == 1024**2 * 2048


def test_table_bytes_follow_the_dtype():
    spec = load_model("specs/models/memory_1.3b.yaml")
    assert summarize(spec).total.table_bytes_per_token == 4 * 32 * 2048 * 2
    assert summarize(spec, dtype="float32").total.table_bytes_per_token == 4 * 32 * 2048 * 4


def test_full_attention_doubles_the_core():
    spec = load_model("specs/models/dense_1.3b.yaml")
    causal, full = (summarize(spec, causal=c).total.flops_per_token for c in (True, False))
    assert full - causal == 22 * 2 * 4096 * 2048


def test_tied_embeddings_are_stored_once_and_multiplied_all_the_same():
    spec = load_model("specs/models/dense_1.3b.yaml")
    tied = summarize(spec.replace(tie_embeddings=True)).total
    untied = summarize(spec).total
    assert untied.num_params - tied.num_params == 32000 * 2048
    assert untied.flops_per_token == tied.flops_per_token


@pytest.mark.parametrize("seq_len", [0, -1, 4097])
def test_seq_len_out_of_range(seq_len):
    with pytest.raises(ValueError, match="max_seq_len=4096"):
        summarize(load_model("specs/models/dense_1.3b.yaml"), seq_len=seq_len)


def test_as_dict_has_every_quantity():
    document = summary_of("memory_plus_1.3b_1m").as_dict()
    assert set(COST_FIELDS) <= set(document)
    assert len(document["layers"]) == 22
