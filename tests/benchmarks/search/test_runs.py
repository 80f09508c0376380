import pytest

from benchmarks.search.problems import SMALL, Case, Problem, Target, placements, target_of
from benchmarks.search.runs import search

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
CASE = Case("interacting", 0.3, SMALL)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem(CASE.structure, placements(SMALL), seed=2)


def target(problem: Problem) -> Target:
    return target_of(CASE, problem, 2)


@pytest.mark.parametrize("name", ["milp", "random", "tpe"])
def test_ours_evaluate_designs_that_fit_once_each(problem: Problem, name: str) -> None:
    run = search(name, target(problem), 12, seed=2)
    assert (run.fitting, run.repeats, len(run.regrets)) == (1.0, 0, 12)
    assert all(regret is not None and regret >= 0 for regret in run.regrets)
    assert run.wall > 0


def test_regret_is_the_truth_of_what_looks_best(problem: Problem) -> None:
    run = search("random", target(problem), 30, seed=2)
    points = [point for point in run.points if point is not None]
    for count in range(1, 31):
        seen, truth = min(points[:count])
        assert run.regrets[count - 1] == pytest.approx(truth - problem.least)
        assert seen != truth


@pytest.mark.parametrize("name", ["optuna tpe", "optuna nsga2"])
def test_designs_of_others_that_do_not_fit_are_evaluations_without_a_result(
    problem: Problem, name: str
) -> None:
    run = search(name, target(problem), 25, seed=3)
    assert len(run.points) == len(run.regrets) == 25
    assert 0 < run.fitting < 1
    first = next(number for number, point in enumerate(run.points) if point is not None)
    assert run.regrets[:first] == [None] * first
    assert None not in run.regrets[first:]


def test_prices_are_goals_beside_the_loss(problem: Problem) -> None:
    run = search("milp", target(problem), 12, seed=2, priced=["flops_per_token"])
    assert {len(point) for point in run.points if point is not None} == {3}
    assert run.fitting == 1.0
