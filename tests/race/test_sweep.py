from pathlib import Path

import pytest

from archspec.errors import DivergedError
from archspec.race.entrants import enter
from archspec.race.settings import Entrant, RaceSettings
from archspec.race.sweep import choose, grid, groups, sweep_trainings
from archspec.race.trainings import race_seeds
from archspec.spec.load import load_train
from archspec.spec.train import TrainSpec

RATES = (1e-3, 2e-3, 4e-3)
TABLES = (10.0, 100.0)


@pytest.fixture
def train(folder: Path) -> TrainSpec:
    return load_train("train.yaml")


@pytest.fixture
def entrants(train: TrainSpec) -> tuple[Entrant, ...]:
    return enter(["dense.yaml", "shared.yaml"], ["large.yaml"], train, RaceSettings())


def settings(**changes: object) -> RaceSettings:
    return RaceSettings(rates=RATES, **changes)


def test_every_family_has_as_many_tries(entrants: tuple[Entrant, ...], train: TrainSpec) -> None:
    with_tables = settings(table_rates=TABLES)
    swept = sweep_trainings(entrants, train, with_tables)
    assert {group: len(tried) for group, tried in swept.items()} == {
        "dense": 6,
        "dense+shared_pool": 6,
    }
    dense, shared = (grid(entrant.spec, with_tables) for entrant in entrants[:2])
    assert {rates.table_lr for rates in dense} == {None}
    assert (min(r.lr for r in dense), max(r.lr for r in dense)) == (RATES[0], RATES[-1])
    assert {(r.lr, r.table_lr) for r in shared} == {(lr, t) for lr in RATES for t in TABLES}


def test_one_rate_is_spread_where_tables_have_several(entrants: tuple[Entrant, ...]) -> None:
    asked = RaceSettings(rates=(2e-3,), table_rates=TABLES)
    assert [r.lr for r in grid(entrants[0].spec, asked)] == pytest.approx([1.41e-3, 2.83e-3])


def test_a_family_is_swept_on_its_first_design(
    entrants: tuple[Entrant, ...], train: TrainSpec
) -> None:
    assert {t.design for t in sweep_trainings(entrants, train, settings())["dense"]} == {"dense"}
    each = groups(entrants, settings(sweep_each=True))
    assert list(each) == ["dense", "shared", "large"]


def test_the_sweep_has_a_seed_of_its_own_and_may_be_shorter(
    entrants: tuple[Entrant, ...], train: TrainSpec
) -> None:
    swept = sweep_trainings(entrants, train, settings(sweep_share=0.5))
    trainings = [training for group in swept.values() for training in group]
    assert not {t.train.seed for t in trainings} & set(race_seeds(train, 1000))
    assert {t.train.tokens for t in trainings} == {320}
    assert len({t.key for t in trainings}) == len(trainings)


@pytest.mark.parametrize(
    ("values", "lr", "edges"),
    [
        ([1.0, 0.5, 0.7], 2e-3, ()),
        ([0.4, 0.5, 0.7], 1e-3, ("lowest learning rate",)),
        ([1.0, 0.5, 0.4], 4e-3, ("highest learning rate",)),
        ([1.0, 0.5, None], 2e-3, ()),
        ([1.0, 0.5, float("nan")], 2e-3, ()),
        ([0.5, 0.5, 0.5], 1e-3, ("lowest learning rate",)),
    ],
)
def test_the_best_rate_is_chosen_and_an_edge_is_said(
    entrants: tuple[Entrant, ...], train: TrainSpec, values: list[float | None], lr: float, edges
) -> None:
    trainings = sweep_trainings(entrants, train, settings())["dense"]
    found = {training.key: value for training, value in zip(trainings, values, strict=True)}
    choice = choose("dense", trainings, found, higher=False)
    assert (choice.lr, choice.edges) == (lr, edges)


def test_a_higher_metric_wins_where_higher_is_better(
    entrants: tuple[Entrant, ...], train: TrainSpec
) -> None:
    trainings = sweep_trainings(entrants, train, settings())["dense"]
    found = {training.key: float(place) for place, training in enumerate(trainings)}
    assert choose("dense", trainings, found, higher=True).lr == RATES[-1]


def test_a_family_that_always_diverges_ends_the_race(
    entrants: tuple[Entrant, ...], train: TrainSpec
) -> None:
    trainings = sweep_trainings(entrants, train, settings())["dense"]
    with pytest.raises(DivergedError, match=r"dense: .* every learning rate .* 0\.001, 0\.002"):
        choose("dense", trainings, dict.fromkeys(t.key for t in trainings), higher=False)
