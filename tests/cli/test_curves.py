import json

import pytest

from archspec.cli import main


@pytest.fixture
def run(tmp_path):
    """What a run of three steps leaves of its log."""
    line = {"auxiliary": {}, "lr": 0.1, "grad_norm": 1.0, "seconds": 0.5}
    lines = [line | {"step": n, "tokens": n * 8, "loss": 4.0 - n} for n in (1, 2, 3)]
    lines.append({"step": 3, "evaluation": {"loss": 1.5, "facts.accuracy": 0.25}})
    out = tmp_path / "first"
    out.mkdir()
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


def test_curves_are_drawn(run, capsys):
    assert main(["curves", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "loss over tokens, 8 to 24" in printed
    assert "first" in printed


def test_points_come_as_csv_and_json(run, capsys):
    assert main(["curves", str(run), "--csv", "--x", "seconds"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *["run,seconds,loss", "first,0.5,3.0", "first,1.0,2.0", "first,1.5,1.0"]
    ]
    assert main(["curves", str(run), "--json", "--metric", "facts.accuracy"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"run": "first", "metric": "facts.accuracy", "x": "tokens", "points": [[24.0, 0.25]]}
    ]


def test_a_picture_is_written(run, tmp_path, capsys):
    assert main(["curves", str(run), str(run), "--png", str(tmp_path / "c.png")]) == 0
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_a_wrong_name_is_refused(run, capsys):
    assert main(["curves", str(run), "--metric", "los"]) == 2
    assert "did you mean 'loss'?" in capsys.readouterr().err
    assert main(["curves", str(run / "nowhere")]) == 2
    assert "name a run directory" in capsys.readouterr().err
