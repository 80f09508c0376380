"""From paths and patterns to files that are there, and one message for each that is not."""

from __future__ import annotations

import contextlib
import glob
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from archspec.errors import DataError

START = "relative paths start from the train document"


def find_files(patterns: Sequence[str]) -> tuple[Path, ...]:
    """Return the files that paths and patterns mean, those of one pattern in sorted order.

    Raises:
        DataError: There is none for a pattern, a path is no file, or a file is named twice.
    """
    found = tuple(itertools.chain.from_iterable(map(_expand, patterns)))
    seen: set[Path] = set()
    for path in found:
        _check_file(path)
        if path in seen:
            raise DataError(f"{path}: is named twice; leave one out, or raise the source's weight")
        seen.add(path)
    return found


def _expand(pattern: str) -> list[Path]:
    if Path(pattern).exists() or not glob.has_magic(pattern):
        return [Path(pattern)]
    paths = sorted(Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207 -- Path.glob takes no absolute pattern
    files = [path for path in paths if path.is_file()]
    if not files:
        raise DataError(f"{pattern}: no file matches this pattern; {START}")
    return files


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(
            f"{path}: is a directory; name the files in it, for example by the pattern {path}/*"
        )
    with reading(path), path.open("rb"):
        pass


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into a DataError that says whose file it is."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; {START}") from None
    except PermissionError:
        raise DataError(
            f"{path}: may not be read by this user; change the file's permissions, or run as its "
            "owner"
        ) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be read: {reason}") from None
