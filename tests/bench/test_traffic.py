import math

import pytest

from archspec.bench import traffic

HBM = 3.0e12  # bytes a second that an H100 reaches
BAG = {"tokens": 16384, "picks": 128, "width": 1024, "element": 2}


def test_the_floor_of_the_forward():
    found = sum(traffic.forward_traffic(**BAG).values())
    assert found / HBM == pytest.approx(1.45e-3, rel=0.01)


def test_the_floor_of_the_backward():
    slots = 1 << 20
    distinct = round(slots * -math.expm1(-16384 * 128 / slots))
    found = traffic.backward_traffic(**BAG, distinct=distinct, written=distinct)
    assert sum(found.values()) / HBM == pytest.approx(1.28e-3, rel=0.02)


def test_an_update_reads_and_writes_a_row_and_two_moments():
    found = traffic.update_traffic(width=100, element=4, distinct=7)
    assert sum(found.values()) == 7 * 100 * 4 * 6


def test_selection_moves_no_half_scores():
    size = {"tokens": 16, "heads": 2, "num_keys": 64, "top_k": 4}
    with_scoring = traffic.selection_traffic(**size, half_dim=8, element=4)
    alone = traffic.ranking_traffic(**size)
    assert "half scores" not in with_scoring
    assert alone["half scores"] == 2 * 16 * 2 * 64 * 4


def test_grouped_matmul_reads_every_matrix_once():
    found = traffic.grouped_traffic(rows=10, experts=3, in_dim=4, out_dim=5, element=2)
    assert found == {"rows": 80, "matrices": 120, "result": 100}
