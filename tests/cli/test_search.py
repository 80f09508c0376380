import json
from pathlib import Path

import pytest

from archspec.cli import main
from archspec.search import study
from archspec.search.objective import Outcome
from archspec.spec.model import ModelSpec

MODEL = """\
archspec: 1
kind: model
name: mini
vocab_size: 300
max_seq_len: 32
d_model: 16
attention: {num_heads: 2}
blocks:
  ffn: {type: dense, hidden_dim: 40}
  experts: {type: moe, num_experts: 4, top_k: 2, hidden_dim: 24}
layers: {num_layers: 4, default: ffn}
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 64
tokens: 128
data: [{task: facts, num_facts: 16, num_objects: 4}]
"""
SEARCH = """\
archspec: 1
kind: search
base: model.yaml
vary: {layers: {choices: [ffn, experts]}}
budgets: {num_params: {max: 1.3x}}
objective: {train: train.yaml, metric: facts.nll}
trials: 4
finalists: 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {"model": MODEL, "train": TRAIN, "search": SEARCH}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def synthetic(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace training; the list gets the seed of every call."""
    seeds: list[int] = []

    def judge(spec: ModelSpec, seed: int) -> Outcome:
        seeds.append(seed)
        value = float(sum(i for i, layer in enumerate(spec.layers) if layer.names == ("ffn",)))
        return Outcome(value=value, metrics={"facts.nll": value}, seconds=1.0)

    monkeypatch.setattr(study, "make_objective", lambda *_args: judge)
    return seeds


def test_search_prints_and_keeps_a_report(
    folder: Path, synthetic: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "search.yaml", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert "Next: archspec report run --html run/report.html\n      archspec summary run/" in out
    assert (folder / "run" / "report.txt").read_text().split() == out.split()
    assert "1/4" in err


def test_a_finished_search_says_so_and_prints_the_same(
    folder: Path, synthetic: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["search", "search.yaml", "--out", "run"])
    first, count = capsys.readouterr().out, len(synthetic)
    assert main(["search", "search.yaml", "--resume", "run"]) == 0
    second = capsys.readouterr()
    assert second.out == first
    assert "The search in run is done" in second.err
    assert len(synthetic) == count


def test_json_has_every_design(
    folder: Path, synthetic: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "search.yaml", "--out", "run", "--json", "--trials", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["designs"]) == 3
    assert found["run_directory"] == "run"


def test_more_trials_go_on(folder: Path, synthetic: list[int]) -> None:
    main(["search", "search.yaml", "--out", "run"])
    before = len(synthetic)
    assert main(["search", "--resume", "run", "--trials", "5"]) == 0
    assert len(synthetic) > before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search.yaml"], "a new search needs SEARCH and --out, but --out is missing"),
        (["--out", "run"], "but SEARCH is missing"),
        (["--resume", "run", "--out", "other"], "leave one out"),
        (["--resume", "nothing"], "not a search's directory"),
        (["model.yaml", "--out", "run"], "expected a search document, but this is kind 'model'"),
        (["search.yaml", "--out", "."], "already exists"),
    ],
)
def test_bad_arguments_give_one_message_and_status_2(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_an_impossible_budget_gives_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "search.yaml").write_text(SEARCH.replace("1.3x", "10"))
    assert main(["search", "search.yaml", "--out", "run"]) == 2
    assert "the least any design reaches is" in capsys.readouterr().err
    assert not (folder / "run").exists()


@pytest.mark.slow
def test_real_trainings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "search.yaml", "--out", "run"]) == 0
    assert "times better than chance" in " ".join(capsys.readouterr().out.split())
    assert main(["summary", "run/best.yaml"]) == 0
