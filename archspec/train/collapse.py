"""Warns when training uses ever fewer slots or experts; torch-free."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.spec.watch import Collapse
from archspec.train.events import ExpertUse, TableUse, Usage, Warned

# Fewer picks an expert than this on average, and one without a token may be chance (e ** -16).
_ENOUGH = 16
# With few experts a good share of the tokens each is a fair share.
_UNFAIR = 1.5


class CollapseWatch:
    """Follows reports of usage, and warns once when a bound stays broken.

    Args:
        settings: The bounds.
    """

    def __init__(self, settings: Collapse) -> None:
        self._settings = settings
        reports = settings.reports
        self._since = f"in {reports} reports on end" if reports > 1 else "in this report"
        self._broken: dict[str, int] = {}  # by subject, in how many reports on end

    def check(self, usage: Usage) -> Iterator[Warned]:
        """Yield a warning for each subject that broke a bound in enough reports on end."""
        faults = {use.name: self._table_fault(use) for use in usage.tables if use.reader is None}
        faults |= {use.name: self._expert_fault(use) for use in usage.experts}
        for subject, fault in faults.items():
            self._broken[subject] = self._broken.get(subject, 0) + 1 if fault else 0
            if fault and self._broken[subject] == self._settings.reports:
                yield Warned(step=usage.step, subject=subject, message=fault)

    def _table_fault(self, use: TableUse) -> str | None:
        bounds = self._settings
        fine = use.entropy >= bounds.entropy and use.touched >= bounds.touched * use.even
        if fine or use.hashed:
            return None
        touched, even = round(use.touched * use.slots), round(use.even * use.slots)
        return (
            f"few slots are used: entropy {use.entropy:.2f} (bound {bounds.entropy:g}), "
            f"{touched:,} of {use.slots:,} slots touched where even use would touch {even:,} "
            f"(bound {bounds.touched:.0%} of that), {self._since}; set qk_norm: true in its "
            "readers, lengthen schedule.warmup_tokens or lower optimizer.lr"
        )

    def _expert_fault(self, use: ExpertUse) -> str | None:
        bounds = self._settings
        most = max(use.load)
        ways_out = "raise losses.load_balance, or set routing_bias: true in the block"
        if use.entropy < bounds.entropy:
            return (
                f"few experts are used: entropy {use.entropy:.2f} (bound {bounds.entropy:g}), the "
                f"busiest gets {most:.0%} of the tokens, {self._since}; {ways_out}"
            )
        if most > bounds.expert_share and use.imbalance > _UNFAIR:
            return (
                f"expert {use.load.index(most)} gets {most:.0%} of the tokens (bound "
                f"{bounds.expert_share:.0%}), {use.imbalance:.1f} times the mean, {self._since}; "
                f"{ways_out}"
            )
        if use.dead and use.tokens * sum(use.load) >= _ENOUGH * len(use.load):
            idle = [index for index, load in enumerate(use.load) if not load]
            return (
                f"{use.dead} of {len(use.load)} experts get no token (the first is expert "
                f"{idle[0]}), {self._since}; {ways_out}"
            )
        return None
