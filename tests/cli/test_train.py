"""train: its arguments, what it prints, and how it ends."""

import json
import signal
import subprocess
import sys
import time

import pytest

from archspec.cli import main
from archspec.spec.load import load_plan

MODEL = """\
archspec: 1
kind: model
vocab_size: 320
max_seq_len: 32
d_model: 16
attention: {num_heads: 2}
blocks: {ffn: {type: dense, hidden_dim: 16}}
layers: [ffn, ffn]
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 64
tokens: 640
data: [{task: facts, num_facts: 32, num_objects: 16}, {text: sample.txt}]
optimizer: {lr: LR}
"""


@pytest.fixture
def start(tmp_path):
    """The arguments of a new run of ten steps."""

    def write(*, lr=1e-3, train=TRAIN):
        (tmp_path / "model.yaml").write_text(MODEL)
        (tmp_path / "train.yaml").write_text(train.replace("LR", str(lr)))
        (tmp_path / "sample.txt").write_text("Facts are stubborn things. " * 99)
        document, settings = str(tmp_path / "model.yaml"), str(tmp_path / "train.yaml")
        return ["train", document, "--train", settings, "--out", str(tmp_path / "run")]

    return write


def test_a_run_says_what_was_learned(start, tmp_path, capsys):
    assert main(start()) == 0
    printed = capsys.readouterr().out
    assert "of 32 facts; guessing would give 6.2%" in printed
    assert "nats per byte of unseen text; guessing would give 5.55" in printed
    assert "10 steps, 640 tokens" in printed
    assert str(tmp_path / "run") in printed
    assert (tmp_path / "run" / "checkpoints" / "step_000010" / "state.json").is_file()


PLAN = """\
archspec: 1
kind: plan
name: NAME
mesh: {dp_shard: 1}
precision: {compute: float32}
"""


def test_a_plan_works_on_one_process_and_another_may_go_on(start, tmp_path):
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(PLAN.replace("NAME", name))
    run = tmp_path / "run"
    assert main([*start(), "--plan", str(tmp_path / "first.yaml")]) == 0
    assert load_plan(run / "plan.yaml") == load_plan(tmp_path / "first.yaml")
    planned = (run / "metrics.jsonl").read_text()
    assert main(["train", "--resume", str(run)]) == 0
    assert load_plan(run / "plan.yaml").name == "first"
    assert main(["train", "--resume", str(run), "--plan", str(tmp_path / "second.yaml")]) == 0
    assert load_plan(run / "plan.yaml").name == "second"
    assert (run / "metrics.jsonl").read_text() == planned


def test_json_is_all_that_standard_output_gets(start, tmp_path, capsys):
    assert main([*start(), "--seed", "4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["finished"], result["steps"], result["tokens"]) == (True, 10, 640)
    assert set(result["metrics"]) == {
        *["loss", "facts.accuracy", "facts.chance", "facts.nll", "sample.nll"]
    }
    assert result["run_directory"] == str(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "metadata.json").read_text())["seed"] == 4


def test_a_run_that_exists_is_refused_and_can_be_resumed(start, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(start()) == 0
    first = capsys.readouterr().out
    assert main(start()) == 2
    error = capsys.readouterr().err
    assert f"already exists; go on with it by --resume {run}" in error
    assert "Traceback" not in error
    assert main(["train", "--resume", run]) == 0
    again = capsys.readouterr().out
    assert first.splitlines()[:6] == again.splitlines()[:6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x"], "SPEC and --train is missing"),
        (["a.yaml", "--train", "b.yaml"], "--out is missing"),
        (["a.yaml", "--resume", "x"], "SPEC was given too"),
        (["--resume", "x", "--out", "y", "--seed", "1"], "--out and --seed was given too"),
        (["--resume", "nowhere"], "not a run directory"),
        (["nowhere.yaml", "--train", "b.yaml", "--out", "x"], "nowhere.yaml"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message, capsys):
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_data_that_does_not_fit_is_refused_before_anything_is_written(start, tmp_path, capsys):
    arguments = start(train=TRAIN.replace("num_facts: 32", "num_facts: 50_000"))
    assert main(arguments) == 2
    assert "vocab_size >= 456 must hold" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_divergence_has_its_own_status(start, capsys):
    assert main(start(lr=1e38)) == 3
    error = capsys.readouterr().err
    assert "training diverged" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_with_130(start, tmp_path, number):
    endless = TRAIN.replace("tokens: 640", "tokens: 64_000_000")
    command = [sys.executable, "-m", "archspec", *start(train=endless)]
    metrics = tmp_path / "run" / "metrics.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            if metrics.is_file() and metrics.stat().st_size:
                process.send_signal(number)
                break
            time.sleep(0.05)
        printed = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    steps = metrics.read_text().count('"loss"')
    assert f"Interrupted after step {steps} of 1000000" in printed
    assert f"archspec train --resume {tmp_path / 'run'}" in printed
    assert (tmp_path / "run" / "checkpoints" / f"step_{steps:06d}").is_dir()
