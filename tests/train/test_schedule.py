import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archspec.spec.train import Schedule
from archspec.train.schedule import lr_share


def test_warm_up_rises_in_proportion_to_tokens():
    schedule = Schedule(warmup_tokens=1000)
    shares = [lr_share(schedule, tokens=tokens, total=9000) for tokens in (1, 250, 1000)]
    assert shares == pytest.approx([0.001, 0.25, 1.0])


def test_cosine_falls_from_the_peak_to_the_final_share():
    schedule = Schedule(warmup_tokens=1000, final_share=0.2)
    shares = [lr_share(schedule, tokens=tokens, total=9000) for tokens in (1000, 5000, 9000, 9999)]
    assert shares == pytest.approx([1.0, 0.6, 0.2, 0.2])


def test_constant_stays():
    schedule = Schedule(kind="constant", warmup_tokens=10)
    assert lr_share(schedule, tokens=5, total=100) == 0.5
    assert lr_share(schedule, tokens=100, total=100) == 1.0


def test_a_run_shorter_than_its_warm_up_only_rises():
    assert lr_share(Schedule(warmup_tokens=1000), tokens=100, total=100) == 0.1


def test_wsd_stays_at_its_peak_until_it_decays():
    schedule = Schedule(kind="wsd", warmup_tokens=1000, decay_tokens=4000, final_share=0.0)
    shares = [lr_share(schedule, tokens=t, total=9000) for t in (500, 1000, 5000, 6000, 9000)]
    assert shares == pytest.approx([0.5, 1.0, 1.0, 1 - math.sqrt(0.25), 0.0])


def test_a_linear_decay_falls_evenly():
    schedule = Schedule(kind="wsd", decay_tokens=4000, decay="linear", final_share=0.2)
    shares = [lr_share(schedule, tokens=t, total=9000) for t in (5000, 7000, 9000)]
    assert shares == pytest.approx([1.0, 0.6, 0.2])


def test_a_decay_takes_a_fifth_of_the_run_by_default():
    schedule = Schedule(kind="wsd", final_share=0.0, decay="linear")
    shares = [lr_share(schedule, tokens=t, total=1000) for t in (800, 900)]
    assert shares == pytest.approx([1.0, 0.5])


@given(
    kind=st.sampled_from(["cosine", "wsd", "constant"]),
    warmup=st.integers(0, 400),
    final=st.floats(0, 1),
)
def test_a_rate_rises_then_never_rises_again(kind, warmup, final):
    schedule = Schedule(kind=kind, warmup_tokens=warmup, final_share=final)
    shares = [lr_share(schedule, tokens=t, total=1000) for t in range(20, 1001, 20)]
    top = shares.index(max(shares))
    assert all(a <= b for a, b in itertools.pairwise(shares[: top + 1]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(shares[top:]))
    assert shares[-1] == pytest.approx(1.0 if kind == "constant" else final)
