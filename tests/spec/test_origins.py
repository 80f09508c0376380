import pathlib

import pytest

from archspec.cli import main
from archspec.spec.compose import compose
from archspec.spec.origins import origins

TINY = "specs/models/tiny.yaml"
SHIPPED = [p for p in sorted(pathlib.Path("specs").rglob("*.yaml")) if p.parent.name != "search"]


def found(*overrides, path=TINY):
    return {origin.path: origin for origin in origins(compose(path, overrides))}


def test_written_values_have_a_line_and_defaults_none():
    values = found()
    line = pathlib.Path(TINY).read_text().splitlines()[values["d_model"].place.line - 1]
    assert line == "d_model: 64"
    assert values["blocks.ffn.hidden_dim"].value == 128
    assert values["blocks.ffn.activation"].place is None
    assert (values["attention.head_dim"].value, values["attention.head_dim"].place) == (16, None)


def test_layers_have_the_place_of_their_placement():
    values = found("layers.place.private=[5]")
    text = pathlib.Path(TINY).read_text().splitlines()
    for index, name in enumerate(["ffn", "ffn", "shared", "experts", "shared"]):
        origin = values[f"layers[{index}]"]
        assert origin.value == name
        assert name in text[origin.place.line - 1]
    assert values["layers[5]"].place.file == "--set layers.place.private=[5]"


def test_inherited_values_name_the_other_file(tmp_path):
    file = tmp_path / "wide.yaml"
    file.write_text(f"extends: {pathlib.Path(TINY).absolute()}\nd_model: 128\n")
    values = found(path=file)
    assert values["d_model"].place.file == str(file)
    assert values["vocab_size"].place.file.endswith("tiny.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_every_shipped_document(path, capsys):
    assert main(["show", str(path), "--origin"]) == 0
    assert str(path) in capsys.readouterr().out.replace("\n", "")


def test_the_command_line_is_an_origin_without_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["show", TINY, "--origin", "--set", "norm_eps=1e-4"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("norm_eps"))
    assert line.split()[1:] == ["0.0001", "--set", "norm_eps=1e-4"]
