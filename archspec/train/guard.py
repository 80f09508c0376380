"""Whether the loss has left its path, from losses alone: every rank sees the same ones.

The rule is documented where it is declared, :class:`archspec.spec.guard.Guard`. Median and median
absolute deviation do not move with a few wild losses (Rousseeuw & Croux 1993, section 1); high
losses are held out of the window meanwhile, so that a spike cannot vouch for itself. What this
leaves out: a loss that creeps up more slowly than the window forgets.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from archspec.spec.guard import Guard

# The standard deviation of a normal distribution over its median absolute deviation.
DEVIATION = 1.4826

_WINDOW, _HIGH = "guard_window", "guard_high"


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guard remembers from step to step.

    Attributes:
        window: The last losses that were not high, at most ``Guard.window``.
        high: The losses since, all of them high.
    """

    window: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


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


class LossGuard:
    """Watches the losses of a run; its memory goes into checkpoints, so a resumed run is no other.

    Args:
        rule: The guard.
        warmup_steps: Steps that it leaves alone.
        memory: Where it keeps what it remembers, under names that begin with ``guard``; the loop
            saves it, and loading a checkpoint replaces it.
    """

    def __init__(
        self, rule: Guard, *, warmup_steps: int, memory: dict[str, float | list[float]]
    ) -> None:
        self._rule = rule
        self._warmup_steps = warmup_steps
        self._memory = memory

    def good_before(self, step: int) -> int:
        """Return the step, of so many done, that came before all losses that are high now."""
        return step - len(self._recall(_HIGH))

    def look(self, step: int, loss: float) -> Spike | None:
        """Take the loss of a step into account, and tell if it has left its path."""
        state = GuardState(self._recall(_WINDOW), self._recall(_HIGH))
        exempt = step <= self._warmup_steps
        state, spike = observe(state, loss, self._rule, exempt=exempt)
        self._memory[_WINDOW], self._memory[_HIGH] = list(state.window), list(state.high)
        return spike

    def _recall(self, name: str) -> tuple[float, ...]:
        kept = self._memory.get(name, [])
        assert isinstance(kept, list), f"{name} is kept as a list"
        return tuple(kept)
