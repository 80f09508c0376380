"""The part of docs/claims.md that is written from numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from archspec.race.results import DesignResult, RaceResults, SweepChoice
from archspec.race.statistics import Mean, mean
from archspec.units import format_count
from benchmarks.claims.verdicts import (
    ACCURACY,
    DENSE,
    TEXT,
    Verdict,
    interval,
    judge,
    tokens_share,
    worst,
)

START, END = "<!-- results: make claims -->", "<!-- end of results -->"
KINDS = ("rare", "medium", "common", "held_out")
MINUTE = 60.0


def write_into(page: str, results: RaceResults) -> str:
    """Put the results between the page's marks."""
    before, rest = page.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n\n{results_text(results)}\n\n{END}{after}"


def results_text(results: RaceResults) -> str:
    """Write verdicts, tables, tuning and checks as Markdown."""
    parts = (
        _opening(results),
        _verdicts(judge(results)),
        "![Accuracy against tokens](claims_curves.png)",
        "![Accuracy against slots](claims_slots.png)",
        "## The designs\n\n" + _designs(results),
        "## Which facts\n\n" + _kinds(results),
        "![Accuracy by kind of fact](claims_kinds.png)",
        "## What was tuned in the race\n\n" + _sweep(results),
        "## Whether it was fair\n\n" + _checks(results),
    )
    return "\n\n".join(parts)


def _opening(results: RaceResults) -> str:
    outcomes = [outcome for _, outcome in _by_claim(judge(results))]
    counts = ", ".join(
        f"{title} {outcomes.count(name)}"
        for title, name in (
            ("that hold here", "holds"),
            ("that do not", "does not hold"),
            ("undecided", "undecided"),
        )
    )
    return (
        f"Claims {counts}, over {len(results.reference.runs)} seeds. Brackets are 95% intervals "
        "over seeds, wide for so few."
    )


def _by_claim(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    return [
        (claim, worst([verdict.outcome for verdict in group]))
        for claim, group in groupby(verdicts, key=lambda verdict: verdict.claim)
    ]


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = [
        (verdict.claim, verdict.test, verdict.measured, f"**{verdict.outcome}**")
        for verdict in verdicts
    ]
    return _table(("claim", "what is measured", "measured", "here it"), rows)


def _designs(results: RaceResults) -> str:
    header = (
        "design",
        "FLOPs a token (over dense)",
        "parameters",
        "of them table rows",
        "`facts.accuracy`",
        "loss on text",
        "tokens to dense's end",
        "minutes a run",
    )
    return _table(header, [_design(results.reference, design) for design in results.designs])


def _design(dense: DesignResult, design: DesignResult) -> tuple[str, ...]:
    return (
        f"`{design.name}`",
        f"{design.flops_per_token / 1e3:,.0f}k ({design.flops_ratio:.3f})",
        format_count(design.num_params),
        format_count(design.num_table_params) if design.num_table_params else "",
        _mean(design, ACCURACY),
        _mean(design, TEXT),
        _reach(dense, design),
        f"{mean([run.seconds for run in design.finished]).value / MINUTE:.1f}",
    )


def _reach(dense: DesignResult, design: DesignResult) -> str:
    if design.name == DENSE:
        return ""
    share = tokens_share(dense, design)
    return "not reached" if share is None else f"{share.value:.0%}"


def _kinds(results: RaceResults) -> str:
    kinds = [kind for kind in KINDS if f"{ACCURACY}.{kind}" in results.metrics]
    rows = [
        (f"`{design.name}`", *(_mean(design, f"{ACCURACY}.{kind}") for kind in kinds))
        for design in results.designs
    ]
    titles = {"held_out": "all, in wordings never trained on"}
    header = ("design", *(titles.get(kind, f"the {kind} third") for kind in kinds))
    return _table(header, rows)


def _mean(design: DesignResult, metric: str, form: str = "{:.3f}") -> str:
    found: Mean = mean([run.metrics[metric] for run in design.finished])
    return interval(found, form)


def _sweep(results: RaceResults) -> str:
    rows = [
        (choice.group, _tried(choice), f"{choice.lr:g}", ", ".join(choice.edges) or "inside")
        for choice in results.sweep
        if choice.lr is not None
    ]
    header = ("tuned together", "accuracy by learning rate", "chosen", "where in the range")
    return _table(header, rows)


def _tried(choice: SweepChoice) -> str:
    return ", ".join(
        f"{run.lr:g}: " + ("diverged" if run.value is None else f"{run.value:.3f}")
        for run in choice.runs
    )


def _checks(results: RaceResults) -> str:
    return "\n".join(
        f"- {check.name}: {'held' if check.held else '**not held**'}; {check.detail}"
        for check in results.checks
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(_lines(header, rows))


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"
