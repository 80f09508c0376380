"""What a run reports, over interruptions and ranks."""

import json
import os
import signal
import sys
from collections import Counter

import pytest

from archspec.compiler.compile import compile
from archspec.errors import RunError
from archspec.spec.hardware import find_hardware
from archspec.spec.load import load_hardware
from archspec.spec.plan import PlanSpec
from archspec.spec.train import Checkpoint
from archspec.spec.watch import Samples, Watch
from archspec.testing.ranks import run_on_threads
from archspec.train.events import Listener
from archspec.train.loop import train

WATCH = Watch(
    usage_every_steps=2, usage_window=2, sample=Samples(every_steps=3, prompt="a", max_tokens=4)
)


class Heard(Listener):
    def __init__(self, *, stop_after=None, die_after=None):
        self.start = None
        self.steps, self.usage = [], []
        self.stop_after, self.die_after = stop_after, die_after

    def on_start(self, event):
        self.start = event

    def on_step(self, event):
        self.steps.append(event)
        if event.step == self.stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        if event.step == self.die_after:
            raise ZeroDivisionError

    def on_usage(self, event):
        self.usage.append(event)


def kinds(out):
    """How often each kind of line is there for each step."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    named = ("usage", "sample", "warning", "evaluation")
    return Counter(
        (line["step"], next((name for name in named if name in line), "step")) for line in lines
    )


@pytest.mark.parametrize("end", ["stop", "die"])
def test_a_resumed_run_has_each_line_once(spec, settings, tmp_path, end):
    document = settings(watch=WATCH, checkpoint=Checkpoint(every_steps=4))
    train(spec, document, out=tmp_path / "straight")
    expected = kinds(tmp_path / "straight")
    assert set(expected.values()) == {1}
    assert [step for step, kind in expected if kind == "usage"] == [1, 3, 7, 11]
    assert [step for step, kind in expected if kind == "sample"] == [3, 6, 9, 12]
    out = tmp_path / "run"
    if end == "stop":
        train(spec, document, out=out, listener=Heard(stop_after=6))
    else:
        with pytest.raises(ZeroDivisionError):
            train(spec, document, out=out, listener=Heard(die_after=7))
    train(spec, document, out=out, resume=True)
    found = kinds(out)
    assert found == expected


def test_a_start_says_what_trains_where_on_what(spec, settings):
    heard = Heard()
    result = train(spec, settings(), out=None, listener=heard)
    start = heard.start
    assert start.num_params == sum(p.numel() for p in compile(spec).parameters())
    assert start.training_flops_per_token > 0
    assert (start.num_ranks, start.device) == (1, "cpu")
    assert start.peak.measured
    assert "measured in float32 on cpu" in start.peak.source
    assert 0 < start.peak_share(result.tokens_per_second) < 1
    assert [(source.name, source.share) for source in start.data] == [
        ("facts", 0.25),
        ("pydoc", 0.75),
    ]


def test_a_step_says_its_rates_and_memory(spec, settings):
    heard = Heard()
    train(spec, settings(tokens=128 * 2), out=None, listener=heard)
    for step in heard.steps:
        tables = settings().optimizer.tables.lr_multiplier
        assert step.table_lr == pytest.approx(step.lr * tables)
        assert 50e6 < step.memory_bytes < 64e9
    dense = spec.replace(layers=(spec.layers[1],), pools={})
    train(dense, settings(tokens=128), out=None, listener=heard)
    assert heard.steps[-1].table_lr is None


def _on_rank(rank, spec, document, plan):
    heard = Heard()
    train(spec, document, out=None, plan=plan, listener=heard)
    return heard


def test_ranks_add_up_what_they_use_and_one_speaks(spec, settings):
    document = settings(tokens=128 * 3, watch=Watch(usage_every_steps=1, usage_window=1))
    plan = PlanSpec(
        mesh={"dp_shard": 2, "ep": 2, "memory": 2},
        precision={"compute": "float32"},
        hardware="h100",
    )
    first, second = run_on_threads(2, _on_rank, spec, document, plan)
    assert (second.start, second.usage) == (None, [])
    alone = Heard()
    train(spec, document, out=None, listener=alone)
    assert first.usage[0].experts == alone.usage[0].experts
    assert [use.lookups for use in first.usage[-1].tables] == [
        use.lookups for use in alone.usage[-1].tables
    ]
    assert first.usage[0].tables == alone.usage[0].tables
    h100 = load_hardware(str(find_hardware("h100")))
    assert first.start.peak.flops == 2 * h100.flops("float32")
    assert (first.start.peak.measured, first.start.num_ranks) == (False, 2)


@pytest.mark.parametrize(
    ("watch", "module", "message"),
    [
        ({"tensorboard": True}, "torch.utils.tensorboard", r"archspec-lm\[tensorboard\]"),
        ({"wandb": {"project": "p"}}, "wandb", r"archspec-lm\[wandb\]"),
    ],
)
def test_a_missing_package_is_named_before_anything_is_written(
    spec, settings, tmp_path, monkeypatch, watch, module, message
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RunError, match=message):
        train(spec, settings(watch=Watch(**watch)), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_listener_from_outside_is_left_open(spec, settings, tmp_path):
    class Closed(Heard):
        closed = False

        def close(self):
            self.closed = True

    listener = Closed()
    train(spec, settings(tokens=128), out=tmp_path / "run", listener=listener)
    assert not listener.closed
