"""The additive fit against problems whose answer is known."""

import numpy as np
import pytest

from archspec.search.additive import FEWEST, AdditiveModel

LAYERS, CHOICES = 6, 4
GROUPS = {"position": LAYERS * CHOICES, "count": CHOICES, "pool": 0, "setting": 0}


def features(chosen: np.ndarray) -> np.ndarray:
    places = np.eye(CHOICES)[chosen]
    return np.concatenate(
        [places.reshape(len(chosen), -1), places.sum(axis=1) / np.sqrt(LAYERS)], axis=1
    )


def problem(
    seed: int, count: int, *, effect: float = 1.0, noise: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Random designs; choice 2 at layer 3 adds ``-effect``, nothing else matters."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(CHOICES, size=(count, LAYERS))
    return chosen, -effect * (chosen[:, 3] == 2) + noise * rng.normal(size=count)


def fitted(seed: int, count: int, **options: float) -> AdditiveModel:
    chosen, values = problem(seed, count, **options)
    return AdditiveModel(features(chosen), values.tolist(), GROUPS, LAYERS)


def contrasts(layer: int) -> np.ndarray:
    """Each choice at a layer, with all layers else the same, against their average."""
    chosen = np.zeros((CHOICES, LAYERS), dtype=int)
    chosen[:, layer] = range(CHOICES)
    rows = features(chosen)
    return rows - rows.mean(axis=0)


def test_a_planted_effect_is_found_with_its_size() -> None:
    found = fitted(0, 200).contrasts(contrasts(3))
    truth = [0.25, 0.25, -0.75, 0.25]
    for estimate, value in zip(found, truth, strict=True):
        assert estimate.low < value < estimate.high
        assert abs(estimate.mean - value) < 0.12
    assert found[2].high < 0


def test_intervals_of_null_effects_cover_zero_at_their_rate() -> None:
    covered = total = clear = 0
    for seed in range(40):
        model = fitted(seed, 60)
        for layer in (0, 1, 2, 4, 5):
            for estimate in model.contrasts(contrasts(layer)):
                total += 1
                covered += estimate.low <= 0.0 <= estimate.high
        clear += model.contrasts(contrasts(3))[2].high < 0
    assert 0.93 <= covered / total <= 1.0
    assert clear == 40


def test_pure_noise_is_not_explained_and_has_no_clear_effect() -> None:
    shares = [fitted(seed, 50, effect=0.0).explained for seed in range(20)]
    assert np.mean(shares) < 0.1
    wrong = sum(
        estimate.low > 0 or estimate.high < 0
        for seed in range(20)
        for layer in range(LAYERS)
        for estimate in fitted(seed, 50, effect=0.0).contrasts(contrasts(layer))
    )
    assert wrong / (20 * LAYERS * CHOICES) < 0.05


def test_the_noise_is_told_from_the_effects() -> None:
    assert fitted(1, 200).noise == pytest.approx(0.3, rel=0.25)
    assert fitted(1, 200, noise=0.05).explained > 0.9


def test_predictions_of_new_designs_are_as_good_as_said() -> None:
    model = fitted(2, 120)
    chosen, _ = problem(77, 400)
    truth = -1.0 * (chosen[:, 3] == 2)
    found = model.predict(features(chosen))
    inside = [e.low <= t <= e.high for e, t in zip(found, truth, strict=True)]
    assert np.mean(inside) > 0.9
    assert np.corrcoef([e.mean for e in found], truth)[0, 1] > 0.9


def test_draws_scatter_as_the_predictions_say() -> None:
    model = fitted(3, 100)
    rows = features(problem(5, 6)[0])
    draws = model.draw(rows, np.random.default_rng(0), 4000)
    for column, estimate in zip(draws.T, model.predict(rows), strict=True):
        assert column.mean() == pytest.approx(estimate.mean, abs=0.03)
        assert column.std() == pytest.approx(np.hypot(estimate.deviation, model.noise), rel=0.08)


def test_what_decides_the_variance_is_found_by_shuffling() -> None:
    chosen, values = problem(4, 150)
    model = AdditiveModel(features(chosen), values.tolist(), GROUPS, LAYERS)
    losses = [model.decided(contrasts(k), chosen[:, k].tolist()) for k in range(LAYERS)]
    assert losses[3] == max(losses)
    # The variance of a choice that adds 1 to a share p of designs is p (1 - p).
    share = (chosen[:, 3] == 2).mean()
    assert losses[3] == pytest.approx(share * (1 - share) / values.var(), rel=0.25)
    assert max(losses[:3] + losses[4:]) < 0.03
    assert model.decided(contrasts(0), [-1] * 150) == 0.0


def test_one_absurd_value_does_not_decide_the_fit() -> None:
    chosen, values = problem(6, 80)
    values[0] = 1e6
    model = AdditiveModel(features(chosen), values.tolist(), GROUPS, LAYERS)
    assert model.clipped == 1
    assert model.contrasts(contrasts(3))[2].mean < -0.3


def test_equal_values_are_no_fault() -> None:
    chosen, _ = problem(7, FEWEST)
    model = AdditiveModel(features(chosen), [2.0] * FEWEST, GROUPS, LAYERS)
    assert model.predict(features(chosen))[0].mean == pytest.approx(2.0)
