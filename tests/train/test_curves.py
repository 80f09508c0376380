import json

import pytest

from archspec.cost.summary import cost_context
from archspec.cost.training import training_flops
from archspec.errors import RunError
from archspec.spec.train import Evaluation
from archspec.train.curves import load_curves
from archspec.train.loop import train


@pytest.fixture(scope="module")
def run(spec, settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    return out, train(spec, settings(evaluation=Evaluation(every_steps=4)), out=out)


def test_the_points_are_what_the_run_reported(run):
    out, result = run
    (curve,) = load_curves([out])
    assert (curve.name, curve.metric, curve.axis) == ("first", "loss", "tokens")
    assert curve.points == [(step.tokens, step.loss) for step in result.history]
    assert curve.smoothed is curve.points  # too few to smooth


def test_flops_are_those_of_training_and_seconds_add_up(run, spec):
    out, result = run
    (flops,) = load_curves([out], metric="grad_norm", axis="flops")
    each = training_flops(spec, cost_context(spec, seq_len=16))
    assert flops.points[-1] == (each * result.tokens, result.history[-1].grad_norm)
    (seconds,) = load_curves([out], axis="seconds")
    assert seconds.points[-1][0] == pytest.approx(result.seconds)


def test_metrics_of_evaluations_have_a_point_each(run):
    out, result = run
    (curve,) = load_curves([out], metric="facts.nll")
    assert [x for x, _ in curve.points] == [4 * 128, 8 * 128, 12 * 128]
    assert curve.points[-1][1] == result.metrics["facts.nll"]
    (loss,) = load_curves([out], metric="evaluation.loss")
    assert loss.points[-1][1] == result.metrics["loss"]


def test_an_unknown_metric_gets_a_near_name(run):
    with pytest.raises(RunError, match=r"has no metric 'facts.acc' so far; did you mean"):
        load_curves([run[0]], metric="facts.acc")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no such file; name a run directory"):
        load_curves([tmp_path])
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(RunError, match="has reported nothing so far"):
        load_curves([tmp_path])


def test_a_long_curve_is_smoothed_without_a_lag_at_its_start(tmp_path):
    line = {"tokens": 1, "auxiliary": {}, "lr": 0.1, "grad_norm": 1.0, "seconds": 0.1}
    lines = [line | {"step": n, "tokens": n, "loss": float(n % 2)} for n in range(1, 1001)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (curve,) = load_curves([tmp_path])
    assert curve.smoothed[0] == curve.points[0]
    assert [y for _, y in curve.smoothed[100:]] == [0.5] * 900
