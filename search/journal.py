"""A study as a file of JSON lines that survives writers which die, and that any Optuna can read.

Every writer repairs what a dead one left: half a line is blanked where it stands and the next
record follows on the same line, so no byte moves and a repair that comes late repeats itself.
Nothing in the file is ever taken for anything but JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal._base import BaseJournalBackend

from archspec.errors import RunError

_GRACE = 10.0  # a journal is locked for milliseconds; after so many seconds its owner is dead
_LONGEST_PAUSE = 0.05
_SHOWN = 40  # bytes of a damaged line in its message


class JournalFile(BaseJournalBackend):
    """The records of a journal file.

    Args:
        path: The file; it is made if it does not exist.
        notify: Hears what was repaired.
    """

    def __init__(self, path: Path, notify: Callable[[str], None]) -> None:
        self._path = path
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))
        self._notify = notify
        self._read = (0, 0)  # records read, and where the next one begins
        if not path.exists():
            path.touch()

    @property
    def last_line(self) -> int:
        """The line of the record that was read last, from 1."""
        return self._read[0]

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield the records from a number on, oldest first.

        Raises:
            RunError: A line is damaged beyond repair, or the file was replaced by a shorter one.
        """
        number, offset = self._read if self._read[0] <= log_number_from else (0, 0)
        with self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < offset:
                raise RunError(f"{self._path}: is shorter than it was; put back the whole file")
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written, or left by a writer that died
                wanted = number >= log_number_from
                record = self._record(line, number, offset) if wanted else {}
                number, offset = number + 1, offset + len(line)
                self._read = number, offset
                if wanted:
                    yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add records; they are on the disk when this returns. Raises OSError."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._lock:
            self._blank_half_line()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                rest = lines.encode()
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _blank_half_line(self) -> None:
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start, tail = size, b""
            while start and b"\n" not in tail:
                begin = max(0, start - 4096)
                file.seek(begin)
                tail = file.read(start - begin) + tail
                start = begin
        half = tail[tail.rfind(b"\n") + 1 :]
        if half.strip(b" "):
            self._blank(size - len(half), len(half))
            self._notify(
                f"{self._path}: blanked {len(half)} bytes of a record whose writer had died"
            )

    def _record(self, line: bytes, number: int, offset: int) -> dict[str, Any]:
        found = _parse(line)
        if found is not None:
            return found
        # A writer without our repair went on behind the half line of one that died.
        for start in _starts(line):
            found = _parse(line[start:])
            if found is not None:
                self._blank(offset, start)
                self._notify(f"{self._path}:{number + 1}: blanked {start} bytes before a record")
                return found
        raise RunError(
            f"{self._path}:{number + 1}: is no record of a study: {line[:_SHOWN]!r}; put back a "
            "copy of the file, or move it away and go on by --resume: designs whose outcome is "
            "remembered beside it are not trained again"
        )

    def _blank(self, offset: int, length: int) -> None:
        # Not by a descriptor with O_APPEND, with which Linux would write at the end.
        descriptor = os.open(self._path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, b" " * length, offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class FileLock:
    """A file that exists while somebody writes; Optuna's own journal locks respect it.

    Made by O_EXCL, which holds on network disks too. A lock that stays the same for longer than
    any writing takes, by the clock of whoever waits, is broken.

    Args:
        path: Of the lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine: tuple[int, int] | None = None

    def __enter__(self) -> None:
        pause, seen, since = 0.001, None, time.monotonic()
        while not self._take():
            found = self._identity()
            if found != seen:
                seen, since = found, time.monotonic()
            elif found is not None and time.monotonic() - since > _GRACE:
                self._break(found)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def __exit__(self, *_error: object) -> None:
        if self._identity() == self._mine:
            self._path.unlink(missing_ok=True)

    def _take(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            self._mine = _identity(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        return True

    def _identity(self) -> tuple[int, int] | None:
        try:
            return _identity(self._path.lstat())
        except FileNotFoundError:
            return None

    def _break(self, found: tuple[int, int]) -> None:
        """Take a dead writer's lock away; of several who try, one renames it."""
        doomed = self._path.with_name(f"{self._path.name}-{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):
            if self._identity() == found:
                self._path.rename(doomed)
                doomed.unlink()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_mtime_ns


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:  # bad JSON, or no text at all
        return None
    return found if isinstance(found, dict) and "op_code" in found else None


def _starts(line: bytes) -> Iterator[int]:
    start = line.find(b'{"op_code"', 1)
    while start > 0:
        yield start
        start = line.find(b'{"op_code"', start + 1)
