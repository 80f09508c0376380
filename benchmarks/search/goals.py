"""What was promised of the samplers, and whether a run keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.search.campaign import TABLE, TWO_GOALS
from benchmarks.search.problems import CASES, HEADLINE, RARE_CASE, SMALL_CASE
from benchmarks.search.report import Report, Result
from benchmarks.search.statistics import band

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
    return [
        *_synthetic(report),
        _others(report),
        _two_goals(report),
        _listed(report),
        _trained(report),
        _fit(report),
        _rare(report),
        _fast(report),
    ]


def _synthetic(report: Report) -> Iterator[Goal]:
    for rival, words in (("random", "random feasible's"), ("optuna tpe", "Optuna TPE's")):
        ours, theirs = (report.median(HEADLINE.name, name) for name in ("milp", rival))
        yield Goal(
            f"After {report.evaluations} evaluations of the problem with strong interactions and "
            f"noise, `milp`'s median regret is at most half of {words}.",
            ours <= MOST * theirs,
            f"{ours:.2f} against {amount(theirs)}",
        )


def _others(report: Report) -> Goal:
    ratios = {
        case.name: report.median(case.name, "milp")
        / min(report.median(case.name, rival) for rival in ("random", "optuna tpe"))
        for case in CASES
        if case != HEADLINE and report.of(case.name, "milp")
    }
    text = "The same holds of every other structure and level of noise."
    if not ratios:
        return Goal(text, None, "")
    worst = max(ratios, key=lambda name: ratios[name])
    return Goal(
        text,
        all(ratio <= MOST for ratio in ratios.values()),
        f"at worst {ratios[worst]:.2f} of the better one's ({worst})",
    )


def _two_goals(report: Report) -> Goal:
    volumes = {
        name: float(np.median([result.volumes[-1] for result in report.of(TWO_GOALS, name)]))
        for name in report.samplers(TWO_GOALS)
    }
    rival = max((name for name in volumes if name != "milp"), key=lambda name: volumes[name])
    return Goal(
        "With FLOPs as a second goal, `milp` gains more hypervolume than every other.",
        volumes["milp"] > volumes[rival],
        f"{volumes['milp']:.0%} of the exact front's, the next ({rival}) {volumes[rival]:.0%}",
    )


def _listed(report: Report) -> Goal:
    """Judge the space that is small enough to list."""
    space, found = report.spaces["small"], report.found(SMALL_CASE.name, "milp")
    number = round(space.designs * space.fitting)
    reached = sum(np.isfinite(found))
    half = middle(found)
    return Goal(
        f"In a space small enough to list ({number:,} designs fit), `milp` finds the very best "
        f"design within {report.evaluations} evaluations.",
        reached == len(found),
        f"in {reached} of {len(found)} searches"
        + (f", half of them within {half:g}" if np.isfinite(half) else ""),
    )


def _trained(report: Report) -> Goal:
    text = (
        "On the table of trained models, `milp` comes within one standard deviation of the noise "
        "of the best design in at most half the evaluations that random feasible needs."
    )
    if report.table is None:
        return Goal(text, None, report.missing)
    ours, theirs = (
        middle(report.first_within(TABLE, name, report.table.noise)) for name in ("milp", "random")
    )
    longest = max(len(result.regrets) for result in report.of(TABLE, "random"))
    words = [
        f"{number:g}" if np.isfinite(number) else f"more than {longest}"
        for number in (ours, theirs)
    ]
    met = ours <= MOST * min(theirs, longest)
    return Goal(text, met, f"{words[0]} against {words[1]} (medians)")


def _fit(report: Report) -> Goal:
    ours = [result for result in report.results if not result.sampler.startswith("optuna")]
    theirs = [result for result in report.results if result.sampler.startswith("optuna")]
    share = float(np.mean([result.fitting for result in theirs]))
    return Goal(
        "Our samplers evaluate only designs that fit, each once.",
        _all_fit(ours),
        f"{_fitting(ours)}; of those of Optuna's own samplers {share:.0%} fit",
    )


def _rare(report: Report) -> Goal:
    space = report.spaces["rare"]
    ours = [result for result in report.results if result.case == RARE_CASE.name]
    return Goal(
        f"So they do where {space.fitting:.2%} of a space fits.",
        _all_fit(ours),
        _fitting(ours),
    )


def _all_fit(results: Sequence[Result]) -> bool:
    return all(result.fitting == 1.0 and not result.repeats for result in results)


def _fitting(results: Sequence[Result]) -> str:
    evaluations = sum(len(result.regrets) for result in results)
    over = sum(round(len(result.regrets) * (1 - result.fitting)) for result in results)
    repeats = sum(result.repeats for result in results)
    return f"{evaluations:,} evaluations, {over:,} over a budget, {repeats:,} repeated"


def _fast(report: Report) -> Goal:
    """Judge by the slowest of all proposals timed."""
    timing = max(report.timings, key=lambda timing: timing.slowest)
    return Goal(
        "A proposal takes less than 0.5 s at 48 layers with eight choices after 1,000 trials.",
        None if report.quick else timing.slowest < LIMIT,
        f"{1e3 * timing.slowest:.0f} ms of CPU time for {timing.sampler} at worst, "
        f"{1e3 * timing.cpu:.0f} ms in the median",
    )


def middle(values: Sequence[float]) -> float:
    """Return the median; infinite where a middle value is."""
    return float(band([[value] for value in values]).median[0])


def amount(value: float) -> str:
    """Write a regret, which is infinite where no design fitted."""
    return f"{value:.2f}" if np.isfinite(value) else "none that fits"
