"""The results of a benchmark run, and the same as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.search.statistics import Band, band

_CURVES = ("regrets", "volumes")
_EXACT = 1e-9  # a regret of nothing, but for the rounding of sums


@dataclass(frozen=True, kw_only=True)
class Result:
    """One search.

    Attributes:
        case: What was searched.
        sampler: Who proposed.
        seed: Of problem and sampler.
        regrets: Evaluation by evaluation; None before the first design that fits.
        fitting: Share of the evaluated designs that keep to the budgets.
        repeats: Evaluations of designs that had been evaluated before.
        wall: Seconds of one proposal, mean.
        cpu: CPU seconds of one proposal, mean.
        volumes: Share of the exact front's hypervolume, evaluation by evaluation, if the search
            had two goals.
    """

    case: str
    sampler: str
    seed: int
    regrets: tuple[float | None, ...] = ()
    fitting: float
    repeats: int
    wall: float
    cpu: float
    volumes: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One proposal in a large space after many trials.

    Attributes:
        sampler: Who proposed.
        cpu: CPU seconds, the median of some.
        wall: Seconds, likewise.
        slowest: CPU seconds of the slowest.
    """

    sampler: str
    cpu: float
    wall: float
    slowest: float


@dataclass(frozen=True, kw_only=True)
class SpaceFacts:
    """How large a space is.

    Attributes:
        designs: All of it.
        fitting: The share that keeps to the budgets.
    """

    designs: int
    fitting: float


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """What is known of the table of trained models.

    Attributes:
        designs: How many it has.
        noise: Standard deviation of one training, what its seed does to all designs aside.
        noise_share: Share of the variance between trainings of one seed that is noise.
        seed_effect: By how much all trainings of the second seed are higher.
        near: Designs whose mean is within the noise of the least.
        spread: Standard deviation of designs' means.
        best: The least mean.
        metric: What was measured.
        seconds: One training, median.
    """

    designs: int
    noise: float
    noise_share: float
    seed_effect: float
    near: int
    spread: float
    best: float
    metric: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """A run of the benchmark.

    Attributes:
        started: When, in ISO form.
        seconds: CPU time of all searches.
        machine: Where.
        quick: Whether it is a smoke test.
        evaluations: Of one search.
        seeds: Searches of one case and sampler.
        results: All searches.
        timings: Of single proposals.
        spaces: By the name of the search document.
        table: Of the table of trained models, None without one.
        missing: Why there is no table.
    """

    started: str
    seconds: float
    machine: dict[str, Any]
    quick: bool
    evaluations: int
    seeds: int
    results: tuple[Result, ...]
    timings: tuple[Timing, ...]
    spaces: dict[str, SpaceFacts]
    table: TableFacts | None
    missing: str

    def of(self, case: str, sampler: str) -> list[Result]:
        """Return the searches of a case by a sampler, by seed."""
        found = [r for r in self.results if (r.case, r.sampler) == (case, sampler)]
        return sorted(found, key=lambda result: result.seed)

    def samplers(self, case: str) -> list[str]:
        """Name who searched a case."""
        return list(dict.fromkeys(r.sampler for r in self.results if r.case == case))

    def regrets(self, case: str, sampler: str) -> list[list[float]]:
        """Return regrets by seed and evaluation, infinite before the first design that fits."""
        return [
            [float("inf") if value is None else value for value in result.regrets]
            for result in self.of(case, sampler)
        ]

    def last(self, case: str, sampler: str) -> list[float]:
        """Return the regrets after all evaluations, by seed."""
        return [curve[-1] for curve in self.regrets(case, sampler)]

    def paired(self, case: str, *samplers: str) -> list[list[float]]:
        """Return what ``last`` does for samplers, of the seeds that all of them ran with."""
        found = []
        for name in samplers:
            seeds = [result.seed for result in self.of(case, name)]
            found.append(dict(zip(seeds, self.last(case, name), strict=True)))
        shared = sorted(set.intersection(*map(set, found)))
        return [[last[seed] for seed in shared] for last in found]

    def median(self, case: str, sampler: str) -> float:
        """Return the median regret after all evaluations."""
        return float(np.median(self.last(case, sampler)))

    def band(self, case: str, sampler: str) -> Band:
        """Return the regrets over seeds."""
        return band(self.regrets(case, sampler))

    def found(self, case: str, sampler: str) -> list[float]:
        """Return by seed the evaluations until the best design of all; infinite if never."""
        return self.first_within(case, sampler, _EXACT)

    def first_within(self, case: str, sampler: str, distance: float) -> list[float]:
        """Return by seed the evaluations until the regret is within a distance; infinite if never.

        The design that looks best has to be that good from there on to count.
        """
        found = []
        for curve in self.regrets(case, sampler):
            near = np.flatnonzero(np.array(curve) > distance)
            after = int(near[-1]) + 2 if len(near) else 1
            found.append(float("inf") if after > len(curve) else float(after))
        return found


def report_json(report: Report) -> str:
    """Write a report."""
    content = {f.name: getattr(report, f.name) for f in dataclasses.fields(report)}
    content["results"] = [result_json(result) for result in report.results]
    content["timings"] = [dataclasses.asdict(timing) for timing in report.timings]
    content["spaces"] = {n: dataclasses.asdict(space) for n, space in report.spaces.items()}
    content["table"] = None if report.table is None else dataclasses.asdict(report.table)
    return json.dumps(content) + "\n"


def report_from_json(text: str) -> Report:
    """Read a report that ``report_json`` wrote."""
    content = json.loads(text)
    content["results"] = tuple(map(result_from_json, content["results"]))
    content["timings"] = tuple(Timing(**timing) for timing in content["timings"])
    content["spaces"] = {name: SpaceFacts(**space) for name, space in content["spaces"].items()}
    if content["table"] is not None:
        content["table"] = TableFacts(**content["table"])
    return Report(**content)


def result_json(result: Result) -> dict[str, Any]:
    """Return a search as plain values, its curves as the evaluations at which they change."""
    found = dataclasses.asdict(result)
    found["evaluations"] = len(result.regrets)
    for name in _CURVES:
        found[name] = _changes(found[name])
    return found


def result_from_json(content: Mapping[str, Any]) -> Result:
    """Read what ``result_json`` returned."""
    found = dict(content)
    number = found.pop("evaluations")
    for name in _CURVES:
        found[name] = tuple(_curve(found[name], number))
    return Result(**found)


def _changes(curve: Sequence[float | None]) -> list[tuple[int, float | None]]:
    """Return where a curve has another value than before, with six digits of it."""
    rounded = [None if value is None else float(f"{value:.6g}") for value in curve]
    befores = [object(), *rounded]
    return [
        (number, value)
        for number, (before, value) in enumerate(zip(befores, rounded, strict=False))
        if value != before
    ]


def _curve(changes: Sequence[tuple[int, float | None]], number: int) -> Iterator[float | None]:
    ends = [start for start, _ in changes[1:]] + [number]
    for (start, value), end in zip(changes, ends, strict=False):
        yield from [value] * (end - start)
