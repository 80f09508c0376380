"""Whether two ways of judging rank the same designs alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from scipy.stats import spearmanr

from archspec.search.stage_results import RankAgreement, RungResult


def rank_agreement(of: tuple[str, str], pairs: Sequence[tuple[float, float]]) -> RankAgreement:
    """Compare the rankings of designs.

    Args:
        of: What judged.
        pairs: The value of each design by the one and by the other.
    """
    found = math.nan
    firsts, seconds = [a for a, _ in pairs], [b for _, b in pairs]
    if len(pairs) > 2 and len(set(firsts)) > 1 and len(set(seconds)) > 1:
        found = float(spearmanr(firsts, seconds).statistic)
    return RankAgreement(of=of, designs=len(pairs), spearman=None if math.isnan(found) else found)


def rung_agreements(rungs: Sequence[RungResult]) -> tuple[RankAgreement, ...]:
    """Compare each rung with the one below it, over the designs of the upper one.

    These are the best of the lower rung, among which differences are small, so the correlation is
    lower than it would be over all designs.
    """
    found = []
    for lower, upper in itertools.pairwise(rungs):
        before = {entry.spec_hash: entry.values for entry in lower.entries}
        pairs = [
            (values[0], entry.values[0])
            for entry in upper.entries
            if entry.values is not None and (values := before[entry.spec_hash]) is not None
        ]
        found.append(rank_agreement((f"rung {lower.rung}", f"rung {upper.rung}"), pairs))
    return tuple(found)
