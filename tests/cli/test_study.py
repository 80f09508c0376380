import csv
import io
import json
from pathlib import Path

import pytest

from archspec.cli import main
from archspec.errors import ArchspecError
from archspec.search.control import last_stop
from archspec.search.objective import Outcome
from archspec.search.study import resume_search
from archspec.search.workspace import open_workspace
from archspec.spec.load import load_model
from archspec.spec.model import ModelSpec
from archspec.testing.searched import searched


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, _ = searched(tmp_path_factory.mktemp("study"), trials=12)
    return out


def test_status_says_where_a_search_stands(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "status", str(run)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "12 of 12 done" in out
    assert "all trials are done" in out
    assert "No worker has a trial." in out


def test_status_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "status", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == found["counts"]["trained"] == 12
    assert found["workers"] == []
    assert found["best"]["spec_hash"]


def test_watching_ends_with_the_search(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "status", str(run), "--watch"]) == 0
    assert "12 of 12 done" in capsys.readouterr().out


def test_export_prints_every_trial_as_csv(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "export", str(run)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len([row for row in rows if row["state"] == "complete"]) == 12
    assert all(float(row["facts.nll"]) > 0 and row["layers.1"] for row in rows)


def test_export_writes_lines_and_designs(run: Path, tmp_path: Path) -> None:
    lines, designs = tmp_path / "trials.jsonl", tmp_path / "designs"
    arguments = ["--jsonl", str(lines), "--yaml", str(designs), "--top", "3"]
    assert main(["study", "export", str(run), *arguments]) == 0
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    best = sorted(row["facts.nll"] for row in rows if row["state"] == "complete")[:3]
    files = sorted(designs.iterdir())
    assert [load_model(file).name.split("-")[0] for file in files] == ["mini"] * 3
    assert [f"{value:.4f}" in file.read_text() for value, file in zip(best, files, strict=True)]


class Stopped:
    """Asks everybody to stop while it judges."""

    def __init__(self, out: Path, *options: str) -> None:
        self.words = ["study", "stop", str(out), *options]
        self.calls = 0

    def __call__(self, spec: ModelSpec, seed: int) -> Outcome:
        self.calls += 1
        assert main(self.words) == 0
        return Outcome(value=1.0, metrics={"facts.nll": 1.0}, seconds=1.0)


def test_who_is_asked_to_stop_ends_after_the_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = searched(tmp_path, trials=4)
    judge = Stopped(out)
    with pytest.raises(ArchspecError, match="stopped by `archspec study stop`"):
        resume_search(out, trials=10, objective=judge)
    assert judge.calls == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "to end after their trials;" in said
    assert f"Go on with archspec search --resume {out}" in said
    workspace = open_workspace(out)
    assert last_stop(workspace.storage, workspace.study_id).number == 1
    assert [trial.state.name for trial in workspace.study.trials].count("COMPLETE") == 5
    assert "RUNNING" not in {trial.state.name for trial in workspace.study.trials}


@pytest.mark.parametrize("action", ["status", "stop", "export"])
def test_what_is_no_search_gives_one_message_and_status_2(
    action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", action, str(tmp_path)]) == 2
    assert "not a search's directory" in capsys.readouterr().err


def test_a_storage_that_cannot_be_opened_gives_one_message_and_status_2(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "redis://me:secret@127.0.0.1:1"
    assert main(["study", "status", str(run), "--storage", url]) == 2
    err = capsys.readouterr().err
    assert "redis://me:***@127.0.0.1:1: cannot be opened" in err
    assert "Traceback" not in err
