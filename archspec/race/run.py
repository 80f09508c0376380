"""A race from start to end: the sweep, the trainings, what came of them; stopped at any time."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from archspec import __version__
from archspec.cost.summary import cost_context, total_cost
from archspec.cost.training import training_flops
from archspec.errors import RunError
from archspec.race.batches import check_data
from archspec.race.crew import Crew
from archspec.race.directory import RESULTS, Race, create_race, load_race, set_seeds
from archspec.race.entrants import enter
from archspec.race.events import Listener, Plan
from archspec.race.fairness import check_runs, fairness_checks
from archspec.race.outcome import is_done, read_run
from archspec.race.results import DesignResult, RaceResults, RunResult, to_json
from archspec.race.settings import Entrant, RaceSettings
from archspec.race.sweep import choose, groups, sweep_trainings
from archspec.race.trainings import Training, race_trainings, with_points
from archspec.spec.dump import spec_hash
from archspec.spec.train import TrainSpec
from archspec.train.files import lock_directory, replace_text, sweep
from archspec.train.interrupt import stop_on_signals
from archspec.train.rates import Rates, SweepChoice


def prepare_race(
    paths: Sequence[str], as_is: Sequence[str], train: TrainSpec, settings: RaceSettings
) -> Race:
    """Load and match the designs, and check everything that can be wrong before any training.

    Args:
        paths: Model documents, the reference first.
        as_is: Model documents whose FLOPs stay as they are.
        train: The train document.
        settings: How to race.

    Raises:
        ArchspecError: A document is wrong, a design cannot be matched, or a setting is.
    """
    settings.check(train)
    train = with_points(train, settings.points)
    entrants = enter(paths, as_is, train, settings)
    check_data(entrants, train)
    return Race(entrants=entrants, train=train, settings=settings)


def start_race(
    race: Race, out: Path, *, jobs: int = 1, listener: Listener | None = None
) -> RaceResults:
    """Run a race in a new directory.

    Args:
        race: As ``prepare_race`` gives it.
        out: Directory to make.
        jobs: Trainings at a time.
        listener: Hears of progress.

    Raises:
        RunError: ``out`` exists, or a training cannot run.
        DivergedError: A family diverged with every rate of the sweep.
        FairnessError: Two trainings did not have the same conditions.
        KeyboardInterrupt: Somebody stopped it; ``resume_race`` goes on.
    """
    _check_jobs(jobs)
    create_race(out, race)
    return _run(race, out, jobs, listener or Listener())


def resume_race(
    out: Path, *, seeds: int | None = None, jobs: int = 1, listener: Listener | None = None
) -> RaceResults:
    """Go on with a race; trainings that are done are not repeated. Raises as ``start_race``.

    Args:
        out: Its directory.
        seeds: Race so many seeds instead, which must not be fewer.
        jobs: Trainings at a time.
        listener: Hears of progress.
    """
    _check_jobs(jobs)
    race = load_race(out)
    if seeds is not None and seeds != race.settings.seeds:
        if seeds < race.settings.seeds:
            raise RunError(
                f"{out}: the race has {race.settings.seeds} seeds, and --seeds {seeds} would drop "
                "some of them; give as many or more"
            )
        race = set_seeds(out, race, seeds)
    return _run(race, out, jobs, listener or Listener())


def _check_jobs(jobs: int) -> None:
    if jobs < 1:
        raise RunError(f"--jobs must be at least 1, but is {jobs}")


def _run(race: Race, out: Path, jobs: int, listener: Listener) -> RaceResults:
    sweep(out)
    with lock_directory(out, activity="racing"), stop_on_signals() as stop:
        listener.on_plan(_plan(race, out, jobs))
        crew = Crew(
            out,
            jobs=jobs,
            threads=race.settings.threads,
            device=race.settings.device,
            stop=stop,
        )
        try:
            choices = _sweep(race, out, crew, listener)
            listener.on_choice(choices)
            runs = _race(race, out, crew, listener, rates_of(race, choices))
        finally:
            crew.close()
    results = _results(race, choices, runs, jobs)
    replace_text(out / RESULTS, to_json(results))
    return results


def _plan(race: Race, out: Path, jobs: int) -> Plan:
    trainings = all_trainings(race)
    done = [training for training in trainings if is_done(out / training.key)]
    return Plan(
        entrants=race.entrants,
        settings=race.settings,
        trainings=len(trainings),
        done=len(done),
        steps=sum(training.train.num_steps for training in trainings),
        done_steps=sum(training.train.num_steps for training in done),
        jobs=jobs,
    )


def all_trainings(race: Race) -> list[Training]:
    """List every training of a race; those that count with rates not chosen yet."""
    swept = sweep_trainings(race.entrants, race.train, race.settings).values()
    given = {entrant.name: Rates() for entrant in race.entrants}
    raced = race_trainings(race.entrants, race.train, race.settings, given)
    return [*(training for group in swept for training in group), *raced]


def _sweep(race: Race, out: Path, crew: Crew, listener: Listener) -> tuple[SweepChoice, ...]:
    """Try every rate, and choose for each group."""
    swept = sweep_trainings(race.entrants, race.train, race.settings)
    trainings = [training for group in swept.values() for training in group]
    values: dict[str, float | None] = {}

    def read(training: Training) -> None:
        values[training.key] = _value(read_run(out, training.key), race.settings.metric)
        # They only choose a rate; their states would take more room than the race's own.
        shutil.rmtree(out / training.key / "checkpoints", ignore_errors=True)

    def finished(training: Training) -> None:
        read(training)
        listener.on_finish(training, values[training.key])

    for training in trainings:
        if is_done(out / training.key):
            read(training)
    crew.train(trainings, listener, finished)
    return tuple(
        choose(group, tried, values, higher=race.settings.higher_is_better)
        for group, tried in swept.items()
    )


def rates_of(race: Race, choices: Sequence[SweepChoice]) -> dict[str, Rates]:
    """Return the rates that each design is raced with, by its name."""
    chosen = {choice.group: Rates(lr=choice.lr, table_lr=choice.table_lr) for choice in choices}
    return {
        entrant.name: chosen.get(group, Rates())
        for group, members in groups(race.entrants, race.settings).items()
        for entrant in members
    }


def _race(
    race: Race, out: Path, crew: Crew, listener: Listener, rates: Mapping[str, Rates]
) -> dict[str, list[RunResult]]:
    """Run every training that counts; each is held against those before as soon as it ends."""
    trainings = list(race_trainings(race.entrants, race.train, race.settings, rates))
    found: dict[str, RunResult] = {}

    def read(training: Training) -> RunResult:
        run = found[training.key] = read_run(out, training.key)
        check_runs(list(found.values()))
        return run

    def finished(training: Training) -> None:
        listener.on_finish(training, _value(read(training), race.settings.metric))

    for training in trainings:
        if is_done(out / training.key):
            read(training)
    crew.train(trainings, listener, finished)
    runs: dict[str, list[RunResult]] = {entrant.name: [] for entrant in race.entrants}
    for training in trainings:
        runs[training.design].append(found[training.key])
    return runs


def _value(run: RunResult, metric: str) -> float | None:
    return None if run.diverged is not None else run.metrics.get(metric)


def _results(
    race: Race,
    choices: tuple[SweepChoice, ...],
    runs: Mapping[str, Sequence[RunResult]],
    jobs: int,
) -> RaceResults:
    rates = rates_of(race, choices)
    designs = tuple(
        _design(entrant, race, rates[entrant.name], runs[entrant.name]) for entrant in race.entrants
    )
    return RaceResults(
        settings=race.settings,
        train=race.train.model_dump(mode="json"),
        metrics=_measured(race, [run for design in designs for run in design.finished]),
        tokens=race.train.num_steps * race.train.batch_tokens,
        designs=designs,
        sweep=choices,
        checks=fairness_checks(designs, choices),
        jobs=jobs,
        machine={
            "archspec": __version__,
            "python": platform.python_version(),
            "cpu": platform.processor() or platform.machine(),
            "cores": str(os.cpu_count()),
        },
    )


def _measured(race: Race, runs: Sequence[RunResult]) -> tuple[str, ...]:
    """Name the metrics that every run has at every evaluation. Raises RunError."""
    metric = race.settings.metric
    for run in runs:
        if any(metric not in point.metrics for point in run.curve):
            raise RunError(f"{run.key}: {metric} is missing or not finite at an evaluation")
    points = [point for run in runs for point in run.curve]
    names = race.train.metrics if points else ()
    return tuple(name for name in names if all(name in point.metrics for point in points))


def _design(entrant: Entrant, race: Race, rates: Rates, runs: Sequence[RunResult]) -> DesignResult:
    context = cost_context(entrant.spec, seq_len=race.train.seq_len)
    cost = total_cost(entrant.spec, context)
    optimizer = rates.apply(race.train).optimizer
    return DesignResult(
        name=entrant.name,
        source=entrant.source,
        spec_hash=spec_hash(entrant.spec),
        family=entrant.family,
        entry=entrant.entry,
        flops_per_token=entrant.flops_per_token,
        flops_before=entrant.flops_before,
        flops_ratio=entrant.flops_per_token / race.entrants[0].flops_per_token,
        training_flops=training_flops(entrant.spec, context),
        hidden_dims=entrant.hidden_dims,
        hidden_dims_before=entrant.hidden_dims_before,
        num_params=cost.num_params,
        num_active_params=cost.num_active_params,
        num_table_params=cost.num_table_params,
        lr=optimizer.lr,
        table_lr=optimizer.tables.lr_multiplier,
        runs=tuple(runs),
    )
