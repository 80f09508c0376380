"""Standard output is for what we print: others may read it as JSON."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
from collections.abc import Iterator

_STDOUT = 1


@contextlib.contextmanager
def native_code_silenced() -> Iterator[None]:
    """Drop what libraries print past Python on standard output.

    HiGHS does, a line of its own debugging that no option turns off (jump-dev/HiGHS.jl issue 312).
    Where standard output is not that of the process, nothing is done.
    """
    if _descriptor() != _STDOUT:
        yield
        return
    before, kept = sys.stdout, os.dup(_STDOUT)
    before.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT)
    os.close(nowhere)
    sys.stdout = os.fdopen(
        os.dup(kept),
        "w",
        encoding=before.encoding,
        errors=before.errors,
        buffering=1 if os.isatty(kept) else -1,
    )
    try:
        yield
        sys.stdout.flush()
    finally:
        ours, sys.stdout = sys.stdout, before
        ctypes.CDLL(None).fflush(None)  # the library's buffer, while it leads nowhere
        os.dup2(kept, _STDOUT)
        os.close(kept)
        with contextlib.suppress(BrokenPipeError):  # was raised above, if anybody is to hear of it
            ours.close()


def _descriptor() -> int | None:
    try:
        return sys.stdout.fileno()
    except (AttributeError, ValueError, io.UnsupportedOperation):  # captured, closed, or none
        return None
