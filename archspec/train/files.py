"""Files that are there in full or not at all, whatever moment the process dies at."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from archspec.errors import RunError

# Directories in the making, or on their way out, start with it; no reader takes them for real.
UNFINISHED = ".unfinished-"


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Give a directory to fill; it gets its name only once all of it is on the disk.

    Raises:
        FileExistsError: Something of that name appeared meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{path.name}-", dir=path.parent))
    try:
        yield draft
        for file in draft.rglob("*"):
            sync(file)
        sync(draft)
        draft.chmod(0o755)  # mkdtemp makes it private
        draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync(path.parent)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; it gets its name only once all of it is on the disk.

    Raises:
        RunError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f"{UNFINISHED}{path.name}-", dir=path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        sync(draft)
        draft.chmod(0o644)  # mkstemp makes it private
        draft.rename(path)
        sync(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        draft.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(
        f"{path}: cannot be written: {error.strerror or error}; free space, or name another place"
    )


def remove_directory(path: Path) -> None:
    """Remove a directory so that no half of it is left under its name."""
    doomed = path.with_name(f"{UNFINISHED}{path.name}")
    path.rename(doomed)
    shutil.rmtree(doomed)


def sweep(folder: Path) -> None:
    """Remove what processes that died left unfinished in ``folder``."""
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def replace_text(path: Path, text: str) -> None:
    """Replace a file's content at once; several processes may. Raises RunError."""
    with new_file(path) as file:
        file.write(text.encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON map. Raises RunError."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"{path}: cannot be read: {reason}") from error
    except ValueError as error:  # bad JSON, or no text at all
        raise RunError(f"{path}: is damaged: {error}") from None
    if not isinstance(content, dict):
        raise RunError(f"{path}: is damaged: it holds a {type(content).__name__} and not a map")
    return content


def sync(path: Path) -> None:
    """Wait until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock_directory(path: Path, *, activity: str, shared: bool = False) -> Iterator[None]:
    """Keep a second process out of a directory; the lock goes with the process.

    Args:
        path: The directory.
        activity: What the process that holds it is doing, for the message.
        shared: Let in others that share it as well.

    Raises:
        RunError: Another process holds it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{path}: another process is {activity} in it; wait for it or stop it"
            ) from None
        yield
    finally:
        os.close(descriptor)
