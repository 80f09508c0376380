"""Keeps stdout for results, whatever a library prints past Python."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


class Stdout:
    """The descriptor 1, which can be turned to stderr for a while, from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._kept: int | None = None

    @contextlib.contextmanager
    def kept_clean(self) -> Iterator[None]:
        """Send what is printed meanwhile to stderr.

        HiGHS prints a line now and then, past every option that silences it.
        """
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._turn()
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._turn_back()

    def _turn(self) -> None:
        with contextlib.suppress(OSError):  # one of the two is closed, and nobody reads it
            os.fstat(2)
            self._kept = os.dup(1)
            os.dup2(2, 1)

    def _turn_back(self) -> None:
        if self._kept is not None:
            os.dup2(self._kept, 1)
            os.close(self._kept)
            self._kept = None


STDOUT = Stdout()
