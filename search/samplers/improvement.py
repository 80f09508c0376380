"""How much a design may improve a study: expected improvement, averaged over what may be paid.

With one objective this is expected improvement. With priced objectives it is the expected gain in
hypervolume: for every combination of prices somebody may want to pay, the gain over the best design
that keeps to them (prices are known exactly, so only the first loss is uncertain).
"""

from __future__ import annotations

import numpy as np
from scipy.special import erfcx, log_ndtr, logsumexp

from archspec.search.features import Floats

_HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


class Improvement:
    """Judges designs by mean, deviation and prices. G priced goals, S combinations of prices.

    Attributes:
        limits: The combinations, [S, G]; one of width 0 if nothing is priced.
        best: The least loss that each of them buys so far, [S].
    """

    def __init__(self, means: Floats, prices: Floats, limits: Floats) -> None:
        """Look up what has been reached.

        Args:
            means: Expected losses of evaluated designs, [N].
            prices: Their prices, less being better, [N, G].
            limits: Combinations of prices that somebody may want to pay, [S, G].
        """
        self.limits = limits
        affordable = (prices[:, None, :] <= limits).all(axis=2)  # [N, S]
        # What nothing evaluated can be bought for is compared with the worst.
        self.best: Floats = np.where(affordable, means[:, None], means.max()).min(axis=0)

    def log(self, means: Floats, deviations: Floats, prices: Floats) -> Floats:
        """Return the logarithm of the expected improvement of designs, [N]."""
        affordable = (prices[:, None, :] <= self.limits).all(axis=2)
        ahead = (self.best - means[:, None]) / deviations[:, None]
        gains = np.where(affordable, _log_gain(ahead), -np.inf) + np.log(deviations)[:, None]
        with np.errstate(divide="ignore"):
            total: Floats = logsumexp(gains, axis=1)
        return total


def _log_gain(ahead: Floats) -> Floats:
    """Return log E max(0, ahead + z) of a standard normal z, exact where that underflows.

    For negative a, E = phi(a) (1 + a Phi(a) / phi(a)), and the ratio is a scaled erfc (Ament et
    al. 2023, "Unexpected improvements to expected improvement").
    """
    low = np.minimum(ahead, -1.0)
    tail = 1 + low * np.sqrt(np.pi / 2) * erfcx(-low / np.sqrt(2))
    # 1 - |a| m(a) loses its digits far out, where it is 1 / a ** 2.
    tail = np.where(low < -1e4, low**-2.0, np.maximum(tail, 1e-16))
    high = np.maximum(ahead, -1.0)
    density = np.exp(-(high**2) / 2 - _HALF_LOG_2PI)
    exact = np.log(density + high * np.exp(log_ndtr(high)))
    found: Floats = np.where(ahead < -1, -(low**2) / 2 - _HALF_LOG_2PI + np.log(tail), exact)
    return found
