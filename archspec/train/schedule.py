"""The learning rate as a pure function of the tokens seen."""

from __future__ import annotations

import math

from archspec.spec.train import Schedule

DECAY_SHARE = 0.2  # of a run, the decay of a wsd schedule that gives none


def lr_share(schedule: Schedule, *, tokens: int, total: int) -> float:
    """Return the learning rate over its peak.

    Args:
        schedule: Shape, warm-up and end.
        tokens: Tokens seen once the step is done, so that a warm-up starts above 0.
        total: Tokens of the whole run.
    """
    if tokens < schedule.warmup_tokens:
        return tokens / schedule.warmup_tokens
    match schedule.kind:
        case "constant":
            fallen = 0.0
        case "cosine":
            fallen = (1 - math.cos(math.pi * _progress(schedule.warmup_tokens, tokens, total))) / 2
        case "wsd":
            decay = schedule.decay_tokens or round(DECAY_SHARE * total)
            progress = _progress(max(schedule.warmup_tokens, total - decay), tokens, total)
            fallen = progress if schedule.decay == "linear" else math.sqrt(progress)
    return 1 - (1 - schedule.final_share) * fallen


def _progress(start: int, tokens: int, total: int) -> float:
    """Return how much of the way from ``start`` to ``total`` is done, in [0, 1]."""
    return min(1.0, max(0.0, (tokens - start) / max(1, total - start)))
