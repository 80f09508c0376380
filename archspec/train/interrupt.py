"""Ctrl-C and SIGTERM as a question that the loop asks between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A terminal, a scheduler and a launcher may each pass one request on; people repeat it later.
SAME_REQUEST = 1.0


class StopRequest:
    """Tells whether somebody asked this process to stop; ranks agree on the step when."""

    def __init__(self) -> None:
        self.asked = False


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Note the first Ctrl-C or SIGTERM instead of dying of it; a later one acts as it always does.

    Those that follow within ``SAME_REQUEST`` seconds repeat the first.
    Signals reach a process's main thread only; in another thread nothing changes.
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
