import csv
import io
import json
from pathlib import Path

import pytest

from archspec.cli import main
from archspec.search.results import SearchResults
from archspec.spec.dump import spec_hash
from archspec.spec.load import load_model
from archspec.testing.searched import searched

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, _ = searched(tmp_path_factory.mktemp("searched"))
    return out


def test_the_report_is_printed(run, capsys):
    assert main(["report", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "What the search of mini found" in printed
    assert "Which choices matter" in printed


def test_it_comes_as_json(run, capsys):
    assert main(["report", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert SearchResults.model_validate(found["results"]).best.trial >= 0
    assert found["findings"]["is_finished"] is True


def test_page_and_pictures_are_written(run, tmp_path, capsys):
    page, pictures = tmp_path / "a.html", tmp_path / "pictures"
    assert main(["report", str(run), "--html", str(page), "--png", str(pictures)]) == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert len(list(pictures.glob("*.png"))) == 5
    assert str(page) in capsys.readouterr().out


def test_no_search_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "not a search's directory" in capsys.readouterr().err


def test_other_budgets_are_solved_and_written(run, tmp_path, capsys):
    out = tmp_path / "smaller"
    command = ["study", "solve", str(run), "--budget", "flops_per_token=0.95x"]
    assert main([*command, "--out", str(out), "--designs", "3", "--json"]) == 0
    solution = json.loads(capsys.readouterr().out)
    models = [load_model(path) for path in sorted(out.iterdir())]
    assert [spec_hash(model) for model in models] == [
        proposal["spec_hash"] for proposal in solution["proposals"]
    ]
    assert main([*command, "--out", str(out)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "trained designs keep to these budgets" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_a_grid_of_budgets_is_solved(run, tmp_path, capsys):
    picture = tmp_path / "sweep.png"
    command = ["study", "sweep", str(run), "--budget", "flops_per_token=0.1x,0.95x,1x"]
    command += ["--budget", "num_params=2x,none"]
    assert main([*command, "--csv", "--png", str(picture)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["flops_per_token"], row["num_params"]) for row in rows][:3] == [
        ("0.1x", "2x"), ("0.1x", "none"), ("0.95x", "2x"),
    ]  # fmt: skip
    assert rows[0]["predicted"] == ""
    assert float(rows[-1]["predicted"]) < 3.0
    assert picture.stat().st_size > 10_000
    assert main([*command, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 6
    assert main(command) == 0
    assert "no design" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["flops_per_token", "=1x", "flops_per_token=", "a=1x,,2x"])
def test_what_is_no_budget_is_refused(run, capsys, text):
    assert main(["study", "sweep", str(run), "--budget", text]) == 2
    assert "is no budget" in capsys.readouterr().err


def test_without_an_action_help_is_printed(capsys):
    assert main(["study"]) == 0
    assert "solve" in capsys.readouterr().out
