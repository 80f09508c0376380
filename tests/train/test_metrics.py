import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archspec.errors import RunError
from archspec.train.events import (
    Evaluation,
    ExpertUse,
    Sample,
    Step,
    TableUse,
    Usage,
    Warned,
)
from archspec.train.metrics import MetricsLog, read_metrics

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
STEP = st.integers(1, 9)
EVENTS = st.one_of(
    st.builds(Step, step=STEP, auxiliary=st.dictionaries(st.text(), NUMBER, max_size=2)),
    st.builds(Evaluation, step=STEP, metrics=st.dictionaries(st.text(), NUMBER, max_size=2)),
    st.builds(
        Usage,
        step=STEP,
        tables=st.tuples(st.builds(TableUse)),
        experts=st.tuples(st.builds(ExpertUse, load=st.tuples(NUMBER, NUMBER))),
    ),
    st.builds(Sample, step=STEP),
    st.builds(Warned, step=STEP),
)


def step(number, **changes):
    values = {"step": number, "tokens": number * 8, "loss": 2.0, "auxiliary": {}, "lr": 0.1}
    return Step(**{**values, "grad_norm": 1.0, "seconds": 0.1, **changes})


def write(path, events, *, at=0):
    log = MetricsLog(path, step=at)
    for event in events:
        log.write(event)
    log.close()
    return log


@given(events=st.lists(EVENTS, max_size=8), at=st.integers(0, 9))
def test_every_kind_of_event_comes_back_and_later_ones_are_cut_off(events, at, tmp_path_factory):
    def finite(event):
        return json.loads(json.dumps(dataclasses.asdict(event))) == dataclasses.asdict(event)

    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    write(path, events)
    assert repr(list(read_metrics(path))) == repr(events)  # repr: NaN is no NaN's equal
    write(path, [], at=at)
    kept = [event for event in events if event.step <= at]
    assert repr(list(read_metrics(path))) == repr(kept)


def test_steps_and_the_last_evaluation_are_remembered(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = [Evaluation(step=2, metrics={"loss": 1.0}), Evaluation(step=3, metrics={"loss": 0.5})]
    write(path, [step(1), step(2), metrics[0], step(3), metrics[1]])
    log = write(path, [], at=2)
    assert [event.step for event in log.steps] == [1, 2]
    assert log.evaluation == metrics[0]


def test_a_line_that_was_cut_short_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1), step(2)])
    path.write_text(path.read_text()[:-9])
    assert [event.step for event in read_metrics(path)] == [1]
    write(path, [step(2)], at=9)
    assert [event.step for event in read_metrics(path)] == [1, 2]


def test_lines_of_earlier_and_later_versions_are_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    earlier = dataclasses.asdict(step(1))
    del earlier["table_lr"], earlier["memory_bytes"]
    later = dataclasses.asdict(step(2)) | {"mood": "good"}
    lines = [earlier, later, {"step": 2, "novelty": {"x": 1}}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(read_metrics(path)) == [step(1), step(2)]
    write(path, [], at=2)
    assert '"novelty"' in path.read_text()


def test_a_run_without_a_log_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"metrics.jsonl: no such file; name a run directory"):
        list(read_metrics(tmp_path / "metrics.jsonl"))
