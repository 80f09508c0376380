"""A KeyboardInterrupt where one thread trains, asked for by another."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Give what interrupts the code inside once, when another thread calls it there.

    It does so by a signal, as nothing else ends a call that waits for something. SIGINT would not
    do: the background jobs of a batch script ignore it, and should go on ignoring Ctrl-C. SIGURG
    does nothing where nobody handles it, so one that comes too late does no harm, and one that is
    somebody else's interrupts nothing.

    Signals reach a process's main thread only; code in another thread is not interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    here, asked = threading.get_ident(), threading.Event()

    def interrupt() -> None:
        asked.set()
        signal.pthread_kill(here, signal.SIGURG)

    def end(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            asked.clear()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGURG, end)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGURG, before or signal.SIG_DFL)  # None: it was not Python's
