"""Event files are read back as TensorBoard reads them."""

import pytest

from archspec.spec.train import Checkpoint
from archspec.spec.watch import Samples, Watch
from archspec.train.events import Listener
from archspec.train.loop import train
from archspec.train.tensorboard import FOLDER

pytest.importorskip("tensorboard", reason="of the extra tensorboard")

# Of the package's own making: its protobuf classes and its use of old names.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Stop(Listener):
    def on_step(self, event):
        if event.step == 7:
            raise ZeroDivisionError


def read(out):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / FOLDER), purge_orphaned_data=True)
    events.Reload()
    return events


def test_a_resumed_run_has_each_step_once(spec, settings, tmp_path):
    watch = Watch(
        tensorboard=True,
        usage_every_steps=1,
        usage_window=4,
        sample=Samples(every_steps=6, prompt="a", max_tokens=4),
    )
    document = settings(watch=watch, checkpoint=Checkpoint(every_steps=5))
    out = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        train(spec, document, out=out, listener=Stop())
    result = train(spec, document, out=out, resume=True)
    events = read(out)
    losses = events.Scalars("train/loss")
    assert [event.step for event in losses] == list(range(1, 13))
    assert [event.value for event in losses] == pytest.approx(
        [step.loss for step in result.history]
    )
    tags = events.Tags()["scalars"]
    assert {"train/lr", "train/table_lr", "train/grad_norm", "memory/peak_bytes"} <= set(tags)
    assert {"speed/tokens_per_second", "speed/share_of_measured_peak"} <= set(tags)
    assert {"usage/pools.big/entropy", "usage/layers.1.blocks.0.experts/imbalance"} <= set(tags)
    assert [event.step for event in events.Scalars("usage/pools.big/touched")][-1] == 12
    assert events.Scalars("evaluation/facts.nll")[-1].value == pytest.approx(
        result.metrics["facts.nll"]
    )
    # Of text, this reader does not take back what a later session writes again.
    samples = events.Tensors("sample/text_summary")
    assert {event.step for event in samples} == {6, 12}


def test_without_a_run_directory_nothing_is_written(spec, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(spec, settings(tokens=128, watch=Watch(tensorboard=True)), out=None)
    assert list(tmp_path.iterdir()) == []
