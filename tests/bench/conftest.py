from collections.abc import Callable, Mapping
from typing import Any

import pytest

from archspec.bench.results import Report, Row, Timing

SIZES = {
    "forward": {"width": 256, "slots": 1 << 20, "dtype": "float32", "skew": "uniform"},
    "backward": {"width": 256, "slots": 1 << 20, "dtype": "float32", "skew": "uniform"},
    "step": {"width": 256, "slots": 1 << 20, "dtype": "float32", "skew": "uniform"},
    "topk": {"num_keys": 1024},
    "rank": {"num_keys": 1024},
    "layer": {"num_keys": 1024},
}
ROUNDS = 7


@pytest.fixture
def make_row() -> Callable[..., Row]:
    """Makes a row in which every round took the same time: ours a second, others their ratio."""

    def make(case: str, varied: str = "", *, ratios: Mapping[str, float], **changes: Any) -> Row:
        seconds = changes.pop("seconds", 1.0)
        of_copy = changes.pop("of_copy", 0.5)
        return Row(
            case=case,
            varied=varied,
            size={**SIZES[case], **changes},
            implementation="numba",
            traffic={"table rows": 1000},
            ours=Timing(name="archspec", seconds=(seconds,) * ROUNDS),
            stock=tuple(
                Timing(name=name, seconds=(ratio * seconds,) * ROUNDS)
                for name, ratio in ratios.items()
            ),
            copy=Timing(name="copy", seconds=(of_copy * seconds,) * ROUNDS),
            copy_bytes=1000,
        )

    return make


@pytest.fixture
def make_report() -> Callable[..., Report]:
    def make(*rows: Row, device: str = "cpu", quick: bool = False) -> Report:
        return Report(
            machine={"device": device, "name": "A CPU @ 2.0 GHz", "threads": 2, "versions": {}},
            started="2026-01-01T00:00:00+00:00",
            seconds=1.0,
            quick=quick,
            rows=rows,
        )

    return make
