"""What docs/data.md shows is right."""

import pathlib
import re

import pytest

from archspec.cli import main
from archspec.spec.data.registry import KEYS, TASK
from archspec.spec.load import load_train

PAGE = pathlib.Path("docs/data.md").read_text()


def test_documents_are_right(tmp_path):
    found = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.S | re.M)
    assert found
    for text in found:
        path = tmp_path / "train.yaml"
        path.write_text(text)
        assert load_train(path)


def test_every_key_is_explained():
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.M)) == {*KEYS, TASK}


def test_commands_exist():
    for command in re.findall(r"^archspec (\w+)", PAGE, flags=re.M):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
