import itertools
import json
import math
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from archspec.errors import ArchspecError, DivergedError, RunError
from archspec.model.transformer import Transformer
from archspec.spec.data.facts import FactsSource
from archspec.spec.data.text import TextSource
from archspec.spec.dump import to_yaml
from archspec.spec.load import load_model, load_train
from archspec.spec.train import Checkpoint, Evaluation, Losses, Optimizer, TableOptimizer
from archspec.train.events import Listener
from archspec.train.files import lock_directory
from archspec.train.loop import train
from archspec.train.run_directory import train_to_yaml


class Recorder(Listener):
    """Notes every event, and does something after a given step."""

    def __init__(self, *, after=None, action=None):
        self.events = []
        self.after, self.action = after, action

    def on_start(self, event):
        self.events.append(event)

    def on_step(self, event):
        self.events.append(event)
        if event.step == self.after:
            self.action()

    on_evaluation = on_saved = on_end = on_start

    @property
    def kinds(self):
        return [type(event).__name__ for event in self.events]


def losses(result):
    return [step.loss for step in result.history]


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def interrupt():
    os.kill(os.getpid(), signal.SIGTERM)


def test_without_a_directory_nothing_is_written(spec, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGINT)
    listener = Recorder(after=1, action=lambda: handlers.append(signal.getsignal(signal.SIGINT)))
    handlers = []
    result = train(spec, settings(), out=None, listener=listener)
    assert list(tmp_path.iterdir()) == []
    assert handlers == [handler]
    assert (result.finished, result.steps, result.tokens) == (True, 12, 12 * 128)
    assert len(result.history) == 12
    assert result.tokens_per_second == pytest.approx(result.tokens / result.seconds)
    assert set(settings().metrics) <= set(result.metrics)


def test_events_come_in_order(spec, settings, tmp_path):
    listener = Recorder()
    document = settings(
        tokens=128 * 5, evaluation=Evaluation(every_steps=2), checkpoint=Checkpoint(every_steps=4)
    )
    train(spec, document, out=tmp_path / "run", listener=listener)
    assert listener.kinds == [
        *["Start", "Step", "Step", "Evaluation", "Step", "Step", "Evaluation", "Saved"],
        *["Step", "Evaluation", "Saved", "TrainResult"],
    ]


def test_the_first_loss_is_that_of_guessing_and_training_lowers_it(spec, settings):
    result = train(spec, settings(tokens=128 * 60, optimizer=Optimizer(lr=1e-2)), out=None)
    first, last = losses(result)[0], sum(losses(result)[-5:]) / 5
    assert first == pytest.approx(6.3, abs=0.5)  # ln 320 + 1/2: logits have variance 1
    assert last < 0.7 * first


def test_a_run_directory_holds_what_the_run_was(spec, settings, tmp_path):
    out = tmp_path / "deep" / "run"
    result = train(spec, settings(seed=5), out=out)
    assert load_model(out / "spec.yaml") == spec
    assert load_train(out / "train.yaml") == settings(seed=5)
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata["seed"] == 5
    assert set(metadata) == {"spec_hash", "seed", "device", "data_sha256", "versions"}
    assert set(metadata["versions"]) == {"archspec", "python", "torch"}
    *steps, evaluation = lines(out)
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert [line["loss"] for line in steps] == losses(result)
    assert evaluation == {"step": 12, "evaluation": result.metrics}


def test_a_seed_replaces_the_documents(spec, settings, tmp_path):
    plain = train(spec, settings(seed=3), out=None)
    replaced = train(spec, settings(), out=tmp_path / "run", seed=3)
    assert losses(plain) == losses(replaced) != losses(train(spec, settings(), out=None))
    assert load_train(tmp_path / "run" / "train.yaml").seed == 3


def test_micro_batches_add_up_to_the_batch(spec, settings):
    """Without MoE, whose load-balance loss is not linear in the tokens."""
    flat = spec.replace(layers=(spec.layers[0], spec.layers[2]))
    whole = train(flat, settings(), out=None)
    parts = train(flat, settings(micro_batch_tokens=32), out=None)
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-4)


def test_auxiliary_losses_are_logged_and_weigh(spec, settings):
    with_balance = train(spec, settings(losses=Losses(load_balance=5.0)), out=None)
    without = train(spec, settings(losses=Losses(load_balance=0.0)), out=None)
    assert with_balance.history[0].loss == without.history[0].loss
    assert with_balance.history[0].auxiliary == without.history[0].auxiliary
    assert with_balance.history[0].auxiliary["load_balance"] >= 1.0
    assert with_balance.history[0].grad_norm > without.history[0].grad_norm
    assert with_balance.history[-1].loss != without.history[-1].loss


def test_a_loss_without_coefficient_is_refused(spec, settings, monkeypatch):
    monkeypatch.setattr(Losses, "coefficients", lambda self: {"load_balanc": 1.0})
    with pytest.raises(ArchspecError, match=r"'load_balance'.*did you mean 'load_balanc'"):
        train(spec, settings(), out=None)


def test_a_directory_that_exists_is_refused(spec, settings, tmp_path):
    with pytest.raises(RunError, match="already exists; go on with it by --resume"):
        train(spec, settings(), out=tmp_path)


def test_a_device_that_is_not_there_is_refused(spec, settings, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunError, match=r"'cuda' was asked for.*use --device cpu"):
        train(spec, settings(), out=None, device="cuda")


def test_what_a_listener_raises_ends_the_run(spec, settings):
    def prune():
        raise KeyError("pruned")

    listener = Recorder(after=3, action=prune)
    with pytest.raises(KeyError):
        train(spec, settings(), out=None, listener=listener)
    assert listener.kinds == ["Start", "Step", "Step", "Step"]


def test_divergence_names_step_and_the_checkpoint_that_still_worked(
    spec, settings, tmp_path, monkeypatch
):
    """The newest one holds the very weights whose loss is not finite."""
    calls = itertools.count(1)

    nll = Transformer.nll

    def broken_at_five(*arguments):
        return nll(*arguments) * (math.nan if next(calls) == 5 else 1.0)

    monkeypatch.setattr(Transformer, "nll", broken_at_five)
    document = settings(checkpoint=Checkpoint(every_steps=1, keep=2))
    with pytest.raises(
        DivergedError, match=r"loss is nan at step 5 of 12; .*step_000003;"
    ) as error:
        train(spec, document, out=tmp_path / "run")
    assert error.value.exit_status == 3


def test_divergence_without_a_checkpoint_says_so(spec, settings):
    with pytest.raises(DivergedError, match="no good checkpoint was saved"):
        train(spec, settings(optimizer=Optimizer(lr=1e38)), out=None)


def test_a_signal_saves_and_resuming_repeats_the_same_losses(spec, settings, tmp_path):
    document = settings(checkpoint=Checkpoint(every_steps=3), evaluation=Evaluation(every_steps=5))
    straight = train(spec, document, out=tmp_path / "straight")
    out = tmp_path / "run"
    stopped = train(spec, document, out=out, listener=Recorder(after=7, action=interrupt))
    assert (stopped.finished, stopped.steps) == (False, 7)
    assert (out / "checkpoints" / "step_000007").is_dir()
    resumed = train(spec, document, out=out, resume=True)
    assert (resumed.finished, resumed.steps) == (True, 12)
    assert losses(resumed) == losses(straight)
    assert resumed.metrics == straight.metrics
    assert [line["step"] for line in lines(out)] == [
        line["step"] for line in lines(tmp_path / "straight")
    ]
    newest = "checkpoints/step_000012/shard_00000.safetensors"
    assert (out / newest).read_bytes() == (tmp_path / "straight" / newest).read_bytes()


def test_signal_handlers_are_put_back(spec, settings, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(spec, settings(), out=tmp_path / "run", listener=Recorder(after=2, action=interrupt))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_lines_after_the_checkpoint_are_written_once(spec, settings, tmp_path):
    """A process that dies between checkpoints leaves lines, the last of them perhaps in part."""
    document = settings(checkpoint=Checkpoint(every_steps=5))
    straight = train(spec, document, out=tmp_path / "straight")

    def die():
        raise ZeroDivisionError

    out = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        train(spec, document, out=out, listener=Recorder(after=8, action=die))
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')
    resumed = train(spec, document, out=out, resume=True)
    assert losses(resumed) == losses(straight)
    assert [line["step"] for line in lines(out)] == [*range(1, 13), 12]


def test_a_run_without_checkpoint_starts_again(spec, settings, tmp_path):
    def die():
        raise ZeroDivisionError

    out = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        train(spec, settings(), out=out, listener=Recorder(after=4, action=die))
    listener = Recorder()
    resumed = train(spec, settings(), out=out, resume=True, listener=listener)
    assert listener.events[0].step == 0
    assert losses(resumed) == losses(train(spec, settings(), out=None))


def test_resuming_a_finished_run_changes_nothing(spec, settings, tmp_path):
    out = tmp_path / "run"
    first = train(spec, settings(), out=out)
    before = (out / "metrics.jsonl").read_text()
    again = train(spec, settings(), out=out, resume=True)
    assert (again.metrics, losses(again)) == (first.metrics, losses(first))
    assert again.tokens_per_second == 0
    assert (out / "metrics.jsonl").read_text() == before


def test_resuming_something_else_is_refused(spec, settings, tmp_path):
    out = tmp_path / "run"
    train(spec, settings(), out=out)
    with pytest.raises(RunError, match="of another spec: vocab_size: 400 here, 320 there"):
        train(spec.replace(vocab_size=400), settings(), out=out, resume=True)
    with pytest.raises(RunError, match=r"other training settings: tokens: 3000 here, 1536 there"):
        train(spec, settings(tokens=3000), out=out, resume=True)
    with pytest.raises(RunError, match=r"not a run directory, it has no spec.yaml"):
        train(spec, settings(), out=tmp_path, resume=True)


def test_resuming_on_other_data_is_refused(spec, settings, tmp_path):
    path = tmp_path / "sample.txt"
    path.write_text("before " * 200)
    document = settings(data=[TextSource(text=str(path))])
    train(spec, document, out=tmp_path / "run")
    path.write_text("after " * 200)
    with pytest.raises(RunError, match="data of sample changed since the run began"):
        train(spec, document, out=tmp_path / "run", resume=True)


def test_a_run_that_another_process_trains_is_refused(spec, settings, tmp_path):
    out = tmp_path / "run"
    train(spec, settings(), out=out)
    with (
        lock_directory(out, activity="training"),
        pytest.raises(RunError, match="another process is training in it"),
    ):
        train(spec, settings(), out=out, resume=True)


SUBPROCESS = """
import sys, torch
from pathlib import Path
from archspec.spec.load import load_model, load_train
from archspec.train.events import Listener
from archspec.train.loop import train

torch.set_num_threads(1)

class Slow(Listener):
    def on_step(self, event):
        print(event.step, flush=True)
        if event.step >= 7:
            import time
            time.sleep(60)

spec, settings = load_model(sys.argv[1]), load_train(sys.argv[2])
train(spec, settings, out=Path(sys.argv[3]), listener=Slow())
"""


def test_sigkill_loses_only_the_steps_since_the_last_checkpoint(spec, settings, tmp_path):
    document = settings(checkpoint=Checkpoint(every_steps=3))
    straight = train(spec, document, out=None)
    (tmp_path / "spec.yaml").write_text(to_yaml(spec))
    (tmp_path / "train.yaml").write_text(train_to_yaml(document))
    out = tmp_path / "run"
    paths = [tmp_path / "spec.yaml", tmp_path / "train.yaml", out]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SUBPROCESS), *map(str, paths)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "7":
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    listener = Recorder()
    resumed = train(spec, document, out=out, resume=True, listener=listener)
    assert listener.events[0].step == 6
    assert losses(resumed) == losses(straight)
    assert resumed.metrics == straight.metrics


def test_memory_learns_facts_far_above_chance(spec, settings):
    document = settings(
        batch_tokens=256,
        tokens=256 * 250,
        data=[FactsSource(task="facts", num_facts=200, num_objects=32), TextSource(text="pydoc")],
        optimizer=Optimizer(lr=5e-3, tables=TableOptimizer(lr_multiplier=30)),
    )
    wide = spec.replace(vocab_size=400)
    result = train(wide, document, out=None)
    assert result.metrics["facts.chance"] == 1 / 32
    assert result.metrics["facts.accuracy"] > 10 / 32
    assert result.metrics["pydoc.nll"] < 3.0
