import pytest

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
