import pytest

from archspec.bench.statistics import paired_ratio


def test_ratios_are_taken_within_a_round():
    found = paired_ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0])
    assert (found.median, found.low, found.high) == (3.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("count", "left_out", "confidence"),
    # 1 - 2 P(Binomial(count, 1/2) <= left_out), as tables of the sign test have it.
    [(1, 0, 0.0), (3, 0, 0.75), (6, 0, 0.96875), (9, 1, 0.9609375), (50, 17, 0.9672)],
)
def test_the_interval_is_that_of_the_sign_test(count, left_out, confidence):
    found = paired_ratio([float(value) for value in range(1, count + 1)], [1.0] * count)
    assert (found.low, found.high) == (1 + left_out, count - left_out)
    assert found.confidence == pytest.approx(confidence, abs=1e-4)


def test_rounds_that_are_missing_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        paired_ratio([1.0, 2.0], [1.0])
