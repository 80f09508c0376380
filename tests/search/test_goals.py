from pathlib import Path

import pytest

from archspec.errors import ObjectiveError
from archspec.search.goals import goal_values
from archspec.search.objective import Outcome
from archspec.search.pareto import as_losses, non_dominated, pareto_front
from archspec.search.study import start_search
from archspec.search.workspace import read_workspace
from archspec.spec.dump import spec_hash
from archspec.spec.load import load_search
from archspec.spec.search.objective import Goal

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def judge(spec, seed, *, fidelity=None) -> Outcome:
    value = int(spec_hash(spec)[:4], 16) / 65536
    metrics = {"facts.nll": value, "facts.accuracy": 1 - value}
    return Outcome(value=value, metrics=metrics, seconds=1.0)


@pytest.fixture
def goals_file(search_file: Path) -> Path:
    also = "also: {flops_per_token: minimize, facts.accuracy: maximize}"
    text = search_file.read_text().replace("metric: facts.nll", f"metric: facts.nll, {also}")
    search_file.write_text(text.replace("budgets: {flops_per_token: {max: 1.02x}, ", "budgets: {"))
    return search_file


def test_goals_of_a_document(goals_file: Path) -> None:
    assert load_search(goals_file).goals == (
        Goal(name="facts.nll", direction="minimize"),
        Goal(name="flops_per_token", direction="minimize", source="price"),
        Goal(name="facts.accuracy", direction="maximize"),
    )


def test_values_are_the_metric_and_then_prices(goals_file: Path) -> None:
    goals = load_search(goals_file).goals
    outcome = Outcome(value=2.0, metrics={"facts.accuracy": 0.5}, seconds=1.0)
    assert goal_values(goals, outcome, {"flops_per_token": 7}) == (2.0, 7.0, 0.5)
    with pytest.raises(ObjectiveError, match=r"objective.also.facts.accuracy: has no value"):
        goal_values(goals, Outcome(value=2.0, metrics={}, seconds=1.0), {"flops_per_token": 7})


def test_a_study_names_its_values(goals_file: Path, tmp_path: Path) -> None:
    start_search(load_search(goals_file), tmp_path / "run", objective=judge)
    study = read_workspace(tmp_path / "run").study
    assert study.metric_names == ["facts.nll", "flops_per_token", "facts.accuracy"]


def test_a_search_with_several_goals(goals_file: Path, tmp_path: Path) -> None:
    text = goals_file.read_text().replace(
        "finalists: 2\n", "rungs: [{tokens: 320, keep: 4}, {tokens: 640, keep: 2}]\n"
    )
    goals_file.write_text(text)
    out = tmp_path / "run"
    results = start_search(load_search(goals_file), out, objective=judge)
    workspace = read_workspace(out)
    spec, study = workspace.spec, workspace.study
    assert [d.name for d in study.directions] == ["MINIMIZE", "MINIMIZE", "MAXIMIZE"]
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    for trial in done:
        prices, metrics = trial.user_attrs["prices"], trial.user_attrs["metrics"]
        assert trial.values == [
            metrics["facts.nll"], prices["flops_per_token"], metrics["facts.accuracy"]
        ]  # fmt: skip
    first = results.rungs[0].sound  # the study's trials are those of the first rung
    best = non_dominated(as_losses([entry.values or () for entry in first], spec.goals))
    front = {entry.spec_hash for entry, on in zip(first, best.tolist(), strict=True) if on}
    assert front == {trial.user_attrs["spec_hash"] for trial in study.best_trials}
    last = {entry.spec_hash for entry in results.rungs[1].entries}
    assert {design.spec_hash for design in pareto_front(results)} <= last
    assert results.goals == spec.goals
    kept = {entry.spec_hash for entry in results.rungs[0].kept if not entry.is_hand_design}
    if len(front) >= 4:
        assert kept <= front
    assert all(len(entry.values) == 3 for entry in results.rungs[1].entries)
