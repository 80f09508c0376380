import pytest

from archspec.spec.dump import spec_hash, to_document, to_yaml
from archspec.spec.load import load_model
from archspec.spec.read import parse_tree
from archspec.spec.resolve import resolve_model
from archspec.testing.specs import load_document, random_spec

HEAD = """\
archspec: 1
kind: model
{name}vocab_size: 16
max_seq_len: 8
d_model: 8
attention: {attention}
pools: {{p: {{num_keys: 4, value_dim: 8}}{spare}}}
blocks:
  {ffn}: {{type: dense, hidden_dim: 8}}
  s: {{type: shared_pool, pool: p, key_dim: 4, top_k: 2}}
layers: {layers}
"""


def spec(*, layers, name="", attention="{num_heads: 2}", ffn="ffn", spare=""):
    text = HEAD.format(name=name, attention=attention, ffn=ffn, layers=layers, spare=spare)
    return resolve_model(parse_tree(text, "f.yaml"))


PLACED = spec(layers="{num_layers: 4, default: ffn, place: {s: [1, 3]}}")


@pytest.mark.parametrize(
    "same",
    [
        spec(layers="[ffn, s, ffn, s]"),
        spec(layers="[{repeat: 2, layers: [ffn, s]}]"),
        spec(layers="[mlp, s, mlp, s]", ffn="mlp"),
        spec(layers="[ffn, s, {block: ffn, hidden_dim: 8}, s]"),
        spec(layers="[ffn, s, ffn, s]", name="name: other\n"),
        spec(layers="[ffn, s, ffn, s]", attention="{num_heads: 2, num_kv_heads: 2, head_dim: 4}"),
    ],
    ids=["list", "repeat", "template name", "changes", "name", "defaults written out"],
)
def test_one_design_has_one_hash(same):
    assert spec_hash(same) == spec_hash(PLACED)
    assert same == PLACED


@pytest.mark.parametrize(
    "other",
    [
        spec(layers="[s, ffn, ffn, s]"),
        spec(layers="[ffn, s, {block: ffn, hidden_dim: 9}, s]"),
        spec(layers="[ffn, s, ffn, s]", attention="{num_heads: 2, num_kv_heads: 1}"),
        spec(layers="[ffn, s, [ffn, ffn], s]"),
    ],
)
def test_another_design_has_another_hash(other):
    assert spec_hash(other) != spec_hash(PLACED)


@pytest.mark.parametrize("canonical", [False, True])
def test_written_specs_load_to_the_same_value(canonical):
    for seed in range(100):
        before = random_spec(seed)
        text = to_yaml(before, canonical=canonical, comment="two\nlines")
        after = resolve_model(parse_tree(text, "f.yaml"))
        assert after == before
        assert spec_hash(after) == spec_hash(before)
        assert canonical or keeps_names(before, after)


def keeps_names(before, after) -> bool:
    """Blocks changed in place get a number behind the template's name; others keep theirs.

    One attention for all layers is written without a name.
    """
    pairs = list(zip(before.layers, after.layers, strict=True))
    return all(new.attention_name in ("", old.attention_name) for old, new in pairs) and all(
        written.startswith(own)
        for old, new in pairs
        for own, written in zip(old.names, new.names, strict=True)
    )


def test_names_that_look_like_other_values_survive(tmp_path):
    odd = spec(layers="[ffn, s]", name='name: "1e5: #no"\n')
    path = tmp_path / "odd.yaml"
    path.write_text(to_yaml(odd))
    assert load_model(path).name == "1e5: #no"


MIXED = "{a: {num_heads: 2}, b: {num_heads: 2, window: 4}, c: {type: none}}"


@pytest.mark.parametrize(
    "same",
    [
        spec(
            layers="{num_layers: 4, default: ffn, attention: {place: {b: [1, 3]}}}", attention=MIXED
        ),
        spec(
            layers="[{repeat: 2, layers: [ffn, {block: ffn, attention: b}]}]",
            attention="{a: {num_heads: 2, rope_theta: 1.0e4}, b: {window: 4, num_heads: 2}}",
        ),
        spec(
            layers="[{block: ffn, attention: x}, ffn, {block: ffn, attention: y}, ffn]",
            attention="{b: {num_heads: 2, window: 4}, x: {num_heads: 2}, y: {num_heads: 2}}",
        ),
        spec(
            layers="{num_layers: 4, default: ffn, attention: {default: b, place: {a: [0, 2]}}}",
            attention=MIXED,
        ),
    ],
    ids=["placed", "listed", "other default, equal templates", "default placed"],
)
def test_one_design_with_several_attentions_has_one_hash(same):
    first = spec(
        layers="[ffn, {block: ffn, attention: b}, ffn, {block: ffn, attention: b}]", attention=MIXED
    )
    assert spec_hash(same) == spec_hash(first)
    assert same == first


@pytest.mark.parametrize(
    ("layers", "attention"),
    [
        ("[{block: ffn, attention: b}, ffn, {block: ffn, attention: b}, ffn]", MIXED),
        ("[ffn, {block: ffn, attention: c}, ffn, {block: ffn, attention: c}]", MIXED),
        ("[ffn, ffn, ffn, ffn]", "{num_heads: 2}"),
        ("[ffn, ffn, ffn, ffn]", "{num_heads: 2, rope_theta: null}"),
        ("[ffn, ffn, ffn, ffn]", "{num_heads: 2, window: 4}"),
    ],
)
def test_other_attentions_have_other_hashes(layers, attention):
    first = spec(
        layers="[ffn, {block: ffn, attention: b}, ffn, {block: ffn, attention: b}]", attention=MIXED
    )
    assert spec_hash(spec(layers=layers, attention=attention)) != spec_hash(first)


def test_one_attention_is_written_without_a_name():
    one = spec(layers="[ffn, s]", attention=MIXED)
    assert to_document(one)["attention"]["num_heads"] == 2
    assert spec_hash(one) == spec_hash(spec(layers="[ffn, s]"))


def test_attention_templates_keep_their_names():
    text = to_yaml(spec(layers="[ffn, {block: [ffn, s], attention: c}]", attention=MIXED))
    assert "\n  a: {type: gqa, num_heads: 2," in text
    assert "\n  c: {type: none}\n" in text
    assert "\n  - {block: [ffn, s], attention: c}\n" in text


def test_a_key_at_its_default_changes_no_hash():
    """So a key that the language gains leaves the hashes of old designs as they were."""
    document = {**to_document(PLACED), "norm_position": "pre", "parallel": False}
    for key in ("norm_position", "parallel", "norm_eps", "tie_embeddings", "name"):
        assert spec_hash(load_document({k: v for k, v in document.items() if k != key})) == (
            spec_hash(PLACED)
        )
    assert spec_hash(load_document({**document, "parallel": True})) != spec_hash(PLACED)
