"""archspec plan: tables, JSON, errors at their lines, and the search."""

import argparse
import json
import pathlib
import subprocess
import sys

import pytest

from archspec.cli import main, plan
from archspec.cli.parser import build_parser
from archspec.compiler import verify
from archspec.compiler.plan.memory import TABLE_OPTIMIZERS
from archspec.spec.load import load_plan

MODEL = "specs/models/memory_plus_1.3b_16m.yaml"
PLAN = "specs/plans/h100x64.yaml"
PLANS = sorted(pathlib.Path("specs/plans").glob("*.yaml"))


def write(folder: pathlib.Path, text: str) -> str:
    path = folder / "plan.yaml"
    path.write_text(f"archspec: 1\nkind: plan\n{text}\n")
    return str(path)


@pytest.mark.parametrize("columns", [80, 160])
def test_tables_fit_the_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["plan", MODEL, "--plan", PLAN]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    for words in ("35.6 B parameters, on 64 ranks", "columns/64 (1)", "picks to the fold", "Fits"):
        assert words in out
    assert ("16777216x2048" in out) == (columns == 160)
    assert "\x1b" not in out


def test_json_says_the_same(capsys):
    assert main(["plan", MODEL, "--plan", PLAN, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["num_params"] == 35_618_146_304
    pool = next(row for row in document["parameters"] if row["section"] == "pools.values")
    assert pool["largest_shape"] == [4096**2, 2048 // 64]
    assert document["fits"] is True


@pytest.mark.parametrize("path", PLANS, ids=str)
def test_shipped_plans_are_legal_for_a_model(path, capsys):
    world = {
        "fsdp": ["--world-size", "2"],
        "h100x4096": ["--world-size", "4096"],
        "h100x16384": ["--world-size", "16384"],
    }
    model = {
        "single": "specs/models/tiny.yaml",
        "fsdp": "specs/models/tiny.yaml",
        "h100x16384": "specs/models/mixed_1t.yaml",
    }
    arguments = ["plan", model.get(path.stem, "specs/models/memory_plus_1.3b_4m.yaml")]
    assert main([*arguments, "--plan", str(path), *world.get(path.stem, [])]) == 0
    assert "warning" not in capsys.readouterr().out


def test_broken_rules_are_reported_at_the_lines_of_both_documents(tmp_path, capsys):
    path = write(tmp_path, "mesh: {dp_shard: 2, tp: 3}")
    assert main(["plan", "specs/models/tiny.yaml", "--plan", path]) == 2
    said = capsys.readouterr().err
    assert "specs/models/tiny.yaml:" in said
    assert "blocks.ffn.hidden_dim: tp must divide hidden_dim" in said
    assert f"({path}:3:21: mesh.tp)" in said


def test_a_plan_that_does_not_fit_is_refused_unless_asked_for(tmp_path, capsys):
    path = write(tmp_path, "mesh: {dp_shard: 8}\nhardware: h100")
    arguments = ["plan", "specs/models/llama2_70b.yaml", "--plan", path]
    assert main(arguments) == 2
    assert f"{path}:3:1: mesh: a rank must fit NVIDIA H100 SXM" in capsys.readouterr().err
    assert main([*arguments, "--allow-oversize"]) == 0
    assert "Does not fit NVIDIA H100 SXM" in capsys.readouterr().out


def test_without_a_device_there_is_no_time(tmp_path, capsys):
    path = write(tmp_path, "mesh: {dp_shard: 4}")
    assert main(["plan", "specs/models/tiny.yaml", "--plan", path]) == 0
    assert "give --hardware" in capsys.readouterr().out
    assert main(["plan", "specs/models/tiny.yaml", "--plan", path, "--hardware", "a100"]) == 0
    assert "A step takes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which plan? give --plan"),
        (["--plan", PLAN, "--write", "x.yaml"], "--write goes with --search"),
        (["--plan", PLAN, "--micro-tokens", "0"], "micro_tokens must be at least 1"),
        (["--plan", PLAN, "--seq-len", "9999"], "seq_len must be between 1 and max_seq_len=4096"),
        (["--plan", PLAN, "--world-size", "63"], "the world size is 63"),
        (["--search", "--world-size", "8"], "--search needs --world-size and --hardware"),
        (["--search", "--hardware", "h100"], "give --world-size"),
        (["--search", "--hardware", "h100", "--world-size", "0"], "at least 1, but is 0"),
    ],
)
def test_what_cannot_be_asked(arguments, said, capsys):
    assert main(["plan", MODEL, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_search_writes_a_plan_that_works(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    best = tmp_path / "best.yaml"
    search = ["--search", "--world-size", "16", "--hardware", "h100", "--top", "3"]
    assert main(["plan", MODEL, *search, "--write", str(best)]) == 0
    out = capsys.readouterr().out
    assert "the fastest 3:" in out
    assert "does not fit, even with full recompute" in out
    assert load_plan(best).hardware == "h100"
    assert main(["plan", MODEL, "--plan", str(best)]) == 0


def test_the_search_in_json(capsys):
    search = ["--search", "--world-size", "8", "--hardware", "h100", "--json", "--top", "2"]
    assert main(["plan", "specs/models/memory_plus_1.3b_1m.yaml", *search]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["candidates"]) == 2
    rejected = sum(one["count"] for one in document["rejections"])
    assert document["tried"] == document["fitting"] + rejected


def test_a_search_without_a_result_is_bad_input(capsys):
    search = ["--search", "--world-size", "1", "--hardware", "h100"]
    assert main(["plan", "specs/models/llama2_70b.yaml", *search]) == 2
    assert "0 work on NVIDIA H100 SXM" in capsys.readouterr().out


def test_table_optimizers_are_those_of_the_arithmetic():
    assert plan.TABLE_OPTIMIZERS == TABLE_OPTIMIZERS


def test_help_has_an_example():
    (commands,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    assert "--plan specs/plans/h100x64.yaml" in commands.choices["plan"].epilog


def test_thousands_of_ranks_need_no_torch():
    code = (
        "import sys; from archspec.cli import main; "
        "main(['plan', 'specs/models/mixed_1t.yaml', '--plan', 'specs/plans/h100x16384.yaml', "
        "'--world-size', '16384']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0


def test_verify_builds_ranks_and_says_so(capsys):
    arguments = ["plan", "specs/models/tiny.yaml", "--plan", "specs/plans/single.yaml", "--verify"]
    assert main(arguments) == 0
    assert "Verified: ranks 0 hold what was planned" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"]["differences"] == []


def test_what_is_not_built_as_planned_is_our_fault(capsys, monkeypatch):
    monkeypatch.setattr(verify, "differences", lambda *_: ["norm.weight: planned otherwise"])
    arguments = ["plan", "specs/models/tiny.yaml", "--plan", "specs/plans/single.yaml", "--verify"]
    assert main(arguments) == 1
    assert "norm.weight: planned otherwise" in capsys.readouterr().out
