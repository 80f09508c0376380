import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archspec.report.curve import Curve, bounds, draw

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=60)


@given(values=VALUES, width=st.integers(1, 40), height=st.integers(1, 9))
def test_a_drawing_fills_its_field_exactly(values, width, height):
    lines = draw([list(enumerate(values))], width=width, height=height, styles=["cyan"])
    assert [len(line.plain) for line in lines] == [width] * height


def test_a_line_has_no_gap():
    lines = draw([[(0, 0.0), (1, 10.0)]], width=3, height=6, styles=[""])
    assert all(line.plain.strip() for line in lines)
    assert lines[0].plain[-1] != " " != lines[-1].plain[0]


def test_where_two_curves_meet_the_later_has_the_colour():
    (line,) = draw([[(0, 1.0), (1, 1.0)]] * 2, width=2, height=1, styles=["red", "green"])
    assert {span.style for span in line.spans} == {"green"}


def test_a_flat_curve_has_a_range_too():
    assert bounds([[(3, 2.0)]])[2:] == (1.5, 2.5)
    assert bounds([[(3, math.nan)]]) == (0.0, 1.0, 0.0, 1.0)


@given(st.integers(1, 3000), st.sampled_from([2, 8, 64]))
def test_a_long_series_keeps_its_ends_and_its_mean(count, limit):
    curve = Curve(limit)
    for number in range(count):
        curve.add(number, float(number))
    points = curve.points
    assert len(points) <= limit
    assert points[-1][0] == count - 1
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[0][1] == pytest.approx(points[0][0] / 2)  # of the values from 0 to x
