import json
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.spec.guard import Guard
from archspec.train.guard import GuardState, LossGuard, limit_of, observe

LOSSES = st.lists(st.floats(0, 20), min_size=1, max_size=200)
RULES = st.builds(
    Guard,
    spike=st.floats(0.5, 10),
    margin=st.floats(0, 1),
    window=st.integers(8, 20),
    patience=st.integers(1, 6),
)


def run(losses, rule, *, exempt=0):
    """The steps, counted from 1, at which the guard tripped, and every state."""
    state, trips, states = GuardState(), [], []
    for step, loss in enumerate(losses, start=1):
        state, spike = observe(state, loss, rule, exempt=step <= exempt)
        states.append(state)
        if spike is not None:
            trips.append((step, spike))
    return trips, states


@given(seed=st.integers(0, 2**32), scale=st.floats(1e-4, 3), drop=st.floats(0, 4))
@settings(max_examples=40, deadline=None)
def test_noise_around_a_falling_loss_never_trips(seed, scale, drop):
    steps = np.arange(600)
    path = 4 - drop * (1 - np.exp(-steps / 100))
    losses = path + scale * np.random.default_rng(seed).standard_normal(600)
    assert run(losses.tolist(), Guard())[0] == []


@given(seed=st.integers(0, 2**32), degrees=st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_heavy_tails_do_not_trip(seed, degrees):
    losses = 3 + 0.2 * np.random.default_rng(seed).standard_t(degrees, 600)
    assert run(losses.tolist(), Guard())[0] == []


@pytest.mark.parametrize("rise", [0.5, 3.0, 1000.0])
def test_a_loss_that_jumps_and_stays_up_trips_after_patience(rise):
    rule = Guard()
    calm = 3 + 0.02 * np.random.default_rng(0).standard_normal(100)
    trips, _ = run([*calm, *[3 + rise] * 40], rule)
    step, spike = trips[0]
    assert step == 100 + rule.patience
    assert (spike.steps, spike.losses) == (rule.patience, 3 + rise)
    assert spike.median == pytest.approx(3, abs=0.02)
    assert f"from {spike.median:.4g} to {3 + rise:.4g} and stayed above" in str(spike)


def test_a_spike_that_passes_is_forgotten():
    rule = Guard()
    short = [9.0] * (rule.patience - 1)
    trips, states = run([3.0] * 64 + [*short, 3.0] * 5, rule)
    assert trips == []
    assert states[-1] == GuardState((3.0,) * rule.window)


def test_warm_up_and_a_short_past_are_exempt():
    rule = Guard()
    assert run([3.0] * 10 + [9.0] * rule.window, rule)[0] == []
    jump = [3.0] * rule.window + [9.0] * 30
    assert run(jump, rule, exempt=len(jump))[0] == []
    assert run(jump, rule)[0] != []


def test_off_never_looks():
    assert run([3.0] * 99 + [9.0] * 99, Guard(action="off")) == ([], [GuardState()] * 198)


@given(LOSSES, RULES, st.integers(0, 30))
@settings(deadline=None)
def test_what_holds_of_any_losses(losses, rule, exempt):
    trips, states = run(losses, rule, exempt=exempt)
    assert all(len(state.window) <= rule.window for state in states)
    assert all(len(state.high) < rule.patience for state in states)
    assert not any(state.high for state in states[:exempt])
    for step, spike in trips:
        high = losses[step - rule.patience : step]
        assert min(high) > spike.limit >= spike.median + rule.margin
        assert spike.losses == statistics.median(high)
        assert states[step - 1] == GuardState()


@given(LOSSES, RULES, st.data())
@settings(deadline=None)
def test_a_resumed_guard_is_no_other(losses, rule, data):
    cut = data.draw(st.integers(0, len(losses)))

    def follow(memory, start, stop):
        guard = LossGuard(rule, warmup_steps=10, memory=memory)
        return [guard.look(step + 1, losses[step]) for step in range(start, stop)]

    whole: dict = {}
    expected = follow(whole, 0, len(losses))
    memory: dict = {}
    found = follow(memory, 0, cut)
    resumed = json.loads(json.dumps(memory))
    found += follow(resumed, cut, len(losses))
    assert found == expected
    assert resumed == whole or not losses


@given(LOSSES.filter(lambda losses: len(losses) >= 8), RULES, st.floats(-5, 5))
@settings(deadline=None)
def test_the_limit_moves_with_the_losses(losses, rule, shift):
    moved = limit_of([loss + shift for loss in losses], rule)
    assert moved == pytest.approx(limit_of(losses, rule) + shift, abs=1e-9)


def test_what_was_good_came_before_all_high_losses():
    guard = LossGuard(Guard(), warmup_steps=0, memory={})
    for step in range(1, 101):
        guard.look(step, 3.0)
        assert guard.good_before(step) == step
    for step in range(101, 111):
        guard.look(step, 9.0)
    assert guard.good_before(110) == 100
    guard.look(111, 3.0)
    assert guard.good_before(111) == 111
