import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archspec.spec.read import parse_tree
from archspec.spec.resolve import resolve_model

HEAD = """\
archspec: 1
kind: model
vocab_size: 16
max_seq_len: 8
d_model: 8
attention: {num_heads: 1}
blocks:
  a: {type: dense, hidden_dim: 8}
  b: {type: dense, hidden_dim: 16}
  c: {type: moe, num_experts: 2, top_k: 1, hidden_dim: 8}
"""


def names(layers: str) -> list[str]:
    spec = resolve_model(parse_tree(f"{HEAD}layers: {layers}\n", "f.yaml"))
    return ["+".join(layer.names) for layer in spec.layers]


def placed_at(rule: str, num_layers: int) -> list[int]:
    found = names(f"{{num_layers: {num_layers}, default: a, place: {{b: {rule}}}}}")
    return [index for index, name in enumerate(found) if name == "b"]


@pytest.mark.parametrize(
    ("rule", "num_layers", "indices"),
    [
        ("[0, 3]", 6, [0, 3]),
        ('[0, "2-4"]', 6, [0, 2, 3, 4]),
        ("{first: 2}", 6, [0, 1]),
        ("{last: 2}", 6, [4, 5]),
        ("{first: 1, last: 1}", 6, [0, 5]),
        ("{every: 2}", 6, [1, 3, 5]),
        ("{every: 3, offset: 0}", 7, [0, 3, 6]),
        ("{every: 4, offset: 1}", 7, [1, 5]),
        ("{centered: {count: 3, stride: 8}}", 22, [3, 11, 19]),
        ("{centered: {count: 1}}", 22, [11]),
        ("{centered: {count: 2, stride: 3}}", 12, [4, 7]),
        ("{centered: {count: 3}}", 9, [1, 4, 7]),
        ("{at: [0], every: 2}", 4, [0, 1, 3]),
    ],
)
def test_placement_rules(rule, num_layers, indices):
    assert placed_at(rule, num_layers) == indices


@given(count=st.integers(1, 8), stride=st.integers(1, 6))
def test_centered_is_evenly_spaced_around_the_middle(count, stride):
    num_layers = 2 * count * stride + 2
    found = placed_at(f"{{centered: {{count: {count}, stride: {stride}}}}}", num_layers)
    assert len(found) == count
    assert {b - a for a, b in itertools.pairwise(found)} <= {stride}
    middle = (found[0] + found[-1]) / 2
    assert num_layers // 2 - 0.5 <= middle <= num_layers // 2


def test_beside_sums_both_blocks():
    assert names("{num_layers: 2, default: a, place: {b: {at: [1], beside: c}}}") == ["a", "c+b"]


def test_repeats_nest():
    text = "[{repeat: 2, layers: [a, {repeat: 2, layers: [b]}]}, [a, c], c]"
    assert names(text) == ["a", "b", "b", "a", "b", "b", "a+c", "c"]


def test_changes_apply_to_one_slot_only():
    spec = resolve_model(
        parse_tree(f"{HEAD}layers: [a, {{block: a, hidden_dim: 99}}, a]\n", "f.yaml")
    )
    assert [layer.blocks[0].hidden_dim for layer in spec.layers] == [8, 99, 8]


ATTENTION = HEAD.replace(
    "{num_heads: 1}", "{full: {num_heads: 1}, local: {num_heads: 1, window: 4}, none: {type: none}}"
)


def attentions(layers: str) -> list[str]:
    spec = resolve_model(parse_tree(f"{ATTENTION}layers: {layers}\n", "f.yaml"))
    return [layer.attention_name for layer in spec.layers]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("{num_layers: 3, default: a}", "full full full"),
        (
            "{num_layers: 4, default: a, attention: {place: {local: {every: 2}}}}",
            "full local full local",
        ),
        (
            "{num_layers: 4, default: a, attention: {default: local, place: {full: [0, '2-3']}}}",
            "full local full full",
        ),
        (
            "{num_layers: 4, default: a, place: {b: [1]}, attention: {place: "
            "{local: {first: 1}, none: {centered: {count: 1}}}}}",
            "local full none full",
        ),
        (
            "[a, {block: a, attention: local}, {block: [a, b], attention: none}, [a, b]]",
            "full local none full",
        ),
        (
            "[{repeat: 2, layers: [{block: a, hidden_dim: 3, attention: local}, b]}]",
            "local full local full",
        ),
    ],
)
def test_attention_is_placed_like_blocks(layers, expected):
    assert attentions(layers) == expected.split()


def test_a_sum_with_attention_keeps_its_blocks():
    spec = resolve_model(
        parse_tree(
            f"{ATTENTION}layers: [{{block: [a, {{block: b, hidden_dim: 3}}], attention: local}}]\n",
            "f.yaml",
        )
    )
    assert spec.layers[0].names == ("a", "b")
    assert spec.layers[0].blocks[1].hidden_dim == 3


def test_a_block_may_have_the_name_of_an_attention():
    spec = resolve_model(
        parse_tree(f"{ATTENTION.replace('  a:', '  full:')}layers: [full]\n", "f.yaml")
    )
    assert spec.layers[0].names == ("full",)
