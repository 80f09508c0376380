"""What a search document may vary: choices, rules, variants."""

from pathlib import Path

import pytest

from archspec.errors import SpecError
from archspec.spec.load import load_search
from archspec.spec.search.variant import CountRule

MODEL = """\
archspec: 1
kind: model
vocab_size: 50
max_seq_len: 32
d_model: 16
attention: {full: {num_heads: 2}, local: {num_heads: 2, window: 8}}
pools:
  big: {num_keys: 16, value_dim: 16}
  small: {num_keys: 8, value_dim: 16}
blocks:
  ffn: {type: dense, hidden_dim: 40}
  experts: {type: moe, num_experts: 4, top_k: 2, hidden_dim: 24}
  shared: {type: shared_pool, pool: big, num_heads: 2, top_k: 4, key_dim: 6}
  other: {type: shared_pool, pool: small, num_heads: 2, top_k: 4, key_dim: 6}
layers: {num_layers: 4, default: ffn, place: {shared: {last: 1}}, attention: {place: {local: [1]}}}
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 64
tokens: 640
data: [{task: facts, num_facts: 64, num_objects: 8}]
"""
PLAN = """\
archspec: 1
kind: plan
hardware: h100
mesh: {dp_shard: 2}
pools: {big: {shard: rows}}
"""


@pytest.fixture
def load(tmp_path: Path):
    for name, text in {"model": MODEL, "train": TRAIN, "plan": PLAN}.items():
        (tmp_path / f"{name}.yaml").write_text(text)

    def load(vary: str, head: str = ""):
        path = tmp_path / "search.yaml"
        path.write_text(
            f"archspec: 1\nkind: search\nbase: model.yaml\n{head}vary: {vary}\n"
            "objective: {train: train.yaml, metric: facts.nll}\n"
        )
        return load_search(path)

    return load


def names(layers) -> list[str]:
    return ["+".join(layer.names) for layer in layers]


def test_a_list_of_sizes_is_a_choice_each(load) -> None:
    spec = load(
        "{layers: {choices: [{block: ffn, hidden_dim: [16, 24], activation: [swiglu, gelu]}, "
        "[experts, {block: shared, num_heads: 1}]], fixed: {0: ffn, -1: {block: ffn, "
        "hidden_dim: 8}}}}"
    )
    (variant,) = spec.variants
    assert names(variant.choices[0]) == ["ffn"]
    assert names(variant.choices[1]) == [
        "ffn[hidden_dim=16,activation=swiglu]",
        "ffn[hidden_dim=16,activation=gelu]",
        "ffn[hidden_dim=24,activation=swiglu]",
        "ffn[hidden_dim=24,activation=gelu]",
        "experts+shared[num_heads=1]",
    ]
    assert [block.hidden_dim for block in variant.choices[1][2].blocks] == [24]
    assert variant.choices[1][4].blocks[1].num_heads == 1
    assert names(variant.choices[3]) == ["ffn[hidden_dim=8]"]


def test_attention_is_combined_with_every_choice(load) -> None:
    (variant,) = load(
        "{layers: {choices: [ffn, experts], attention: [local, full], fixed: {1: ffn}}}"
    ).variants
    assert [(layer.names, layer.attention_name) for layer in variant.choices[0]] == [
        (("ffn",), "local"),
        (("ffn",), "full"),
        (("experts",), "local"),
        (("experts",), "full"),
    ]
    assert [layer.attention.window for layer in variant.choices[0]] == [8, None, 8, None]
    assert [layer.attention_name for layer in variant.choices[1]] == ["local"]


def test_without_attention_a_layer_keeps_its_own(load) -> None:
    (variant,) = load("{layers: {choices: [ffn, experts]}}").variants
    windows = [[layer.attention.window for layer in layers] for layers in variant.choices]
    assert windows == [[None, None], [8, 8], [None, None], [None, None]]


@pytest.mark.parametrize(
    ("tied", "genes"),
    [
        ("[[0, 2], {last: 1, at: [1]}]", ((0, 2), (1, 3))),
        ('[["0-2"]]', ((0, 1, 2), (3,))),
        ("{repeat: 2}", ((0, 2), (1, 3))),
        ("{repeat: 3}", ((0, 3), (1,), (2,))),
    ],
)
def test_ties(load, tied, genes) -> None:
    (variant,) = load(f"{{layers: {{choices: [ffn, experts], tied: {tied}}}}}").variants
    assert variant.genes == genes


def test_a_repeating_pattern_leaves_fixed_layers_out(load) -> None:
    (variant,) = load(
        "{layers: {choices: [ffn, experts], tied: {repeat: 2}, fixed: {0: ffn}}}"
    ).variants
    assert variant.genes == ((0,), (1, 3), (2,))


def test_rules(load) -> None:
    (variant,) = load(
        "{layers: {choices: [{block: ffn, hidden_dim: [8, 16]}, experts], attention: [full, local],"
        " counts: {ffn: {min: 1}, 'ffn[hidden_dim=8]': {max: 2}, attention.full: {min: 1, max: 3}},"
        " forbidden: [[experts, experts], [attention.local, ffn]]}}"
    ).variants
    assert variant.counts == (
        CountRule("ffn", 1),
        CountRule("ffn[hidden_dim=8]", 0, 2),
        CountRule("attention.full", 1, 3),
    )
    assert variant.forbidden == (("experts", "experts"), ("attention.local", "ffn"))


def test_variants_are_the_documents_resolved_again(load) -> None:
    spec = load(
        "{layers: {choices: [ffn, experts]}, d_model: [16, 32], num_layers: [4, 6], "
        "plan.recompute: [none, full], plan.mesh.tp: [1, 2]}",
        "plan: plan.yaml\n",
    )
    assert len(spec.variants) == 16
    last = spec.variants[-1]
    assert last.settings == {
        "d_model": 32, "num_layers": 6, "plan.recompute": "full", "plan.mesh.tp": 2
    }  # fmt: skip
    assert last.base.d_model == 32
    assert last.base.layers[0].attention.head_dim == 16, "it follows from the width"
    assert len(last.choices) == 6
    assert (last.plan.recompute, last.plan.mesh.tp) == ("full", 2)
    assert spec.base.d_model == 16
    assert spec.plan.recompute == "none"
    assert "H100" in spec.hardware.name


def test_keys_of_templates_and_pools_vary(load) -> None:
    spec = load(
        "{layers: {choices: [ffn, shared]}, blocks.ffn.hidden_dim: [8, 16], "
        "pools.big.value_dim: [16, 24], attention.local.window: [4], pools.big.num_keys: [8, 16]}"
    )
    assert [v.base.templates["ffn"].hidden_dim for v in spec.variants] == [8, 8, 16, 16]
    assert [v.base.template_pools["big"].value_dim for v in spec.variants] == [16, 24, 16, 24]
    assert {v.base.attention_templates["local"].window for v in spec.variants} == {4}
    assert spec.pool_sizes == {"big": (8, 16)}


def test_what_only_some_variants_break_names_them(load) -> None:
    with pytest.raises(SpecError) as error:
        load("{layers: {choices: [ffn], fixed: {3: experts}, tied: [[0, 4]]}, num_layers: [4, 5]}")
    said = [problem.message for problem in error.value.problems]
    assert said == [
        "layer 4 is out of range: num_layers=4, so indices run from 0 to 3 (with num_layers=4)"
    ]
