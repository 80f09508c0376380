"""The same tuning for every design: as many tries each, on a seed that the race does not use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from archspec.cost.summary import cost_context, total_cost
from archspec.race.settings import Entrant, RaceSettings
from archspec.race.trainings import Training, sweep_training
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.train.rates import Rates, SweepChoice, SweepRun, choose_rates, finite

_SPREAD = 2.0  # between neighbours, where one rate alone was given


def grid(spec: ModelSpec, settings: RaceSettings) -> tuple[Rates, ...]:
    """Return the rates that a family tries, as many for each.

    Where multipliers of the tables' rate are tried too, a family without tables spends its tries on
    more learning rates over the same range instead.
    """
    if not settings.table_rates:
        return tuple(Rates(lr=rate) for rate in settings.rates)
    if has_tables(spec):
        return tuple(
            Rates(lr=rate, table_lr=table)
            for rate in settings.rates
            for table in settings.table_rates
        )
    count = len(settings.rates) * len(settings.table_rates)
    return tuple(Rates(lr=rate) for rate in _between(sorted(settings.rates), count))


def has_tables(spec: ModelSpec) -> bool:
    """Tell whether a design has value tables, whose rate can be chosen apart."""
    context = cost_context(spec)
    return total_cost(spec, context).num_table_params > 0


def _between(rates: Sequence[float], count: int) -> Iterator[float]:
    """Space ``count`` rates evenly on a logarithmic scale, with three digits."""
    low, high = rates[0], rates[-1]
    if low == high:
        spread = _SPREAD ** ((count - 1) / 2)
        low, high = low / spread, high * spread
    for index in range(count):
        share = index / (count - 1) if count > 1 else 0.0
        yield float(f"{low * (high / low) ** share:.3g}")


def groups(entrants: Sequence[Entrant], settings: RaceSettings) -> dict[str, list[Entrant]]:
    """Put designs that share their rates together; the first of each group is swept."""
    found: dict[str, list[Entrant]] = {}
    for entrant in entrants:
        key = entrant.name if settings.sweep_each else entrant.family
        found.setdefault(key, []).append(entrant)
    return found


def sweep_trainings(
    entrants: Sequence[Entrant], train: TrainSpec, settings: RaceSettings
) -> dict[str, list[Training]]:
    """List the trainings of the sweep by group; none if no rates are tried."""
    if not settings.rates:
        return {}
    return {
        group: [
            sweep_training(members[0], train, settings, rates)
            for rates in grid(members[0].spec, settings)
        ]
        for group, members in groups(entrants, settings).items()
    }


def choose(
    group: str, trainings: Sequence[Training], values: Mapping[str, float | None], *, higher: bool
) -> SweepChoice:
    """Choose the best rates of a group; of equal ones the first.

    Args:
        group: Its name.
        trainings: Its part of the sweep.
        values: The metric by the training's key; None if it diverged.
        higher: Whether larger is better.

    Raises:
        DivergedError: All of them did.
    """
    runs = [
        SweepRun(
            design=training.design,
            lr=training.rates.lr,
            table_lr=training.rates.table_lr,
            value=finite(values[training.key]),
            tokens=training.train.tokens,
        )
        for training in trainings
    ]
    return choose_rates(group, runs, higher=higher, way="give lower ones by --lr")
