import pathlib
import textwrap

import pytest

from archspec.errors import SpecError
from archspec.spec.compose import compose
from archspec.spec.load import load_model, load_search, load_train

BASE = """\
archspec: 1
kind: model
vocab_size: 10
d_model: 8
max_seq_len: 8
attention: {num_heads: 2}
blocks: {ffn: {type: dense, hidden_dim: 3, activation: gelu}}
layers: {num_layers: 2, default: ffn, place: {ffn: [0]}}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> str:
        path = pathlib.Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return name

    write("base.yaml", BASE)
    return write


def message(path: str, *overrides: str) -> str:
    with pytest.raises(SpecError) as error:
        compose(path, overrides)
    return str(error.value)


def test_maps_merge_deeply_and_the_rest_is_replaced(write):
    write(
        "child.yaml",
        """\
        extends: base.yaml
        d_model: 16
        blocks: {ffn: {hidden_dim: 4}, wide: {type: dense, hidden_dim: 9}}
        layers: {place: {wide: [1]}}
        """,
    )
    spec = load_model("child.yaml")
    assert spec.d_model == 16
    assert [layer.blocks[0].hidden_dim for layer in spec.layers] == [4, 9]
    assert spec.layers[0].blocks[0].activation == "gelu"


def test_every_value_remembers_its_file(write):
    write("child.yaml", "extends: base.yaml\nblocks: {ffn: {hidden_dim: 4}}\n")
    root = compose("child.yaml", ["d_model=16"])
    assert str(root.place_of(("blocks", "ffn", "hidden_dim"))) == "child.yaml:2:16"
    assert str(root.place_of(("blocks", "ffn", "activation"))) == "base.yaml:7:44"
    assert str(root.place_of(("d_model",))) == "--set d_model=16"


def test_later_bases_win_and_the_document_wins_over_all(write):
    write("one.yaml", "d_model: 10\nvocab_size: 11\n")
    write("two.yaml", "d_model: 20\n")
    write("child.yaml", "extends: [base.yaml, one.yaml, two.yaml]\nmax_seq_len: 30\n")
    plain = compose("child.yaml").plain()
    assert (plain["d_model"], plain["vocab_size"], plain["max_seq_len"]) == (20, 11, 30)


def test_paths_start_from_the_document_that_writes_them(write):
    write("deep/middle.yaml", "extends: ../base.yaml\n")
    write("child.yaml", "extends: deep/middle.yaml\n")
    assert load_model("child.yaml").d_model == 8


def test_a_list_replaces_the_map_of_layers(write):
    write("child.yaml", "extends: base.yaml\nlayers: [ffn, ffn, ffn]\n")
    assert len(load_model("child.yaml").layers) == 3


def test_null_removes_a_map(write):
    write("child.yaml", "extends: base.yaml\nlayers: {place: {ffn: [0], more: null}}\n")
    write("grandchild.yaml", "extends: child.yaml\nlayers: {place: null}\n")
    assert "place" not in compose("grandchild.yaml").plain()["layers"]


def test_vars_hold_anchors_and_say_nothing(write):
    write(
        "child.yaml",
        """\
        extends: base.yaml
        vars: {wide: &wide {type: dense, hidden_dim: 64}}
        blocks: {ffn: *wide, other: *wide}
        """,
    )
    spec = load_model("child.yaml", ["blocks.ffn.hidden_dim=32"])
    assert spec.templates["ffn"].hidden_dim == 32
    assert spec.templates["other"].hidden_dim == 64, "an alias is not changed with its twin"


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("d_model=16", ("d_model",), 16),
        ("norm_eps=1e-6", ("norm_eps",), 1e-6),
        ("blocks.ffn.hidden_dim = 7", ("blocks", "ffn", "hidden_dim"), 7),
        ("layers.place.ffn[0]=1", ("layers", "place", "ffn", 0), 1),
        ("layers=[ffn, ffn]", ("layers",), ["ffn", "ffn"]),
        ("pools.big={num_keys: 4, value_dim: 8}", ("pools", "big", "num_keys"), 4),
        ("name=", ("name",), None),
    ],
)
def test_overrides(write, override, path, value):
    assert compose("base.yaml", [override]).at(path).plain() == value


def test_a_key_with_dots_is_one_step(write):
    text = "archspec: 1\nkind: search\nvary: {pools.big.num_keys: [8, 16]}\n"
    write("search.yaml", text)
    root = compose("search.yaml", ["vary.pools.big.num_keys[1]=32"])
    assert root.plain()["vary"] == {"pools.big.num_keys": [8, 32]}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("d_model", "--set d_model: must be PATH=VALUE, such as blocks.ffn.hidden_dim=4096"),
        ("d_model.x=1", "--set d_model.x=1: nothing can be set at 'x' in 8 (a whole number)"),
        (
            "layers.place.ffn[4]=1",
            "--set layers.place.ffn[4]=1: a list is at 4; give an index from [0] to [0]",
        ),
        (
            "layers[0]=ffn",
            "--set layers[0]=ffn: a map is at [0]; give a key, known: default, num_layers, place",
        ),
        ("a[x]=1", "--set a[x]=1: cannot read the path at '[x]'"),
        (
            "d_model=[1",
            "--set d_model=[1: not valid YAML: did not find expected ',' or ']' while parsing a "
            "flow sequence",
        ),
    ],
)
def test_bad_overrides(write, override, said):
    assert message("base.yaml", override) == said


def test_a_mistake_in_an_override_is_reported_as_one(write):
    with pytest.raises(SpecError) as error:
        load_model("base.yaml", ["blocks.ffn.hiden_dim=4"])
    assert str(error.value) == (
        "--set blocks.ffn.hiden_dim=4: blocks.ffn.hiden_dim: unknown key 'hiden_dim'; did you mean "
        "'hidden_dim'?"
    )


def test_circles_show_the_chain(write):
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "extends: [c.yaml]\n")
    write("c.yaml", "extends: a.yaml\n")
    assert message("a.yaml") == (
        "c.yaml:1:10: extends: a.yaml extends itself in a circle; break it, "
        "reached through a.yaml:1:10 -> b.yaml:1:11"
    )


def test_a_document_that_extends_itself(write):
    write("a.yaml", "extends: a.yaml\n")
    assert message("a.yaml") == (
        "a.yaml:1:10: extends: a.yaml extends itself in a circle; break it"
    )


def test_missing_bases_show_the_chain(write):
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "extends: lost.yaml\n")
    assert message("a.yaml") == (
        "b.yaml:1:10: extends: no such file: lost.yaml; paths start from this document, "
        "reached through a.yaml:1:10"
    )


def test_conflicting_types_show_both_places_and_the_chain(write):
    write("a.yaml", "extends: b.yaml\nattention: 5\n")
    write("b.yaml", "extends: base.yaml\n")
    with pytest.raises(SpecError) as error:
        load_model("a.yaml")
    assert str(error.value) == (
        "a.yaml:2:1: attention: must be a map, but is 5 (a whole number) (it replaces a map of "
        "base.yaml:6:12, reached through a.yaml:1:10)"
    )


@pytest.mark.parametrize("default", ["[ffn, ffn]", "{block: ffn, hidden_dim: 5}"])
def test_a_slot_may_change_its_form(write, default):
    write("child.yaml", f"extends: base.yaml\nlayers: {{default: {default}}}\n")
    write("back.yaml", "extends: child.yaml\nlayers: {default: ffn}\n")
    assert load_model("child.yaml") != load_model("base.yaml")
    assert load_model("back.yaml") == load_model("base.yaml")


def test_extends_that_is_no_path(write):
    write("a.yaml", "extends: 5\n")
    assert message("a.yaml") == (
        "a.yaml:1:10: extends: must be a path or a list of paths, but is 5 (a whole number)"
    )


def test_problems_of_a_base_are_reported_in_the_base(write):
    write("bad.yaml", BASE.replace("hidden_dim: 3", "hidden_dim: three"))
    write("child.yaml", "extends: bad.yaml\n")
    with pytest.raises(SpecError, match=r"^bad\.yaml:7:29: blocks\.ffn\.hidden_dim: must be"):
        load_model("child.yaml")


def test_paths_inside_inherited_documents_start_from_their_own_file(write):
    write("models/tiny.yaml", BASE)
    train = "archspec: 1\nkind: train\nseq_len: 8\nbatch_tokens: 8\ntokens: 8\n"
    write("train/short.yaml", train + "data: [{text: words.txt}]\n")
    write(
        "search/base.yaml",
        """\
        archspec: 1
        kind: search
        base: ../models/tiny.yaml
        vary: {layers: {choices: [ffn]}}
        objective: {train: ../train/short.yaml, metric: words.nll}
        """,
    )
    write("mine.yaml", "extends: search/base.yaml\ntrials: 3\n")
    assert load_search("mine.yaml").trials == 3
    write("longer.yaml", "extends: train/short.yaml\ntokens: 16\n")
    assert load_train("longer.yaml").data == load_train("train/short.yaml").data
