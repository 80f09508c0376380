"""Large counts and small shares in words."""

from __future__ import annotations

from archspec.search.share import Share

_SCALES = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"))


def large_number(value: float) -> str:
    """Write a large count the way people say it.

    >>> large_number(3_210_000), large_number(812), large_number(4e19)
    ('3.2 million', '812', '4e+19')
    """
    if value >= 1e15:
        return f"{value:.2g}"
    for size, word in _SCALES:
        if value >= size:
            return f"{value / size:.{1 if value < 100 * size else 0}f} {word}"
    return f"{value:.0f}"


def share_text(share: Share) -> str:
    """Write a share of designs, however small; never 0 where some fit.

    >>> share_text(Share(3.1e-7, error=0.05)), share_text(Share(0.25, exact=True))
    ('about 1 in 3.2 million', '25%')
    """
    if share.value is None:
        return "some, but too few to estimate how many"
    about = "" if share.exact else "about "
    if share.value >= 0.005:
        return f"{about}{share.value:.0%}" if share.value >= 0.095 else f"{about}{share.value:.1%}"
    return f"{about}1 in {large_number(1 / share.value)}" if share.value else "none"
