"""eval: what is asked of whom, and what it prints."""

import json
import shutil

import pytest

from archspec.cli import main

MODEL = """\
archspec: 1
kind: model
vocab_size: 512
max_seq_len: 64
d_model: 16
attention: {num_heads: 2}
blocks: {ffn: {type: dense, hidden_dim: 16}}
layers: [ffn]
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 64
tokens: 320
data: [{task: facts, num_facts: 32, num_objects: 16}, {text: sample.txt}]
checkpoint: {every_steps: 2, keep: 3}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of five steps."""
    folder = tmp_path_factory.mktemp("eval")
    (folder / "model.yaml").write_text(MODEL)
    (folder / "train.yaml").write_text(TRAIN)
    (folder / "sample.txt").write_text("Facts are stubborn things. " * 99)
    out = str(folder / "run")
    arguments = [str(folder / "model.yaml"), "--train", str(folder / "train.yaml"), "--out", out]
    assert main(["train", *arguments]) == 0
    return folder / "run"


def asked(capsys, *arguments):
    capsys.readouterr()
    assert main(["eval", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main(["eval", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_a_run_is_asked_what_it_was_trained_on(run, capsys):
    printed = asked(capsys, run)
    assert printed["checkpoint"].endswith("step_000005")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["evaluation"]
    for name, value in last.items():
        assert printed["metrics"][name]["value"] == pytest.approx(value, rel=1e-6)
    accuracy = printed["metrics"]["facts.accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert accuracy["count"] == accuracy["documents"] == 32
    assert {"facts.perplexity", "sample.perplexity", "sample.bits_per_byte"} < set(
        printed["metrics"]
    )


def test_the_table_says_what_each_metric_means(run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    capsys.readouterr()
    assert main(["eval", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "95% interval" in printed
    assert "of 32 facts; guessing would give 6.2%" in printed
    assert "bits per byte of unseen text" in printed


def test_an_earlier_checkpoint_can_be_asked(run, capsys):
    earlier, last = asked(capsys, run / "checkpoints" / "step_000002"), asked(capsys, run)
    assert earlier["metrics"]["loss"]["value"] > last["metrics"]["loss"]["value"]


def test_a_task_it_was_trained_on_is_asked_as_it_was(run, capsys):
    own, alone = asked(capsys, run), asked(capsys, run, "--task", "facts")
    assert alone["metrics"]["facts.nll"] == own["metrics"]["facts.nll"]
    assert "sample.nll" not in alone["metrics"]


def test_any_other_task_has_its_defaults_and_what_is_set(run, capsys):
    plain = asked(capsys, run, "--task", "recall")
    assert plain["metrics"]["recall.chance"]["value"] == 1 / 64
    changed = asked(capsys, run, "--task", "recall", "--set", "data[0].num_values=8")
    assert changed["metrics"]["recall.chance"]["value"] == 1 / 8


def test_another_document_can_be_asked(run, capsys, tmp_path):
    document = tmp_path / "other.yaml"
    document.write_text(
        TRAIN.replace("num_facts: 32", "num_facts: 8").replace("sample.txt", "pydoc")
    )
    printed = asked(capsys, run, "--train", document)
    assert printed["metrics"]["facts.accuracy"]["count"] == 8
    assert "pydoc.nll" in printed["metrics"]


def test_what_cannot_be_asked_is_refused(run, capsys, tmp_path):
    assert "did you mean 'recall'" in refused(capsys, run, "--task", "recal")
    message = refused(capsys, run, "--task", "recall", "--set", "data[0].num_pairs=40")
    assert "--task recall" in message
    assert "a document takes 160 tokens" in message
    assert "no such directory" in refused(capsys, tmp_path / "nowhere")
    alone = tmp_path / "alone"
    shutil.copytree(run / "checkpoints" / "step_000005", alone)
    assert "give --train or --task" in refused(capsys, alone)
    assert asked(capsys, alone, "--task", "copy")["metrics"]["copy.accuracy"]["count"] > 0
