"""Against a stand-in that keeps what it is told."""

import sys
from types import ModuleType

import pytest

from archspec.spec.train import Checkpoint
from archspec.spec.watch import Samples, Wandb, Watch
from archspec.train.events import Listener
from archspec.train.loop import train


class StandIn(ModuleType):
    """A module with what is used of wandb; a run takes each step once, as the service does."""

    def __init__(self):
        super().__init__("wandb")
        self.inits, self.rows, self.finished = [], [], 0

    def init(self, **options):
        self.inits.append(options)
        return self

    def log(self, values, step):
        self.rows.append((step, values))

    def alert(self, title, text):
        self.rows.append((title, text))

    def finish(self):
        self.finished += 1


class Stop(Listener):
    def on_step(self, event):
        if event.step == 7:
            raise ZeroDivisionError


@pytest.fixture
def wandb(monkeypatch):
    module = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_a_resumed_run_goes_on_with_the_same_one(spec, settings, tmp_path, wandb):
    watch = Watch(
        wandb=Wandb(project="probe", mode="offline"),
        sample=Samples(every_steps=6, prompt="a", max_tokens=4),
    )
    document = settings(watch=watch, checkpoint=Checkpoint(every_steps=5))
    out = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        train(spec, document, out=out, listener=Stop())
    result = train(spec, document, out=out, resume=True)
    first, second = wandb.inits
    assert first["id"] == second["id"]
    assert (first["project"], first["mode"], first["name"]) == ("probe", "offline", "run")
    assert (first["resume"], first["dir"]) == ("allow", str(out))
    assert first["config"]["seq_len"] == 16
    losses = {step: row["train/loss"] for step, row in wandb.rows if "train/loss" in row}
    assert list(losses.values()) == [step.loss for step in result.history]
    assert [step for step, row in wandb.rows if "sample" in row] == [6, 6, 12]
    assert any("usage/pools.big/entropy" in row for _, row in wandb.rows)
    assert any("evaluation/loss" in row for _, row in wandb.rows)
    assert wandb.finished == 2
