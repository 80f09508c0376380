"""What was promised of the samplers, and whether a run keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.search.campaign import TABLE, TWO_GOALS
from benchmarks.search.problems import CASES, HEADLINE
from benchmarks.search.report import Report

MOST = 0.5  # of the others' median regret
LIMIT = 0.5  # s of one proposal in the large space


@dataclass(frozen=True)
class Goal:
    """A promise and what came of it; ``met`` is None if the run says nothing of it."""

    text: str
    met: bool | None
    found: str


def goals(report: Report) -> list[Goal]:
    """Judge a run."""
    return [*_synthetic(report), *_others(report), _trained(report), _fit(report), _fast(report)]


def _synthetic(report: Report) -> Iterator[Goal]:
    for rival, words in (("random", "random feasible's"), ("optuna tpe", "Optuna TPE's")):
        ours, theirs = (report.median(HEADLINE.name, name) for name in ("milp", rival))
        yield Goal(
            f"After {report.evaluations} evaluations of the problem with strong interactions and "
            f"noise, `milp`'s median regret is at most half of {words}.",
            ours <= MOST * theirs,
            f"{ours:.2f} against {amount(theirs)}",
        )


def _others(report: Report) -> Iterator[Goal]:
    ratios = {
        case.name: report.median(case.name, "milp")
        / min(report.median(case.name, rival) for rival in ("random", "optuna tpe"))
        for case in CASES
        if report.of(case.name, "milp")
    }
    worst = max(ratios, key=lambda name: ratios[name])
    yield Goal(
        "The same holds of every other structure and level of noise.",
        all(ratio <= MOST for ratio in ratios.values()),
        f"at worst {ratios[worst]:.2f} of the better one's ({worst})",
    )
    volumes = {
        name: float(np.median([result.volumes[-1] for result in report.of(TWO_GOALS, name)]))
        for name in report.samplers(TWO_GOALS)
    }
    rival = max((name for name in volumes if name != "milp"), key=lambda name: volumes[name])
    yield Goal(
        "With FLOPs as a second goal, `milp` gains more hypervolume than every other.",
        volumes["milp"] > volumes[rival],
        f"{volumes['milp']:.0%} of the exact front's, the next ({rival}) {volumes[rival]:.0%}",
    )


def _trained(report: Report) -> Goal:
    text = (
        "On the table of trained models, `milp` comes within one standard deviation of the noise "
        "of the best design in at most half the evaluations that random feasible needs."
    )
    if report.table is None:
        return Goal(text, None, report.missing)
    ours, theirs = (
        float(np.median(report.first_within(TABLE, name, report.table.noise)))
        for name in ("milp", "random")
    )
    return Goal(text, ours <= MOST * theirs, f"{ours:g} against {theirs:g} (medians)")


def _fit(report: Report) -> Goal:
    ours = [result for result in report.results if not result.sampler.startswith("optuna")]
    theirs = [result for result in report.results if result.sampler.startswith("optuna")]
    share = float(np.mean([result.fitting for result in theirs]))
    repeats = sum(result.repeats for result in ours)
    return Goal(
        "Our samplers evaluate only designs that fit, each once.",
        all(result.fitting == 1.0 for result in ours) and not repeats,
        f"{len(ours) * report.evaluations:,} evaluations, {repeats} repeated; of those of Optuna's "
        f"own samplers {share:.0%} fit",
    )


def _fast(report: Report) -> Goal:
    slowest = max(report.timings, key=lambda timing: timing.cpu)
    return Goal(
        "A proposal takes less than 0.5 s at 48 layers with eight choices after 1,000 trials.",
        None if report.quick else slowest.cpu < LIMIT,
        f"{1e3 * slowest.cpu:.0f} ms of CPU time for {slowest.sampler}, the slowest of ours",
    )


def amount(value: float) -> str:
    """Write a regret, which is infinite where no design fitted."""
    return f"{value:.2f}" if np.isfinite(value) else "none that fits"
