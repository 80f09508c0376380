"""What the stages beside and after the trials found, as values that go through JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LOW = 0.5  # a rank correlation below it is warned of


class _Result(BaseModel):
    """A value that survives the way through JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RungEntry(_Result):
    """A design on one rung.

    Attributes:
        values: Of every goal, the judged metric first; None if training diverged.
        kept: Whether it went on: to the next rung, or from the last to fresh seeds.
    """

    trial: int
    spec_hash: str
    is_hand_design: bool
    values: tuple[float, ...] | None
    kept: bool = False


class RungResult(_Result):
    """All designs of one rung, best first and those that diverged last.

    Values stand next to those of the same rung only, and whatever compares designs takes a whole
    rung: there is no way to compare values of two.
    """

    rung: Annotated[int, Field(description="From 0.")]
    tokens: Annotated[int, Field(description="Of every training of this rung.")]
    entries: tuple[RungEntry, ...]

    @property
    def sound(self) -> tuple[RungEntry, ...]:
        """Those that did not diverge."""
        return tuple(entry for entry in self.entries if entry.values is not None)

    def values_of(self, spec_hash: str) -> tuple[float, ...] | None:
        """Return the values of a design, None if it is not on this rung or diverged there."""
        return next((e.values for e in self.entries if e.spec_hash == spec_hash), None)

    @property
    def kept(self) -> tuple[RungEntry, ...]:
        """Those that went on."""
        return tuple(entry for entry in self.entries if entry.kept)


class RankAgreement(_Result):
    """How well two conditions rank the same designs by the judged metric: by ranks alone.

    Attributes:
        of: Their names, such as ``rung 0`` and ``rung 1``.
        designs: How many were ranked by both.
        spearman: Rank correlation; None for fewer than three designs or where all are equal.
    """

    of: tuple[str, str]
    designs: int
    spearman: float | None

    @property
    def is_low(self) -> bool:
        """Whether one ranking says little of the other."""
        return self.spearman is not None and self.spearman < LOW


class ProxyResult(_Result):
    """What stood for the target in trainings.

    Attributes:
        num_layers: Of the proxy.
        d_model: Of the proxy.
        num_params: Of the proxy of the best design.
        target_num_params: Of the best design.
        check: How a second size ranks some of the designs, None if none was asked for.
        check_d_model: Its width.
    """

    num_layers: int
    d_model: int
    num_params: int
    target_num_params: int
    check: RankAgreement | None = None
    check_d_model: int | None = None
