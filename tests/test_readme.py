"""What the README shows is what happens."""

import pathlib
import re
import shutil

import pytest

from archspec.cli import main
from archspec.spec.load import load, load_model

README = pathlib.Path("README.md").read_text()
SPECS = pathlib.Path("specs").absolute()


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.S | re.M)
    return [text for name, text in fenced if name == language]


def write_model(folder: pathlib.Path, text: str) -> pathlib.Path:
    path = folder / "mixed.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("index", range(len(blocks("yaml"))))
def test_documents_are_right(index, tmp_path):
    shutil.copytree(SPECS, tmp_path / "specs")
    path = tmp_path / "specs" / "search" / "readme.yaml"
    path.write_text(blocks("yaml")[index])
    load(path)


def test_the_list_form_is_right(tmp_path):
    (listed,) = re.findall(r"`(layers: \[.*?\])`", README)
    placed = blocks("yaml")[0]
    text = placed[: placed.index("layers:")] + listed + "\n"
    assert len(load_model(write_model(tmp_path, text)).layers) == 11


def test_the_mistakes_are_reported_as_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = blocks("yaml")[0]
    text = text.replace("num_experts: 64", "num_expert: 64").replace("[5, 6]", "[5, 11]")
    write_model(tmp_path, text)
    assert main(["check", "mixed.yaml"]) == 2
    shown = next(block for block in blocks("") if "did you mean" in block)
    said = capsys.readouterr().out.splitlines()
    assert set(shown.splitlines()) <= set(said), said


def test_python(capsys):
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip().isdigit()


def test_commands_exist():
    for block in blocks("sh"):
        for command in re.findall(r"^archspec (\w+)", block, flags=re.M):
            with pytest.raises(SystemExit) as stop:
                main([command, "--help"])
            assert stop.value.code == 0


def test_bundled_paths_exist():
    for name in re.findall(r"\bspecs/[\w/.]+\.yaml", README):
        assert pathlib.Path(name).is_file(), name
