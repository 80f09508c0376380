"""Whether the loss has left its path, from losses alone: every rank sees the same ones.

The rule is documented where it is declared, :class:`archspec.spec.guard.Guard`. Median and median
absolute deviation do not move with a few wild losses (Rousseeuw & Croux 1993, section 1); high
losses are held out of the window meanwhile, so that a spike cannot vouch for itself. What this
leaves out: a loss that creeps up more slowly than the window forgets.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from archspec.spec.guard import Guard

# The standard deviation of a normal distribution over its median absolute deviation.
DEVIATION = 1.4826


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guard remembers; it goes into checkpoints.

    Attributes:
        window: The last losses that were not high, at most ``Guard.window``.
        high: The losses since, all of them high.
    """

    window: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def to_json(self) -> dict[str, list[float]]:
        """Return the state as JSON keeps it, exactly."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> GuardState:
        """Read what ``to_json`` wrote. Raises KeyError, TypeError or ValueError."""
        return cls(tuple(map(float, value["window"])), tuple(map(float, value["high"])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """The loss has left its path.

    Attributes:
        steps: How many high losses in a row there were, the last one included.
        losses: The median of these.
        median: The median of the losses before.
        limit: What they had to stay below.
    """

    steps: int
    losses: float
    median: float
    limit: float

    def __str__(self) -> str:
        return (
            f"the loss rose from {self.median:.4g} to {self.losses:.4g} and stayed above "
            f"{self.limit:.4g} for {self.steps} steps"
        )


def limit_of(losses: Sequence[float], rule: Guard) -> float:
    """Return the loss above which one is high after these."""
    median = statistics.median(losses)
    deviation = DEVIATION * statistics.median(abs(loss - median) for loss in losses)
    return median + max(rule.spike * deviation, rule.margin)


def observe(
    state: GuardState, loss: float, rule: Guard, *, exempt: bool = False
) -> tuple[GuardState, Spike | None]:
    """Take one more loss into account.

    Args:
        state: After the step before.
        loss: Of this step; finite.
        rule: The guard.
        exempt: The step is one of the warm-up.

    Returns:
        The state after this step, and what is wrong, if anything is. After a spike the state is
        that of a run that begins here, so a warning is not repeated at every step.
    """
    if rule.action == "off":
        return state, None
    window = state.window
    judged = not exempt and len(window) >= rule.window
    if not judged or loss <= (limit := limit_of(window, rule)):
        return GuardState((*window, loss)[-rule.window :]), None
    high = (*state.high, loss)
    if len(high) < rule.patience:
        return GuardState(window, high), None
    spike = Spike(
        steps=len(high),
        losses=statistics.median(high),
        median=statistics.median(window),
        limit=limit,
    )
    return GuardState(), spike
