"""docs/search_proof.md, every figure and every judgement in it from a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from archspec.units import format_duration
from benchmarks.search.campaign import TABLE, TWO_GOALS
from benchmarks.search.goals import amount, goals
from benchmarks.search.problems import CASES, HEADLINE, SMALL_CASE
from benchmarks.search.report import Report, TableFacts
from benchmarks.search.statistics import Band, band, sign_test
from benchmarks.search.table import COMMAND

OURS = "milp"
_MARKS = (25, 50, 100, 200)
_NAMES = {
    "milp": "`milp` (default)",
    "evolution": "`evolution`",
    "random": "`random` (feasible)",
    "exhaustive": "`exhaustive`",
    "tpe": "`tpe` (Optuna's, repaired)",
    "nsga2": "`nsga2` (Optuna's, repaired)",
    "optuna tpe": "Optuna TPE, constraints",
    "optuna nsga2": "Optuna NSGA-II, constraints",
}
_STRUCTURES = {
    "additive": "each choice at each layer by itself",
    "interacting": "choices by themselves, beside each other, and in pairs of layers anywhere, all "
    "equally strong",
    "neighbours": "mostly what stands beside what",
    "saturating": "each further layer of a block does less",
    "bumps": "each block is good or bad around some depth",
}
_HOW = """## How it is done

- **Problems.** 24 layers with six choices each and a pool of three sizes: `benchmarks/search/` has
  the documents. Budgets on FLOPs and device memory, priced exactly, admit about one design in 250.
  Losses are drawn anew for every seed, in units of their standard deviation over designs that fit.
  The best design is known exactly, from an integer program that has the interactions as variables
  and shares nothing with the samplers but the prices. The small space has six layers and four
  choices; its best design is found by trying all.
- **Regret** is the loss, noise aside, of the design that looks best so far, over that of the best.
  Where a design looks best by luck, that counts against its sampler.
- **Equal evaluations.** A design that breaks a budget is an evaluation, too. Optuna's own samplers
  are told by how much it does (`trial.set_constraint`, used / budget - 1), as its documentation
  recommends. All samplers have their default settings, NSGA-II generations of 20.
- **Intervals** are of the median over seeds, 95%, between two order statistics. On each seed both
  samplers search the same problem; the exact sign test says how likely so clear a difference would
  be if neither was better (two-sided, one test at a time). No sampler was changed for what these
  seeds showed of the problems that are drawn; for the table, see there.
- **Two goals**: the loss and FLOPs per token. For each of eight limits on FLOPs counts how far
  the design that looks best within it is, truly, below the mean of designs that fit; 100% is the
  same for the best designs there are, exactly."""


def page(report: Report, folder: str) -> str:
    """Write the whole page.

    Args:
        report: The run.
        folder: Where the figures are, as the page refers to it.
    """
    lines = [
        "# Does the search find better designs in fewer trainings?",
        "",
        "Written by `make bench-search`; do not edit. Measured on "
        f"{report.started[:10]} in {report.seconds / 60:.0f} minutes of CPU time: {report.seeds} "
        f"seeds, {report.evaluations} evaluations each; {report.machine['name']}, "
        f"{report.machine['cores']} cores; "
        + ", ".join(f"{name} {found}" for name, found in report.machine["versions"].items())
        + ".",
        "",
        *(["A quick run: few seeds, whose figures mean nothing.", ""] if report.quick else []),
        "| promised | | found |",
        "|---|---|---|",
        *(f"| {g.text} | **{_verdict(g.met)}** | {g.found} |" for g in goals(report)),
        "",
        "## Regret on problems whose best design is known",
        "",
        f"![Regret against evaluations]({folder}search-regret.png)",
        "",
        *_regrets(report),
        "",
        f"Loss against FLOPs ({HEADLINE.name}):",
        "",
        f"![Hypervolume against evaluations]({folder}search-volume.png)",
        "",
        *_two_goals(report),
        "",
        *_table(report, folder),
        "",
        *_times(report),
        "",
        _HOW,
    ]
    return "\n".join(lines) + "\n"


def _verdict(met: bool | None) -> str:
    return {True: "met", False: "missed", None: "not measured"}[met]


def _regrets(report: Report) -> Iterator[str]:
    """Write one table a case: regrets after some evaluations, and the test against ours."""
    for case in (*CASES, SMALL_CASE):
        samplers = report.samplers(case.name)
        if not samplers:
            continue
        yield f"**{case.name.capitalize()}**: {_STRUCTURES[case.structure]}."
        yield ""
        yield from _regret_table(report, case.name, samplers)
        yield ""


def _regret_table(report: Report, case: str, samplers: list[str]) -> Iterator[str]:
    longest = len(report.of(case, samplers[0])[0].regrets)
    marks = [mark for mark in _MARKS if mark <= longest] or [longest]
    yield "| sampler | " + " | ".join(f"after {mark}" for mark in marks) + " | `milp` better |"
    yield "|---|" + "---:|" * (len(marks) + 1)
    for name in sorted(samplers, key=lambda sampler: report.median(case, sampler)):
        found = report.band(case, name)
        cells = (_cell(found, mark - 1) for mark in marks)
        yield f"| {_NAMES[name]} | " + " | ".join(cells) + f" | {_against(report, case, name)} |"


def _cell(found: Band, at: int) -> str:
    """Write a median regret with its interval."""
    ends = (f"{v:.2f}" if np.isfinite(v) else "none" for v in (found.low[at], found.high[at]))
    return f"{amount(found.median[at])} ({' to '.join(ends)})"


def _against(report: Report, case: str, name: str) -> str:
    if name == OURS:
        return ""
    test = sign_test(*report.paired(case, OURS, name))
    return f"{test.wins} of {test.wins + test.losses}, p {_chance(test.chance)}"


def _chance(chance: float) -> str:
    return f"{chance:.2f}" if chance >= 0.01 else f"{chance:.0e}".replace("e-0", "e-")


def _two_goals(report: Report) -> Iterator[str]:
    yield "| sampler | share of the exact front's hypervolume | `milp` better |"
    yield "|---|---:|---:|"
    found = {
        name: [result.volumes[-1] for result in report.of(TWO_GOALS, name)]
        for name in report.samplers(TWO_GOALS)
    }
    for name, volumes in sorted(found.items(), key=lambda item: -float(np.median(item[1]))):
        shares = band([[volume] for volume in volumes])
        low, middle, high = (float(end[0]) for end in (shares.low, shares.median, shares.high))
        cell = ""
        if name != OURS:
            test = sign_test([-v for v in found[OURS]], [-v for v in volumes])
            cell = f"{test.wins} of {test.wins + test.losses}, p {_chance(test.chance)}"
        yield f"| {_NAMES[name]} | {middle:.0%} ({low:.0%} to {high:.0%}) | {cell} |"


def _table(report: Report, folder: str) -> Iterator[str]:
    yield "## Regret on trained models"
    yield ""
    facts = report.table
    if facts is None:
        yield f"Not measured: {report.missing}. `{COMMAND}` trains every design of"
        yield "a small space with two seeds. Until then this page rests on synthetic problems"
        yield "alone."
        return
    yield from _facts(facts)
    yield ""
    yield f"![Regret on trained models]({folder}search-table.png)"
    yield ""
    yield from _regret_table(report, TABLE, report.samplers(TABLE))
    yield ""
    yield "Evaluations until the design that looks best is within one standard deviation of the"
    yield "noise of the best, and stays so:"
    yield ""
    yield "| sampler | searches | median | 95% interval |"
    yield "|---|---:|---:|---:|"
    for name in report.samplers(TABLE):
        numbers = report.first_within(TABLE, name, facts.noise)
        found = band([[number] for number in numbers])
        middle, low, high = (_number(end[0]) for end in (found.median, found.low, found.high))
        yield f"| {_NAMES[name]} | {len(numbers)} | {middle} | {low} to {high} |"


def _facts(facts: TableFacts) -> Iterator[str]:
    """Say what the table is, and how far its numbers can be trusted."""
    yield f"All {facts.designs} designs of `specs/search/table.yaml` that fit, six layers each,"
    yield f"were trained with two seeds: `{COMMAND}`,"
    yield f"{format_duration(facts.seconds)} a training (wall time); every number is in"
    yield "`benchmarks/results/search_table.csv`. A search trains all of its designs with one seed,"
    yield "so every other search here is shown the trainings of the first seed, the rest those of"
    yield "the second; regret is counted in the mean of both."
    yield ""
    yield f"Means of `{facts.metric}` vary by {facts.spread:.3f} (standard deviation). The second"
    yield f"seed is {facts.seed_effect:+.3f} for all designs alike, which no comparison feels."
    yield f"Besides, one training varies by {facts.noise:.3f}: of the variance between trainings of"
    yield f"one seed {facts.noise_share:.0%} is noise. Within that of the best are {facts.near}"
    yield "designs, itself included. The two whose evaluations are compared searched the table"
    yield "more often than the others."
    yield ""
    yield "When an earlier `milp` had missed the promise on this table, it was taught that blocks"
    yield "may be of one kind and that it may matter where a kind begins. That was judged by other"
    yield "seeds (from 1000 on), but by this table, which so is no longer an unseen one."


def _number(value: float) -> str:
    return f"{value:g}" if np.isfinite(value) else "never"


def _times(report: Report) -> Iterator[str]:
    yield "## What a proposal costs"
    yield ""
    yield "Mean over the searches above, with as many searches at a time as there are cores:"
    yield ""
    yield "| sampler | wall time | CPU time |"
    yield "|---|---:|---:|"
    for name in report.samplers(HEADLINE.name):
        results = report.of(HEADLINE.name, name)
        wall, cpu = (float(np.mean([getattr(r, key) for r in results])) for key in ("wall", "cpu"))
        yield f"| {_NAMES[name]} | {1e3 * wall:.0f} ms | {1e3 * cpu:.0f} ms |"
    yield ""
    yield "A proposal at 48 layers with eight choices after 1,000 trials, medians of fifteen:"
    yield ""
    yield "| sampler | wall time | CPU time | slowest, CPU time |"
    yield "|---|---:|---:|---:|"
    for timing in report.timings:
        times = (timing.wall, timing.cpu, timing.slowest)
        cells = " | ".join(f"{1e3 * seconds:.0f} ms" for seconds in times)
        yield f"| {_NAMES[timing.sampler]} | {cells} |"
