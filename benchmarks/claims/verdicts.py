"""What a race says of each claim: holds, does not hold, or undecided here.

Every claim is a number per seed, whose mean has Student's t interval at 95%. It holds where the
whole interval is on its side of the bound, does not where all of it is on the other, and is
undecided where the bound lies inside. Accuracies are compared seed by seed: data and order are then
the same on both sides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from archspec.race.results import DesignResult, RaceResults, RunResult
from archspec.race.statistics import Mean, crossing_of, mean

DENSE, DENSE_2X, MOE, MEMORY = "dense", "dense_2x", "moe", "memory"
SHARED = ("shared_small", "shared_medium", "shared_large")  # by slots
LARGEST = SHARED[-1]
ACCURACY = "facts.accuracy"
CHANCE = "facts.chance"
TEXT = "pydoc.nll"

Outcome = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one claim.

    Attributes:
        claim: In the words of the paper, in brief.
        test: What was measured, and the bound.
        measured: The numbers.
        outcome: Where the interval lies.
    """

    claim: str
    test: str
    measured: str
    outcome: Outcome


def judge(results: RaceResults) -> tuple[Verdict, ...]:
    """Judge every claim."""
    designs = {design.name: design for design in results.designs}
    return (
        *_accuracy(designs),
        *_tokens(designs[DENSE], designs[LARGEST]),
        *_slots(designs),
        *_sharing(designs),
        _text(designs[DENSE], designs[LARGEST]),
    )


def above(value: Mean, bound: float) -> Outcome:
    """Tell whether a mean is above a bound, as far as its interval lets."""
    if value.low is None or value.high is None or value.low <= bound <= value.high:
        return "undecided"
    return "holds" if value.low > bound else "does not hold"


def below(value: Mean, bound: float) -> Outcome:
    """Tell whether a mean is below a bound, as far as its interval lets."""
    mirrored: dict[Outcome, Outcome] = {"holds": "does not hold", "does not hold": "holds"}
    found = above(value, bound)
    return mirrored.get(found, found)


def paired(
    first: DesignResult,
    second: DesignResult,
    value: Callable[[RunResult, RunResult], float],
) -> Mean:
    """Average what two designs give with the same seed, over seeds."""
    others = {run.seed: run for run in second.finished}
    return mean([value(run, others[run.seed]) for run in first.finished if run.seed in others])


def difference(first: DesignResult, second: DesignResult, metric: str) -> Mean:
    """Return how much higher a metric of the first is."""
    return paired(first, second, lambda a, b: a.metrics[metric] - b.metrics[metric])


def accuracy_ratio(first: DesignResult, second: DesignResult) -> Mean:
    """Return the geometric mean of how many times higher the first's accuracy is.

    An accuracy below that of guessing, 0 say, counts as guessing.
    """
    logs = paired(first, second, lambda a, b: math.log(_at_least_chance(a) / _at_least_chance(b)))
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return Mean(value=math.exp(logs.value), low=low, high=high, count=logs.count)


def _at_least_chance(run: RunResult) -> float:
    return max(run.metrics[ACCURACY], run.metrics[CHANCE])


def tokens_share(dense: DesignResult, design: DesignResult) -> Mean | None:
    """Return after which share of the tokens a design is where dense ends; None if some never is.

    At the end dense has the benefit of the whole schedule, which a run on its way there has not.
    """
    ends = {run.seed: run.metrics[ACCURACY] for run in dense.finished}
    runs = [run for run in design.finished if run.seed in ends]
    crossings = [(run, crossing_of(run, ACCURACY, ends[run.seed])) for run in runs]
    shares = [crossing.tokens / run.tokens for run, crossing in crossings if crossing is not None]
    return mean(shares) if shares and len(shares) == len(runs) else None


def _accuracy(designs: dict[str, DesignResult]) -> Iterator[Verdict]:
    largest = designs[LARGEST]
    gain = accuracy_ratio(largest, designs[DENSE])
    yield Verdict(
        claim="A memory layer more than doubles factual accuracy at equal compute",
        test=f"accuracy of `{LARGEST}` over that of `{DENSE}`, above 2",
        measured=interval(gain, "{:.2f}", unit="times"),
        outcome=above(gain, 2.0),
    )
    for other, claim in (
        (DENSE_2X, "It beats a dense model with twice the FLOPs"),
        (MOE, "It beats a mixture of experts at equal FLOPs"),
    ):
        gap = difference(largest, designs[other], ACCURACY)
        yield Verdict(
            claim=claim,
            test=f"accuracy of `{LARGEST}` less that of `{other}`, above 0",
            measured=interval(gap, "{:+.3f}"),
            outcome=above(gap, 0.0),
        )


def _tokens(dense: DesignResult, design: DesignResult) -> Iterator[Verdict]:
    share = tokens_share(dense, design)
    for claim, bound in (("It learns in fewer tokens", 1.0), ("It learns in half the tokens", 0.5)):
        yield Verdict(
            claim=claim,
            test=f"tokens after which `{LARGEST}` is where `{DENSE}` ends, below {bound:.0%}",
            measured="not reached by every seed" if share is None else interval(share, "{:.1%}"),
            outcome="does not hold" if share is None else below(share, bound),
        )


def _slots(designs: dict[str, DesignResult]) -> Iterator[Verdict]:
    for smaller, larger in itertools.pairwise(SHARED):
        gap = difference(designs[larger], designs[smaller], ACCURACY)
        yield Verdict(
            claim="More slots are better at constant FLOPs",
            test=f"accuracy of `{larger}` less that of `{smaller}`, above 0",
            measured=interval(gap, "{:+.3f}"),
            outcome=above(gap, 0.0),
        )


def _sharing(designs: dict[str, DesignResult]) -> Iterator[Verdict]:
    """Compare with the private table of as many slots, whose size is told from the parameters."""
    private = designs[MEMORY]
    peers = [designs[name] for name in SHARED]
    peer = min(peers, key=lambda design: abs(design.num_table_params - private.num_table_params))
    extra = peer.num_params / private.num_params - 1
    yield Verdict(
        claim="Three layers share a pool at no extra parameters",
        test=f"parameters of `{peer.name}` (3 readers) over those of `{MEMORY}` (1), up to 1% more",
        measured=f"{extra:+.2%}: {peer.num_params:,} against {private.num_params:,}, table rows "
        f"{peer.num_table_params:,} against {private.num_table_params:,}",
        outcome="holds" if extra <= 0.01 else "does not hold",
    )
    gap = difference(peer, private, ACCURACY)
    yield Verdict(
        claim="Three readers make more of the same table than one",
        test=f"accuracy of `{peer.name}` less that of `{MEMORY}`, above 0",
        measured=interval(gap, "{:+.3f}"),
        outcome=above(gap, 0.0),
    )


def _text(dense: DesignResult, design: DesignResult) -> Verdict:
    gap = difference(design, dense, TEXT)
    worse = above(gap, 0.0)
    return Verdict(
        claim="Text does not pay for it",
        test=f"loss on text of `{LARGEST}` less that of `{DENSE}`, not above 0 beyond noise",
        measured=interval(gap, "{:+.4f}", unit="nats a byte"),
        outcome="does not hold" if worse == "holds" else "holds",
    )


def interval(value: Mean, form: str, *, unit: str = "") -> str:
    """Write a mean with its interval."""
    text = form.format(value.value) + (f" {unit}" if unit else "")
    if value.low is None or value.high is None:
        return f"{text} (one seed)"
    return f"{text} ({form.format(value.low)} to {form.format(value.high)})"


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the least of several outcomes: a claim of parts holds where all of them do."""
    order: tuple[Outcome, ...] = ("does not hold", "undecided", "holds")
    return min(outcomes, key=order.index)
