"""Ctrl-C and SIGTERM as a question that the loop asks between two steps, of all ranks at once."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archspec.train.world import World

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A terminal, a scheduler and a launcher may each pass one request on; people repeat it later.
SAME_REQUEST = 1.0


class StopRequest:
    """Tells whether somebody asked the run to stop.

    Attributes:
        asked: This process was asked, or a rank that it agreed with.
    """

    def __init__(self) -> None:
        self.asked = False

    def agree(self, world: World) -> bool:
        """Tell every rank alike whether one of them was asked: they stop at the same step."""
        self.asked = world.any(self.asked)
        return self.asked


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Note the first Ctrl-C or SIGTERM instead of dying of it; a later one acts as it always does.

    Those that follow within ``SAME_REQUEST`` seconds repeat the first. Signals reach a process's main thread only; in another thread nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    first: list[float] = []

    def note(number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if first and now - first[0] > SAME_REQUEST:
            restore()
            signal.raise_signal(number)
            return
        first.append(now)
        request.asked = True

    for number in SIGNALS:
        before[number] = signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
