import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search.report import (
    Result,
    report_from_json,
    report_json,
    result_from_json,
    result_json,
)

curves = st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.25, 1.5, 7.0])), max_size=12)


@given(curves, curves)
def test_searches_come_back_from_json(make_result, regrets, volumes) -> None:
    result = make_result("a", "milp", 3, regrets)
    values = json.loads(json.dumps(result_json(result)))
    assert result_from_json(values) == result
    assert len(values["regrets"]) <= len(regrets)


def test_a_curve_is_written_as_its_changes_with_six_digits(make_result) -> None:
    result = make_result("a", "milp", 0, [None, None, 2 / 3, 2 / 3, 0.5])
    assert result_json(result)["regrets"] == [(0, None), (2, 0.666667), (4, 0.5)]


def test_reports_come_back_from_json(make_report) -> None:
    report = make_report()
    assert report_from_json(report_json(report)) == report


@pytest.fixture
def results(make_result) -> Callable[..., list[Result]]:
    def make(*curves: list[float | None]) -> list[Result]:
        return [make_result("a", "milp", seed, curve) for seed, curve in enumerate(curves)]

    return make


def test_what_looks_best_has_to_stay_near(make_report, results) -> None:
    report = make_report(results([None, 3.0, 0.5, 0.5], [0.5, 2.0, 0.1, 0.0], [0.2] * 4, [3.0] * 4))
    assert report.first_within("a", "milp", 0.5) == [3.0, 3.0, 1.0, math.inf]
    assert report.found("a", "milp") == [math.inf, 4.0, math.inf, math.inf]


def test_searches_are_told_by_case_and_sampler_in_the_order_of_seeds(
    make_report, make_result, results
) -> None:
    other = [make_result("a", "random", seed, [4.0 - seed]) for seed in (2, 0, 1)]
    report = make_report([*results([1.0], [3.0], [None]), *other])
    assert report.samplers("a") == ["milp", "random"]
    assert report.last("a", "random") == [4.0, 3.0, 2.0]
    assert report.median("a", "milp") == 3.0
    assert report.median("a", "random") == 3.0
    assert report.band("a", "milp").median.tolist() == [pytest.approx(3.0)]
