"""check, show and kinds; every shipped document and every command."""

import argparse
import json
import pathlib

import pytest

from archspec.cli import main
from archspec.cli.parser import build_parser
from archspec.spec.dump import spec_hash
from archspec.spec.load import load, load_model, load_train

SHIPPED = sorted(pathlib.Path("specs").rglob("*.yaml"))
TINY = "specs/models/tiny.yaml"


def commands() -> dict[str, argparse.ArgumentParser]:
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("no subcommands")


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_shipped_documents_are_right(path, capsys):
    assert main(["check", str(path)]) == 0


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help_an_example_and_a_place_in_the_readme(name):
    parser = commands()[name]
    assert parser.description
    assert f"example:\n  archspec {name} " in (parser.epilog or "")
    assert f"archspec {name}" in pathlib.Path("README.md").read_text()


@pytest.mark.parametrize("flags", [[], ["--resolved"]])
def test_show_prints_what_loads_to_the_same_design(flags, tmp_path, capsys):
    assert main(["show", TINY, *flags]) == 0
    copy = tmp_path / "copy.yaml"
    copy.write_text(capsys.readouterr().out)
    assert load_model(copy) == load_model(TINY)


def test_resolved_names_the_hash(capsys):
    assert main(["show", TINY, "--resolved"]) == 0
    assert capsys.readouterr().out.startswith(f"# hash {spec_hash(load_model(TINY))}\n")


def test_show_a_train_document(tmp_path, capsys):
    assert main(["show", "specs/train/tiny.yaml"]) == 0
    copy = tmp_path / "copy.yaml"
    copy.write_text(capsys.readouterr().out)
    assert load_train(copy) == load_train("specs/train/tiny.yaml")


def test_show_a_search_document(capsys):
    path = pathlib.Path("specs/search/placement_tiny.yaml")
    assert main(["show", str(path)]) == 0
    copy = path.with_name("copy-of-a-test.yaml")
    try:
        copy.write_text(capsys.readouterr().out)
        assert load(copy) == load(path)
    finally:
        copy.unlink()


def test_kinds(capsys):
    assert main(["kinds"]) == 0
    out = capsys.readouterr().out
    assert all(kind in out for kind in ("dense", "moe", "memory", "shared_pool"))


def test_keys_of_a_kind(capsys):
    assert main(["kinds", "moe", "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["num_experts"]["default"] == "required"
    assert rows["scores"]["type"] == "softmax | sigmoid"
    assert all(row["meaning"] for row in rows.values())
    assert main(["kinds", "moe"]) == 0
    assert "num_experts" in capsys.readouterr().out


def test_attention_types_are_kinds_too(capsys):
    for name in ("mla", "attention.mla"):
        assert main(["kinds", name, "--json"]) == 0
        rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
        assert rows["kv_lora_rank"]["default"] == "required"
    assert main(["kinds"]) == 0
    assert "attention.gqa" in capsys.readouterr().out


def test_unknown_kind(capsys):
    assert main(["kinds", "mow"]) == 2
    assert "did you mean 'moe'?" in capsys.readouterr().err


def test_interrupt_is_quiet(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("archspec.spec.load.load", interrupt)
    assert main(["check", TINY]) == 130
    assert capsys.readouterr().err == "archspec check: interrupted\n"
