"""A search while it runs: on a terminal a live table under a line per training, else the lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from archspec.report.search import budget_use, space_lines
from archspec.search.events import Finished, Listener, Plan, Started
from archspec.search.results import SearchResults
from archspec.units import format_seconds

_SHOWN = 16  # trainings in the table; more would not fit on a screen


class SearchView(Listener):
    """Shows a search's progress; a context manager, so that the live table always goes away."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._plan: Plan | None = None
        self._current: dict[Started, float] = {}
        self._last: Finished | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def on_plan(self, event: Plan) -> None:
        """Print what is about to happen, and open the table."""
        self._plan = event
        for line in space_lines(event.space, event.budgets):
            self._print(line)
        first = ", ".join(event.hand_designs) or "none fits"
        self._print(
            f"{event.trials} trials by {event.sampler}; first the hand designs: {first}; then the "
            f"finalists again with fresh seeds: about {event.trainings} trainings"
        )
        if event.done:
            self._print(f"{event.done} trials were done before; going on")
        header = ("design", event.metric, "time", budget_use(event.budgets), "from")
        self._print_row(self._line("trial", *header))
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._table,
                console=self._console,
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()

    def on_start(self, event: Started) -> None:
        """Show what is being trained."""
        self._current[event] = time.monotonic()

    def on_finish(self, event: Finished) -> None:
        """Print a line."""
        assert self._plan is not None, "a training before the plan"
        self._last = event
        started = event.started
        self._current.pop(started, None)
        value = "diverged" if event.value is None else f"{event.value:.4f}"
        if started.stage == "trial" and event.best and event.value == event.best.value:
            value += " *"
        self._print_row(
            self._line(
                _number(started),
                _design(started),
                value,
                f"{event.seconds:.0f} s",
                budget_use(self._plan.budgets, event.prices),
                started.source,
            )
        )

    def on_drop(self, event: Started) -> None:
        """Forget what was cut short."""
        self._current.pop(event, None)

    def on_notice(self, text: str) -> None:
        """Print it above the table."""
        self._print(text)

    def on_end(self, results: SearchResults) -> None:
        """Take the table away."""
        self._stop()

    def note(self, text: str) -> None:
        """Print a remark beside the progress."""
        self._stop()
        self._print(text)

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)  # commands and logs stay in one piece

    def _print_row(self, line: str) -> None:
        """Print a line of the table, which stays one line in a file."""
        self._console.print(Text(line), soft_wrap=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        """Draw where the search stands."""
        assert self._plan is not None, "the table is opened by the plan"
        table = Table.grid(padding=(0, 2))
        best = self._last.best if self._last else None
        if best is not None:
            table.add_row(
                "best so far",
                Text(f"{best.placement} {best.pools}".strip(), style="bold"),
                f"{best.value:.4f}, trial {best.trial} ({best.source})",
            )
        for now, since in list(self._current.items())[:_SHOWN]:
            took = format_seconds(time.monotonic() - since)
            table.add_row(
                f"now {_number(now)}",
                Text(_design(now)),
                Text(f"{took} at {now.worker}" if now.worker else took),
            )
        if len(self._current) > _SHOWN:
            table.add_row("", f"and {len(self._current) - _SHOWN} more", "")
        done = self._last.done if self._last else self._plan.done
        trainings = self._last.trainings if self._last else self._plan.trainings
        left = f"about {format_seconds(self._last.seconds_left)} left" if self._last else ""
        table.add_row("trainings", f"{done} of {trainings}", left)
        return table

    def _line(
        self, number: str, design: str, value: str, seconds: str, use: str, source: str
    ) -> str:
        """Write a row; placements of deep models get the room that they need."""
        assert self._plan is not None, "lines come after the plan"
        space = self._plan.space
        pools = sum(len(f" {name} {max(sizes)}²") for name, sizes in space.pools.items())
        letters = max(min(2 * space.num_layers, 24), round(1.3 * space.num_layers))
        wide = max(20, letters + pools)
        text = f"{number:<11} {design:<{wide}} {value:<9} {seconds:>5}  {use}  {source}"
        return text.rstrip()


_STAGES = {"trial": "", "re-run": "again "}


def _number(started: Started) -> str:
    """Write which training of its stage it is, ``3/20`` of the trials, ``again 1/6`` and so on."""
    mark = _STAGES.get(started.stage, f"{started.stage} ")
    return f"{mark}{started.number}/{started.planned}"


def _design(started: Started) -> str:
    return " ".join(filter(None, (started.placement, started.pools)))
