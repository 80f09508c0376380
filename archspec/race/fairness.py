"""Whether designs had the same conditions: compared from what each training left, not assumed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from archspec.errors import FairnessError
from archspec.race.match import TOLERANCE
from archspec.race.results import Check, DesignResult, RunResult
from archspec.train.rates import SweepChoice
from archspec.units import format_count


def check_runs(runs: Sequence[RunResult]) -> None:
    """Check trainings against one another, as soon as there are two of them.

    Raises:
        FairnessError: Two of them had other data, another order of it, or other settings.
    """
    for check in _run_checks(runs):
        if not check.held:
            raise FairnessError(f"the race is not fair: {check.name}: {check.detail}")


def fairness_checks(
    designs: Sequence[DesignResult], sweep: Sequence[SweepChoice]
) -> tuple[Check, ...]:
    """Return every check of a whole race. Raises FairnessError where one fails."""
    runs = [run for design in designs for run in design.runs]
    check_runs(runs)
    checks = (
        *_run_checks(runs),
        _same_seeds(designs),
        _matched(designs),
        *([_tuned(sweep)] if sweep else []),
    )
    for check in checks:
        if not check.held:
            raise FairnessError(f"the race is not fair: {check.name}: {check.detail}")
    return checks


def _run_checks(runs: Sequence[RunResult]) -> Iterator[Check]:
    sound = [run for run in runs if run.diverged is None]
    tokens = f"{format_count(sound[0].tokens)} tokens" if sound else "no tokens"
    yield _same("tokens", runs, lambda run: run.num_steps, "{} steps", "equal steps asked")
    yield _same("tokens seen", sound, lambda run: run.tokens, "{} tokens", f"{tokens} in each run")
    yield _same("data", runs, lambda run: str(sorted(run.data.items())), "{}", "equal sha256")
    yield _same("settings", runs, lambda run: run.settings, "{}", "equal but seed and rates")
    yield _same(
        "points", sound, lambda run: [p.step for p in run.curve], "{}", "evaluated at equal steps"
    )
    yield _same_order(sound)


def _same(
    name: str,
    runs: Sequence[RunResult],
    read: Callable[[RunResult], object],
    written: str,
    good: str,
) -> Check:
    for run in runs[1:]:
        if read(run) != read(runs[0]):
            ours, theirs = written.format(read(run)), written.format(read(runs[0]))
            detail = f"{run.key} has {ours}, but {runs[0].key} has {theirs}"
            return Check(name=name, held=False, detail=detail)
    return Check(name=name, held=True, detail=good)


def _same_order(runs: Sequence[RunResult]) -> Check:
    by_seed: dict[int, list[RunResult]] = defaultdict(list)
    for run in runs:
        by_seed[run.seed].append(run)
    for group in by_seed.values():
        check = _same("data order", group, lambda run: run.data_order, "order {}", "")
        if not check.held:
            return check
    orders = len({run.data_order for run in runs})
    detail = f"equal hash over every batch, for each of {len(by_seed)} seeds ({orders} orders)"
    return Check(name="data order", held=True, detail=detail)


def _same_seeds(designs: Sequence[DesignResult]) -> Check:
    first = [run.seed for run in designs[0].runs]
    for design in designs[1:]:
        seeds = [run.seed for run in design.runs]
        if seeds != first:
            detail = f"{design.name} ran {seeds}, but {designs[0].name} ran {first}"
            return Check(name="seeds", held=False, detail=detail)
    return Check(name="seeds", held=True, detail=f"every design ran {', '.join(map(str, first))}")


def _matched(designs: Sequence[DesignResult]) -> Check:
    """Check the FLOPs of matched designs against one another; the others are named."""
    together = [d for d in designs if d.entry != "as is"]
    apart = [f"{d.name} {d.flops_ratio:.3f}x" for d in designs if d.entry == "as is"]
    furthest = max(together, key=lambda design: abs(design.flops_ratio - 1))
    off = abs(furthest.flops_ratio - 1)
    held = off <= TOLERANCE
    detail = f"within {off:.3%} of {designs[0].name}" if len(together) > 1 else "none matched"
    if not held:
        detail = f"{furthest.name} has {furthest.flops_ratio:.3f}x those of {designs[0].name}"
    if apart:
        detail += f"; on purpose not matched: {', '.join(apart)}"
    return Check(name="FLOPs", held=held, detail=detail)


def _tuned(sweep: Sequence[SweepChoice]) -> Check:
    counts = {choice.group: len(choice.runs) for choice in sweep}
    tokens = {run.tokens for choice in sweep for run in choice.runs}
    held = len(set(counts.values())) == 1 and len(tokens) == 1
    each = ", ".join(f"{group} {count}" for group, count in counts.items())
    good = f"{next(iter(counts.values()))} runs for each of {', '.join(counts)}"
    return Check(name="tuning", held=held, detail=good if held else f"runs differ: {each}")
