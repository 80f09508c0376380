"""What a search found in sentences, for a terminal and for a page alike."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.report.found.figure import design_name
from archspec.report.race_view import choice_text
from archspec.search.findings import Findings
from archspec.search.importance import Importance
from archspec.search.pareto import front_goals
from archspec.search.results import Agreement, SearchResults
from archspec.search.stage_results import RankAgreement
from archspec.search.verdict import Comparison, Interval, Verdict
from archspec.units import format_count

_LITTLE = 0.2  # of the variance explained; below it effects are not to be relied on
_MOST_LAYERS = 3


def amount(value: float) -> str:
    """Write a value of a metric with four digits."""
    return f"{value:#.4g}"


def interval(found: Interval) -> str:
    """Write a value with its interval, ``0.168 (0.091 to 0.244)``."""
    if found.low is None or found.high is None:
        return amount(found.value)
    return f"{amount(found.value)} ({amount(found.low)} to {amount(found.high)})"


def state(results: SearchResults, findings: Findings) -> str:
    """Say how far a search is: done, at it, or stopped."""
    trained = len(results.designs)
    if findings.is_finished:
        return f"{trained} designs trained"
    now = "still running" if findings.is_running else "stopped before its end"
    return f"{trained} of {results.trials} designs trained so far, {now}"


def verdict_sentences(results: SearchResults, verdict: Verdict) -> Iterator[str]:
    """Say whether the winner beats every hand design on fresh seeds."""
    winner = f"The winner ({design_name(results.best)})"
    again = [found for found in verdict.comparisons if found.seeds]
    once = [found for found in verdict.comparisons if not found.seeds]
    if verdict.status == "no hand":
        yield "No hand design fits the budgets, so there is none to compare with."
    elif all(design.is_hand_design for design in results.designs):
        yield "Only hand designs were trained so far, so there is nothing to compare them with."
    elif verdict.status == "hand wins":
        yield (
            f"The search did not beat the hand designs: the best of them, '{results.best.source}', "
            "is the winner. More trials may change that."
        )
    elif verdict.status == "not yet":
        yield (
            f"{winner} was not run again with fresh seeds, so whether it beats the hand designs "
            f"is open. On first runs: {_gains(once)}."
        )
    elif verdict.status == "not all":
        worse = [found for found in verdict.comparisons if found.gain.value <= 0]
        yield f"{winner} does not beat every hand design: {_gains(worse)}."
    else:
        which = "every hand design" if not once else "those hand designs that were run again"
        yield f"{winner} beats {which}, each with fresh seeds: {_gains(again)}."
        yield from _how_clear(verdict, again)
    if verdict.status == "some not run again":
        yield f"Hand designs that ran only once are behind it on first runs: {_gains(once)}."


def _gains(found: list[Comparison]) -> str:
    return "; ".join(f"{_by(one.gain)} '{one.name}'" for one in found)


def _by(gain: Interval) -> str:
    better = "better than" if gain.value > 0 else "worse than"
    size = abs(gain.value)
    if gain.low is None or gain.high is None:
        return f"{size:.3g} {better}"
    low, high = sorted((abs(gain.low), abs(gain.high)))
    if gain.low < 0 < gain.high:
        return f"{size:.3g} {better} (95%: {gain.low:+.2g} to {gain.high:+.2g})"
    return f"{size:.3g} {better} (95%: {low:.3g} to {high:.3g})"


def _how_clear(verdict: Verdict, again: list[Comparison]) -> Iterator[str]:
    seeds = again[0].seeds if again else 0
    runs = f"{seeds} fresh seed{'s' if seeds > 1 else ''}"
    if not verdict.freedom:
        yield f"With {runs} there is no interval, so how clear that is cannot be told."
        return
    basis = f"paired over {runs}, {verdict.freedom} degrees of freedom over all designs run again"
    unclear = [found.name for found in again if not found.is_clear]
    if unclear:
        named = ", ".join(f"'{name}'" for name in unclear)
        yield f"The interval includes 0 against {named}: not clearly above ({basis})."
    else:
        yield (
            f"No interval includes 0: clearly above ({basis}). The winner was picked by these "
            "re-runs, which flatters it a little."
        )


def front_sentences(results: SearchResults, findings: Findings) -> Iterator[str]:
    """Say what the front is over."""
    goals = front_goals(results)
    names = [goal.name for goal in goals]
    text = (
        f"{len(findings.front)} designs are beaten by none in {', '.join(names[:-1])} and "
        f"{names[-1]} at once; each is a model document in pareto/."
    )
    if len(goals) > 2:
        text += " One that lies off a panel's line is on the front by another panel's goal."
    if len(results.rungs) > 1:
        text += f" Only designs of the highest rung are compared: {len(results.top)}."
    if results.best.trial not in findings.front:
        text += (
            " The winner is not among them: the front compares first runs, which all designs have, "
            "and it won with fresh seeds."
        )
    yield text


def chance_sentences(results: SearchResults, findings: Findings) -> Iterator[str]:
    """Compare the search with random designs, and say what that rests on."""
    chance = findings.chance
    if chance is None:
        if results.sampler != "random":
            yield (
                "What random designs would have come to cannot be told: too few designs were "
                "trained, or designs within budget are too rare to be drawn."
            )
        return
    if chance.basis == "trials":
        yield (
            f"This search drew its designs at random itself; the {chance.num_designs} it drew, in "
            "all orders, are what its best so far stands beside."
        )
        return
    count = len(chance.middle)
    reached = findings.best_so_far
    band = f"{amount(chance.low[-1])} to {amount(chance.high[-1])}"
    yield (
        f"The best of {count} random designs would be at {amount(chance.middle[-1])} (80%: {band}),"
        f" by what the trained designs say of {chance.num_designs:,} random ones within budget, "
        "uncertainty and luck included; nothing of it was trained. This search came to "
        f"{amount(reached[min(count, len(reached)) - 1])}{_when(results, findings)}."
    )


def _when(results: SearchResults, findings: Findings) -> str:
    """Say after how many designs the search was where chance ends."""
    assert findings.chance is not None, "only asked for where there is a curve"
    target = results.sign * findings.chance.middle[-1]
    places = [
        place
        for place, value in enumerate(findings.best_so_far, 1)
        if results.sign * value <= target
    ]
    return f" and was there after {places[0]}, hand designs included" if places else ""


def choice_sentences(found: Importance | None) -> Iterator[str]:
    """Say which choices matter, and how far that can be believed."""
    if found is None:
        yield "Which choices matter cannot be told from fewer than 8 designs."
        return
    share = max(found.explained, 0.0)
    yield (
        f"A sum over layers predicts {share:.0%} of the differences between designs it was not "
        f"fitted to ({found.num_designs} trained); {found.noise:.2g} does not add up: luck, and "
        "choices that depend on each other" + _drawn_in(found.num_clipped) + "."
    )
    if share < _LITTLE:
        yield "That is little, so the effects should not be relied on."
    deciding = sorted(found.positions, key=lambda factor: -factor.weight)[:_MOST_LAYERS]
    named = [f"layer {f.name} ({f.weight:.0%})" for f in deciding if f.weight > 0.01]
    if named:
        yield f"What decides most, in shares of the variance: {', '.join(named)}."


def _drawn_in(count: int) -> str:
    """Say how many values lay so far out that the fit took less extreme ones."""
    if not count:
        return ""
    return f"; {count} far-off value{' was' if count == 1 else 's were'} drawn in"


def trust_sentences(results: SearchResults, findings: Findings) -> Iterator[str]:
    """Say how far the order by first runs, and by cheap rungs, can be believed."""
    if findings.seed_noise is not None:
        yield (
            f"One design's runs differ by {amount(findings.seed_noise)} by luck (standard "
            "deviation over fresh seeds, pooled)."
        )
    if findings.agreement is not None:
        yield agreement_sentence("First runs and re-runs", "finalists", findings.agreement)
    yield from rank_sentences(results)


def rank_sentences(results: SearchResults) -> Iterator[str]:
    """Say whether rungs, and the two sizes of a proxy, rank designs alike."""
    checks = () if results.proxy is None else (results.proxy.check,)
    for found in (*results.rung_agreements, *checks):
        if found is not None:
            yield _ranks_alike(found)


def _ranks_alike(found: RankAgreement) -> str:
    if found.spearman is None:
        return (
            f"Whether {found.of[0]} and {found.of[1]} rank designs alike cannot be told from "
            f"{found.designs} of them."
        )
    text = (
        f"{found.of[0]} and {found.of[1]} rank {found.designs} designs with a correlation of "
        f"{found.spearman:.2f}"
    )
    if found.is_low:
        warning = "that is low, so what is best by the one may well not be by the other"
        return f"Warning: {text}: {warning}."
    return f"{text}."


def stage_sentences(results: SearchResults) -> Iterator[str]:
    """Say what designs were trained with: a proxy, rungs, swept learning rates."""
    if results.proxy is not None:
        proxy = results.proxy
        yield (
            f"Trained in place of every design was a proxy of {proxy.num_layers} layers and width "
            f"{proxy.d_model}, {format_count(proxy.num_params)} parameters for the winner's "
            f"{format_count(proxy.target_num_params)}; budgets and files are the design's own."
        )
    if len(results.rungs) > 1:
        steps = (f"{len(r.entries)} designs for {format_count(r.tokens)}" for r in results.rungs)
        yield f"Rungs: {', then '.join(steps)} tokens; results of two are never compared."
    for choice in results.learning_rates:
        yield f"Learning rate, swept once for the family: {choice_text(choice)}"


def agreement_sentence(both: str, whom: str, found: Agreement) -> str:
    """Say how well two rankings agree."""
    share = found.kept / found.pairs
    if share == 1:
        verdict = "the two rankings agree"
    elif share > 0.5:
        verdict = "the rankings agree in part, so neighbours in the table may well trade places"
    else:
        verdict = "the rankings disagree: these designs are too close for single runs to order them"
    rank = "" if found.spearman is None else f" (rank correlation {found.spearman:.2f})"
    return (
        f"{both} put {found.kept} of {found.pairs} pairs of {whom} in the same order{rank}: "
        f"{verdict}."
    )
