"""A token file while it is written, and what came of it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from archspec.train.data.tokenize import TokenFile
from archspec.units import format_bytes, format_count

PLAIN_INTERVAL = 5.0  # seconds between lines where there is no terminal


class TokenizeView:
    """Shows how far it is: a moving bar on a terminal, otherwise a line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = time.monotonic()
        self._progress = Progress(
            BarColumn(bar_width=40),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, position: int, size: int) -> None:
        """Show how far of how much was read."""
        self._progress.update(self._task, completed=position, total=size)
        if not self._console.is_terminal and time.monotonic() - self._last_line > PLAIN_INTERVAL:
            self._last_line = time.monotonic()
            self._console.print(f"{position / size:.0%} done")


def token_file_line(written: TokenFile) -> str:
    """Say what is in a token file, in a line."""
    size = format_bytes(written.path.stat().st_size)
    return (
        f"Wrote {format_count(written.tokens)} tokens ({written.dtype}, {size}) of "
        f"{written.documents:,} documents to {written.path}; they need vocab_size >= "
        f"{written.vocab_size}. Train on them with `data: [{{tokens: {written.path}}}]`."
    )
