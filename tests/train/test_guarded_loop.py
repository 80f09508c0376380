"""What the loop does with what the guard says."""

import json

import pytest

from archspec.errors import DivergedError
from archspec.spec.guard import Guard
from archspec.spec.train import Checkpoint, Optimizer, Schedule
from archspec.train.checkpoint import read_head
from archspec.train.checkpoint_names import list_checkpoints
from archspec.train.events import Listener
from archspec.train.loop import train

# Decay that turns weights over and lets them grow: the loss leaves its path after a while.
RULE = {"spike": 3.0, "window": 8, "patience": 4}
GROWS = Optimizer(lr=1e-3, weight_decay=2700.0, clip_norm=None)


class Hears(Listener):
    def __init__(self):
        self.steps, self.warnings = [], []

    def on_step(self, event):
        self.steps.append(event)

    def on_warning(self, event):
        self.warnings.append(event)


@pytest.fixture
def growing(settings):
    def make(*, every=None, keep=2, **rule):
        return settings(
            tokens=128 * 60,
            optimizer=GROWS,
            schedule=Schedule(kind="constant"),
            checkpoint=Checkpoint(every_steps=every, keep=keep),
            guard=Guard(**(RULE | rule)),
        )

    return make


def trips(spec, document, **options):
    hears = Hears()
    with pytest.raises(DivergedError, match="the loss rose from") as raised:
        train(spec, document, listener=hears, **options)
    return hears, str(raised.value)


def test_a_spike_stops_before_the_update_and_names_what_was_good(spec, growing, tmp_path):
    out = tmp_path / "run"
    hears, message = trips(spec, growing(every=1, keep=2), out=out)
    tripped = len(hears.steps) + 1
    assert f"for 4 steps, the last of them step {tripped} of 60" in message
    assert "or set guard.action: warn" in message
    saved = list_checkpoints(out / "checkpoints")
    # Two are kept, and the one that came before the loss was high.
    good, _, newest = saved
    assert newest.name == f"step_{tripped - 1:06d}"
    assert int(good.name[-6:]) < tripped - 4
    assert f"the last good checkpoint is {good};" in message


def test_a_resumed_run_stops_at_the_same_step(spec, growing, tmp_path):
    out = tmp_path / "run"
    _, message = trips(spec, growing(every=1, keep=99), out=out)
    saved = list_checkpoints(out / "checkpoints")
    newest = read_head(saved[-1])["extra"]
    assert len(newest["guard_high"]) == 3
    assert json.loads(json.dumps(newest)) == newest
    again, same = trips(spec, growing(every=1, keep=99), out=out, resume=True)
    assert (again.steps, same) == ([], message)


def test_a_warning_goes_to_the_listener_and_training_goes_on(spec, growing):
    hears = Hears()
    train(
        spec,
        growing(action="warn").model_copy(update={"tokens": 128 * 14}),
        out=None,
        listener=hears,
    )
    assert len(hears.steps) == 14
    assert hears.warnings
    assert "the loss rose from" in hears.warnings[0].message
    assert hears.warnings[0].subject == "loss"


def test_off_hears_nothing(spec, growing):
    hears = Hears()
    document = growing(action="off").model_copy(update={"tokens": 128 * 14})
    train(spec, document, out=None, listener=hears)
    assert len(hears.steps) == 14
    assert not hears.warnings


def test_a_healthy_run_is_left_alone(spec, settings):
    hears = Hears()
    train(spec, settings(tokens=128 * 150, guard=Guard(window=32)), out=None, listener=hears)
    assert len(hears.steps) == 150
    assert not hears.warnings
