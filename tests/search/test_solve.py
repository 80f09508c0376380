"""Saved scores solved for other budgets, against all designs tried one by one."""

from pathlib import Path

import numpy as np
import pytest

from archspec.errors import BudgetError, RunError
from archspec.search.opened import open_run
from archspec.search.solve import Solver, budgets_over
from archspec.spec.search.budgets import Budgets
from archspec.testing.searched import searched

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(scope="module")
def solver(tmp_path_factory: pytest.TempPathFactory) -> Solver:
    out, _ = searched(tmp_path_factory.mktemp("searched"), trials=30)
    return Solver.of(open_run(out))


GIVEN = (
    {},
    {"flops_per_token": "0.95x"},
    {"flops_per_token": "0.9x..1x", "device_bytes": None},
    {"flops_per_token": None, "device_bytes": None, "num_params": "1.1x"},
)


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_proposals_are_the_best_of_all_designs(solver: Solver, given: dict[str, str]) -> None:
    solution, designs = solver.solve(given, count=4)
    allowed = solver._under(given)  # the same bounds, solved by trying everything
    everyone = allowed.listed
    assert everyone is not None
    predicted = [e.mean for e in solver.model.predict(allowed.space.features(everyone))]
    assert [p.predicted for p in solution.proposals] == pytest.approx(sorted(predicted)[:4])
    for design, proposal in zip(designs, solution.proposals, strict=True):
        assert design in allowed
        assert allowed.space.hash(design) == proposal.spec_hash
        assert proposal.low < proposal.predicted < proposal.high
        for limit in solution.limits:
            value = proposal.prices[limit.quantity]
            assert value <= limit.limit if limit.side == "max" else value >= limit.limit


def test_what_was_trained_has_its_measured_value(solver: Solver) -> None:
    solution, _ = solver.solve({}, count=10)
    measured = {d.spec_hash: d.value for d in solver.run.results.designs}
    for proposal in solution.proposals:
        assert proposal.measured == measured.get(proposal.spec_hash)
        assert (proposal.trial is None) == (proposal.measured is None)
    assert solution.best_trained is not None
    assert solution.best_trained.measured == min(measured.values())
    assert solution.num_trained == len(measured)


def test_a_sweep_gets_no_worse_as_budgets_grow_and_says_what_cannot_be(solver: Solver) -> None:
    limits = ["0.1x", "0.85x", "0.9x", "1x", "1.1x"]
    points = solver.sweep({"flops_per_token": limits, "device_bytes": ["1.3x", None]})
    assert len(points) == 10
    assert [point.solution is None for point in points[:2]] == [True, True]
    assert "flops_per_token" in (points[0].refusal or "")
    for device in ("1.3x", None):
        found = [
            p.solution.proposals[0].predicted
            for p in points
            if p.solution is not None and p.budgets["device_bytes"] == device
        ]
        assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"flop": "1x"}, "unknown quantity"),
        ({"flops_per_token": "3q"}, r"flops_per_token.*unknown unit 'q'"),
        ({"device_bytes": "1GiB..many"}, r"device_bytes.*many"),
        ({"step_time": "3ms"}, "does not price it"),
    ],
)
def test_a_wrong_budget_is_refused(solver: Solver, given: dict[str, str], message: str) -> None:
    with pytest.raises(RunError, match=message):
        solver.solve(given)


def test_an_impossible_budget_says_the_least_achievable(solver: Solver) -> None:
    with pytest.raises(BudgetError, match="the least any design reaches"):
        solver.solve({"num_params": "10"})


def test_other_budgets_of_the_search_stay() -> None:
    own = Budgets.model_validate({"flops_per_token": {"max": "1x"}, "num_params": {"max": 9}})
    found = budgets_over(own, {"num_params": "5..7"})
    assert found.flops_per_token == own.flops_per_token
    assert found.num_params is not None
    assert {side: limit.resolve(1) for side, limit in found.num_params.sides.items()} == {
        "max": 7, "min": 5,
    }  # fmt: skip
    assert budgets_over(own, {"num_params": None}).num_params is None


def test_too_few_scores_are_refused(tmp_path: Path) -> None:
    out, _ = searched(tmp_path, trials=5)
    with pytest.raises(RunError, match="5 designs were trained, and saved scores"):
        Solver.of(open_run(out))


def test_predictions_hold_on_designs_never_trained(solver: Solver) -> None:
    from archspec.testing.searched import PlantedObjective

    judge = PlantedObjective(noise=0.0)
    space = solver.run.allowed.space
    designs = solver.run.allowed.select(*space.draw(np.random.default_rng(1), 60))
    truth = [judge(space.model(design), 0).value for design in designs]
    found = [e.mean for e in solver.model.predict(space.features(designs))]
    assert np.corrcoef(found, truth)[0, 1] > 0.7
