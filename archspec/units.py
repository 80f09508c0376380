"""Read and write numbers with units: ``2GiB``, ``1.05x``, ``138.75 B``."""

from __future__ import annotations

import re

BYTE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
COUNT_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12, "P": 10**15}
_AMOUNT = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z]*)\s*")


def _split(text: str) -> tuple[float, str]:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a number with an optional unit, got {text!r}")
    return float(match[1].replace("_", "")), match[2]


def parse_amount(value: int | float | str, units: dict[str, int]) -> int:
    """Turn ``value`` into a whole number of base units.

    Args:
        value: A number, or text such as ``"2GiB"`` or ``"1.5M"``.
        units: Unit name to size, ``BYTE_UNITS`` or ``COUNT_UNITS``.

    Raises:
        ValueError: If the text is no number, or its unit is not one of ``units``.
    """
    if not isinstance(value, str):
        return round(value)
    number, unit = _split(value)
    if not unit:
        return round(number)
    if unit not in units:
        known = ", ".join(name for name in units if name)
        raise ValueError(f"unknown unit {unit!r} in {value!r}; known units: {known}")
    return round(number * units[unit])


def parse_ratio(text: str) -> float | None:
    """Return the factor of text such as ``"1.05x"``, or None if it is no such text."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*x\s*", text)
    return None if match is None else float(match[1])


def _scaled(value: float, steps: list[tuple[float, str]]) -> str:
    for size, unit in steps:
        if abs(value) >= size:
            digits = value / size
            places = 2 if digits < 10 else 1 if digits < 100 else 0
            return f"{digits:.{places}f} {unit}"
    return f"{value:.0f}" if value == int(value) else f"{value:.3g}"


def format_count(value: float) -> str:
    """Write a count with three digits or so.

    >>> format_count(138_747_600_896), format_count(0), format_count(1536)
    ('139 B', '0', '1.54 k')
    """
    return _scaled(value, [(1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")])


def format_flops(value: float) -> str:
    """Write a number of FLOPs with its prefix.

    >>> format_flops(2_760_900_608)
    '2.76 GFLOP'
    """
    steps = [(10.0 ** (3 * power), f"{'kMGTPEZY'[power - 1]}FLOP") for power in range(8, 0, -1)]
    text = _scaled(value, steps)
    return text if text.endswith("P") else f"{text} FLOP"


def format_bytes(value: float) -> str:
    """Write a number of bytes in binary units.

    >>> format_bytes(2**31), format_bytes(100)
    ('2.00 GiB', '100 B')
    """
    steps = [(2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB")]
    text = _scaled(value, steps)
    return text if text.endswith("iB") else f"{text} B"


def format_decimal(value: float, unit: str) -> str:
    """Write a figure as data sheets do, in powers of ten.

    >>> format_decimal(3.35e12, "B"), format_decimal(989e12, "FLOP/s")
    ('3.35 TB', '989 TFLOP/s')
    """
    return _scaled(value, [(1e12, f"T{unit}"), (1e9, f"G{unit}"), (1e6, f"M{unit}")])


def format_seconds(value: float) -> str:
    """Write a duration the way people say it.

    >>> format_seconds(3.2), format_seconds(75), format_seconds(3700)
    ('3.2 s', '1 min 15 s', '1 h 1 min')
    """
    if value < 10:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes == 0:
        return f"{seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def format_duration(value: float) -> str:
    """Write a time that may be far below a second.

    >>> format_duration(0.0123), format_duration(4.2e-5), format_duration(75)
    ('12.3 ms', '42.0 us', '1 min 15 s')
    """
    if value >= 10:
        return format_seconds(value)
    return _scaled(value, [(1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")]) if value else "0"
