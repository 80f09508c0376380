"""The learning rate as a pure function of the tokens seen."""

from __future__ import annotations

import math

from archspec.spec.train import Schedule


def lr_share(schedule: Schedule, *, tokens: int, total: int) -> float:
    """Return the learning rate over its peak.

    Args:
        schedule: Shape, warm-up and end.
        tokens: Tokens seen once the step is done, so that a warm-up starts above 0.
        total: Tokens of the whole run.
    """
    if tokens < schedule.warmup_tokens:
        return tokens / schedule.warmup_tokens
    if schedule.kind == "constant":
        return 1.0
    after = max(1, total - schedule.warmup_tokens)
    progress = min(1.0, (tokens - schedule.warmup_tokens) / after)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return schedule.final_share + (1 - schedule.final_share) * cosine
