import dataclasses

import pytest
import torch

from archspec.blocks.memory.module import ProductKeyLookup
from archspec.compiler.compile import compile
from archspec.spec.watch import Collapse, Watch
from archspec.train import loop
from archspec.train.collapse import CollapseWatch
from archspec.train.events import ExpertUse, Listener, TableUse, Usage
from archspec.train.loop import train

TABLE = TableUse(
    name="pools.big",
    reader=None,
    hashed=False,
    slots=4096,
    lookups=100_000,
    touched=0.9,
    even=1.0,
    entropy=0.8,
    top1=0.1,
    dead=0.0,
)
EXPERTS = ExpertUse(
    name="experts", tokens=1000, load=(0.5, 0.5, 0.5, 0.5), imbalance=1.0, entropy=1.0, dead=0
)


def warnings(*uses, reports=1, **bounds):
    watch = CollapseWatch(Collapse(reports=reports, **bounds))
    found = []
    for step, use in enumerate(uses, 1):
        tables = (use,) if isinstance(use, TableUse) else ()
        experts = () if tables else (use,)
        usage = Usage(step=step, counted=1, tables=tables, experts=experts)
        found += watch.check(usage)
    return found


def changed(use, **values):
    return dataclasses.replace(use, **values)


def test_a_table_in_good_use_is_left_alone():
    assert warnings(TABLE) == []


def test_low_entropy_is_named_with_its_numbers_and_a_way_out():
    (warning,) = warnings(changed(TABLE, entropy=0.12, touched=0.01))
    assert (warning.step, warning.subject) == (1, "pools.big")
    assert "entropy 0.12 (bound 0.3)" in warning.message
    assert "41 of 4,096 slots touched where even use would touch 4,096" in warning.message
    assert "qk_norm: true" in warning.message


def test_few_touched_slots_are_held_against_what_even_look_ups_would_touch():
    few = changed(TABLE, touched=0.004)
    assert len(warnings(few)) == 1
    assert warnings(changed(few, even=0.005)) == []  # there were no more look-ups


def test_what_the_text_decides_is_no_collapse():
    assert warnings(changed(TABLE, entropy=0.0, hashed=True)) == []


def test_a_reader_alone_is_no_collapse():
    assert warnings(changed(TABLE, entropy=0.0, reader="layers.3")) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"load": (0.95, 0.35, 0.35, 0.35), "imbalance": 1.9}, "expert 0 gets 95% of the tokens"),
        ({"load": (0.7, 0.7, 0.6, 0.0), "dead": 1}, "1 of 4 experts get no token"),
        ({"load": (1.0, 1.0, 0.0, 0.0), "entropy": 0.0}, "few experts are used: entropy 0.00"),
    ],
)
def test_uneven_experts_are_named_with_a_way_out(changes, said):
    (warning,) = warnings(changed(EXPERTS, **changes))
    assert said in warning.message
    assert "losses.load_balance" in warning.message
    assert "routing_bias" in warning.message


def test_what_chance_or_top_k_make_is_no_collapse():
    everything = changed(EXPERTS, load=(0.9, 0.9, 0.9, 0.3), imbalance=1.2)
    assert warnings(everything) == []  # top_k 3 of 4
    assert warnings(changed(EXPERTS, tokens=10, load=(0.6, 0.7, 0.7, 0.0), dead=1)) == []


def test_it_takes_reports_on_end_and_is_said_once_until_it_is_over():
    bad, good = changed(TABLE, entropy=0.1), TABLE
    assert [w.step for w in warnings(bad, bad, good, bad, bad, reports=3)] == []
    found = warnings(bad, bad, bad, bad, good, bad, bad, bad, reports=3)
    assert [w.step for w in found] == [3, 8]
    assert "in 3 reports on end" in found[0].message


class Warnings(Listener):
    def __init__(self):
        self.found = []

    def on_warning(self, event):
        self.found.append(event)


def test_a_model_whose_queries_are_all_equal_is_warned_of(spec, settings, monkeypatch):
    def collapsed(*arguments, **options):
        model = compile(*arguments, **options)
        for module in model.modules():
            if isinstance(module, ProductKeyLookup):
                torch.nn.init.zeros_(module.query.weight).requires_grad_(False)
                torch.nn.init.ones_(module.query.bias).requires_grad_(False)
        return model

    watch = Watch(usage_every_steps=1, usage_window=1)
    healthy = Warnings()
    train(spec, settings(watch=watch), out=None, listener=healthy)
    assert healthy.found == []
    monkeypatch.setattr(loop, "compile", collapsed)
    sick = Warnings()
    train(spec, settings(watch=watch), out=None, listener=sick)
    of_tables = [w for w in sick.found if "few slots are used" in w.message]
    assert [w.subject for w in of_tables] == ["layers.0.blocks.0.values", "pools.big"]
    assert {w.step for w in of_tables} == {3}
