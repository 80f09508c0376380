import json
from pathlib import Path

import pytest

from archspec.cli import main
from archspec.cli import race as command
from archspec.race import run as race_run
from archspec.race.directory import Race
from archspec.race.results import RaceResults
from archspec.testing.race import race as synthetic

MODEL = """\
archspec: 1
kind: model
name: NAME
vocab_size: 300
max_seq_len: 32
d_model: 16
attention: {num_heads: 2}
blocks:
  ffn: {type: dense, hidden_dim: WIDTH}
layers: {num_layers: 3, default: ffn}
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 64
tokens: 640
data: [{task: facts, num_facts: 16, num_objects: 4}]
optimizer: {lr: 2.0e-3}
"""
START = ["race", "small.yaml", "wide.yaml", "--train", "train.yaml"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, width in {"small": 48, "wide": 96}.items():
        text = MODEL.replace("NAME", name).replace("WIDTH", str(width))
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "train.yaml").write_text(TRAIN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def raced(monkeypatch: pytest.MonkeyPatch) -> list[Race]:
    """Replace racing; the list gets what would be raced."""
    asked: list[Race] = []

    def start(race: Race, out: Path, **options: object) -> RaceResults:
        asked.append(race)
        return synthetic()

    monkeypatch.setattr(race_run, "start_race", start)
    monkeypatch.setattr(race_run, "resume_race", lambda out, **options: synthetic())
    return asked


def test_options_reach_the_race(folder: Path, raced: list[Race], capsys) -> None:
    options = "--out out --seeds 5 --metric facts.accuracy --lr 1e-3 3e-3 --table-lr 10 30"
    more = "--round-to 4 --sweep-share 0.5 --sweep-each --points 4 --as-is wide.yaml"
    assert main([*START, *options.split(), *more.split()]) == 0
    (race,) = raced
    settings = race.settings
    assert (settings.seeds, settings.metric, settings.round_to) == (5, "facts.accuracy", 4)
    assert settings.rates == (1e-3, 3e-3)
    assert settings.table_rates == (10.0, 30.0)
    assert (settings.sweep_each, settings.sweep_share, settings.points) == (True, 0.5, 4)
    assert [entrant.entry for entrant in race.entrants] == ["reference", "matched", "as is"]
    assert [entrant.hidden_dims for entrant in race.entrants[:2]] == [(48, 48, 48)] * 2
    assert "Fairness checked" in capsys.readouterr().out


def test_rates_default_to_multiples_of_the_documents(folder: Path, raced: list[Race]) -> None:
    main([*START, "--out", "a"])
    main([*START, "--out", "b", "--no-sweep"])
    assert [race.settings.rates for race in raced] == [(1e-3, 2e-3, 4e-3), ()]


def test_json_holds_raw_values_and_what_follows(folder: Path, raced: list[Race], capsys) -> None:
    assert main([*START, "--out", "out", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run_directory"] == "out"
    assert [row["name"] for row in found["summary"]] == ["dense", "shared-pool-0", "dense-2x"]
    assert found["summary"][1]["differences"]["facts.accuracy"]["p_holm"] < 0.05


def test_pictures_are_written(folder: Path, raced: list[Race]) -> None:
    assert main(["race", "--resume", "out", "--png", "race.png", "--html", "race.html"]) == 0
    assert (folder / "race.png").stat().st_size > 10_000
    assert "<svg" in (folder / "race.html").read_text()


def test_threads_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert command._threads(2) == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert command._threads(10_000) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("race small.yaml", "but --train and --out is missing"),
        ("race --resume out --lr 1e-3 --train t.yaml", "but --train and --lr was given too"),
        ("race a.yaml b.yaml --train t --out o --no-sweep --lr 1e-3", "--no-sweep keeps the rates"),
        ("race --resume out --png race.jpg", "--png: race.jpg must end in .png or .svg"),
        ("race --resume gone", "gone: not a race's directory"),
        ("race small.yaml wide.yaml --train train.yaml --out o --metric x", "no such metric"),
        ("race small.yaml --train train.yaml --out o", "two designs or more"),
        ("race small.yaml wide.yaml --train train.yaml --out o --jobs 0", "--jobs must be at"),
    ],
)
def test_mistakes_get_one_message(folder: Path, arguments: str, message: str, capsys) -> None:
    assert main(arguments.split()) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "o").exists()


def test_a_dry_run_prints_what_would_be(folder: Path, capsys) -> None:
    assert main([*START, "--dry-run", "--seeds", "2"]) == 0
    said = capsys.readouterr().out
    assert "96 -> 48" in said
    assert "7 trainings" in said
    assert "1.0000x" in said
    assert main([*START, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["designs"][1]["hidden_dims"] == [48, 48, 48]
    assert found["seconds"] > 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "small.yaml",
        "train.yaml",
        "wide.yaml",
    ]
