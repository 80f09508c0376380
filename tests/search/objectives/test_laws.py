import pytest

from archspec.errors import ObjectiveError, SpecError
from archspec.search.objectives.laws import DenseLaw, MoeLaw
from archspec.search.objectives.predicted import PredictedObjective
from archspec.search.study import start_search
from archspec.spec.load import load_model, load_search


def test_dense_law_by_hand() -> None:
    # N = 1e9: 482.01 * exp(-0.3478 * 20.723266) = 0.357154; D = 2e10: 2085.43 * exp(-0.3658 *
    # 23.718998) = 0.355696; with the rest, 1.8172, that makes 2.530050.
    assert DenseLaw().loss(1e9, 2e10, 1) == pytest.approx(2.530050, abs=1e-6)


def test_moe_law_by_hand_for_one_expert() -> None:
    # E = 1: 1 / Ê = (1 / Es - 1 / Em) + 1 / Em = 1 / Es, so Ê = Es = 2.0732 and ln Ê = 0.729094.
    model = 35.91 * 2.0732**-0.2285 * 1e9 ** (-0.1889 + 0.0098 * 0.729094)
    data = 35.98 * 2.0732**0.5529 * 2e10 ** (-0.1775 - 0.0259 * 0.729094)
    assert MoeLaw().loss(1e9, 2e10, 1) == pytest.approx(model + data + 1.3637, rel=1e-5)


def test_more_of_anything_is_better_within_the_ranges() -> None:
    for law, experts in ((DenseLaw(), 1), (MoeLaw(), 1), (MoeLaw(), 8)):
        assert law.loss(1e9, 2e10, experts) > law.loss(2e9, 2e10, experts)
        assert law.loss(1e9, 2e10, experts) > law.loss(1e9, 4e10, experts)
    assert MoeLaw().loss(1e9, 2e10, 1) > MoeLaw().loss(1e9, 2e10, 8) > MoeLaw().loss(1e9, 2e10, 32)


def test_a_model_is_judged_by_its_counts() -> None:
    spec = load_model("specs/models/dense_1.3b.yaml")
    outcome = PredictedObjective("dense", 20_000_000_000)(spec, 0)
    assert outcome.value == DenseLaw().loss(1_261_529_088, 20e9, 1)
    assert outcome.metrics == {"loss": outcome.value}


def test_outside_the_fitted_range() -> None:
    with pytest.raises(ObjectiveError) as error:
        PredictedObjective("dense", 1_000_000)
    assert str(error.value) == (
        "objective.law: the law (Besiroglu et al., arXiv 2404.10102) was fitted for tokens (D) of "
        "5.00 B to 500 B, but it is 1.00 M; set `tokens` of the train document, or use kind: train"
    )
    with pytest.raises(ObjectiveError, match=r"num_params \(N\) of 70.0 M to 16.0 B, but it is"):
        PredictedObjective("dense", 20_000_000_000)(
            load_model("specs/models/attention_only_tiny.yaml"), 0
        )


def test_experts_that_the_law_never_saw() -> None:
    law = PredictedObjective("moe", 20_000_000_000)
    with pytest.raises(ObjectiveError, match="used one at a time, but a block has top_k=2"):
        law(load_model("specs/models/mixtral_8x7b.yaml", ["layers.num_layers=2"]), 0)
    one = load_model("specs/models/moe_1.3b.yaml")
    assert law(one, 0).value == MoeLaw().loss(1_261_529_088 + 22 * 4 * 2048, 20e9, 4)
    mixed = one.replace(layers=(*load_model("specs/models/dense_1.3b.yaml").layers, *one.layers))
    with pytest.raises(ObjectiveError, match="layers have 1 and 4 experts"):
        law(mixed, 0)


MODEL = """\
archspec: 1
kind: model
vocab_size: 32000
max_seq_len: 2048
d_model: 768
attention: {num_heads: 12}
blocks:
  ffn: {type: dense, hidden_dim: 2048}
  wide: {type: dense, hidden_dim: 4096}
  private: {type: memory, num_keys: 256, value_dim: 768, key_dim: 384}
layers: {num_layers: 12, default: ffn}
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 128
batch_tokens: 1024
tokens: 10_000_000_000
data: [{text: pydoc}]
"""
SEARCH = """\
archspec: 1
kind: search
base: model.yaml
vary: {layers: {choices: [ffn, wide], tied: {repeat: 1}}}
objective: {kind: predicted, law: dense, train: train.yaml}
trials: 2
finalists: 0
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "train.yaml").write_text(TRAIN)
    return tmp_path


def load(folder, text=SEARCH):
    (folder / "search.yaml").write_text(text)
    return load_search(folder / "search.yaml")


def test_a_search_over_sizes_takes_the_larger(folder) -> None:
    results = start_search(load(folder), folder / "run")
    assert {
        layer.blocks[0].hidden_dim for layer in load_model(folder / "run/best.yaml").layers
    } == {4096}
    assert results.metric == "loss"
    assert results.best.value < results.designs[1].value


def test_small_designs_are_refused_with_both_ranges(folder) -> None:
    small = MODEL.replace("vocab_size: 32000", "vocab_size: 512")
    (folder / "model.yaml").write_text(small.replace("num_layers: 12", "num_layers: 2"))
    with pytest.raises(ObjectiveError) as error:
        start_search(load(folder), folder / "run")
    assert str(error.value) == (
        "objective.law: the law (Besiroglu et al., arXiv 2404.10102) was fitted for num_params (N) "
        "of 70.0 M to 16.0 B, but designs have 14.9 M (14,946,048) to 24.4 M (24,383,232); add "
        "budgets.num_params: {min: 70.0M, max: 16.0B}, or use kind: train"
    )
    assert not (folder / "run").exists()


def test_too_few_tokens_leave_no_directory_behind(folder) -> None:
    (folder / "train.yaml").write_text(TRAIN.replace("10_000_000_000", "1_000_000"))
    with pytest.raises(ObjectiveError, match=r"tokens \(D\) of 5.00 B to 500 B"):
        start_search(load(folder), folder / "run")
    assert not (folder / "run").exists()


def test_placement_and_memory_are_refused(folder) -> None:
    with pytest.raises(SpecError, match="laws may rank sizes, never placement"):
        load(folder, SEARCH.replace(", tied: {repeat: 1}", ""))
    with pytest.raises(SpecError, match="and not of memory; no published law was; use kind: train"):
        load(folder, SEARCH.replace("[ffn, wide]", "[ffn, private]"))
