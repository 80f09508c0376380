"""Measure tasks one after the other: draw, compare, warm up, then rounds."""

from __future__ import annotations

import datetime
import gc
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from archspec.bench.contest import Contest, Entrant, Task, Way, disagreement
from archspec.bench.machine import free_bytes, machine
from archspec.bench.observed import observed_words
from archspec.bench.results import Report, Row, Timing
from archspec.bench.timing import Clock, Rounds, copy_way, run_rounds
from archspec.units import format_bytes, format_duration

COPY = "copy"
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Run:
    """How often everybody runs, and for how long.

    Args:
        rounds: Of each task.
        copy_bytes: Size of the buffer that is copied beside everybody, far beyond any cache.
        time_limit: Seconds of the whole run after which the remaining tasks are skipped.
    """

    rounds: Rounds
    copy_bytes: int
    time_limit: float = float("inf")


RUNS = {
    "cpu": Run(rounds=Rounds(least=7, most=15, budget=3.0, patience=20.0), copy_bytes=1 << 27),
    "cuda": Run(
        rounds=Rounds(least=50, most=100, budget=1.0, patience=10.0),
        copy_bytes=1 << 30,
        time_limit=420.0,
    ),
}
QUICK_RUN = Run(rounds=Rounds(least=3, most=3, budget=0.0, patience=60.0), copy_bytes=1 << 20)


def run_tasks(
    tasks: Sequence[Task],
    device: torch.device,
    run: Run,
    *,
    quick: bool = False,
    progress: Progress = lambda _: None,
) -> Report:
    """Measure tasks, and say after each what came out.

    Args:
        tasks: What to measure.
        device: Where.
        run: How often and for how long.
        quick: Whether the sizes are tiny, for the report.
        progress: Takes a line of text.

    Returns:
        Raw times; a stock way with another result than ours has none, see
        :meth:`~archspec.bench.results.Report.require_agreement`.
    """
    start = time.monotonic()
    bench = _Bench(device, run)
    rows = []
    for number, task in enumerate(tasks, 1):
        late = time.monotonic() - start > run.time_limit
        reason = f"the time limit of {run.time_limit:.0f} s is over" if late else None
        rows.append(_skipped(task, reason) if reason else bench.row(task))
        progress(f"[{number}/{len(tasks)}] {describe(rows[-1])}")
    return Report(
        machine=machine(device),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - start,
        quick=quick,
        rows=tuple(rows),
    )


def describe(row: Row) -> str:
    """Write a row in one line, as it is shown while the run goes on."""
    head = f"{row.case} {row.label}".strip()
    if row.skipped is not None:
        return f"{head}: skipped, {row.skipped}"
    parts = [
        f"{row.implementation} {format_duration(row.ours.median)}",
        f"{row.of_copy.median:.2f} of copying",
    ]
    for timing in row.stock:
        ratio = row.ratio(timing.name)
        figure = f"skipped, {timing.skipped}" if ratio is None else f"{ratio.median:.2f}x"
        parts.append(f"{timing.name} {figure}")
    return f"{head}: {', '.join(parts)}"


class _FirstRun(NamedTuple):
    """A way, what it gave, and the words of the implementations that it ran."""

    way: Way
    outputs: tuple[Tensor, ...]
    words: str


class _Bench:
    """What the tasks of a run share: the clock and the copy that rates are compared with."""

    def __init__(self, device: torch.device, run: Run) -> None:
        self.device = device
        self.rounds = run.rounds
        self.clock = Clock(device)
        self.copy, self.copy_bytes = copy_way(device, run.copy_bytes)

    def row(self, task: Task) -> Row:
        """Measure one task."""
        refusal = task.refusal or self._missing(task.needs)
        if refusal is not None:
            return _skipped(task, refusal)
        contest = task.draw()
        try:
            first = _first_run(contest.entrants[0])
        except torch.OutOfMemoryError as error:
            return _skipped(task, _first_line(error))
        ways, skipped, wrong = self._enter(contest, first)
        times = run_rounds(self.clock, {**ways, COPY: self.copy}, self.rounds)
        del ways
        timings = [
            Timing(
                name=entrant.name,
                seconds=tuple(times.get(entrant.name, ())),
                skipped=skipped.get(entrant.name) or wrong.get(entrant.name),
                disagrees=entrant.name in wrong,
            )
            for entrant in contest.entrants
        ]
        return Row(
            case=task.case,
            varied=task.varied,
            size=task.size,
            implementation=contest.implementation or first.words,
            traffic=contest.traffic,
            flops=contest.flops,
            ours=timings[0],
            stock=tuple(timings[1:]),
            copy=Timing(name=COPY, seconds=tuple(times[COPY])),
            copy_bytes=self.copy_bytes,
        )

    def _enter(
        self, contest: Contest, first: _FirstRun
    ) -> tuple[dict[str, Way], dict[str, str], dict[str, str]]:
        """Let the stock ways allocate and run once, to be compared; then everybody to warm up.

        Returns:
            Who is ready; who is not, and why; and who gave another result than ours.
        """
        ours, *stock = contest.entrants
        ways = {ours.name: first.way}
        skipped: dict[str, str] = {}
        wrong: dict[str, str] = {}
        for entrant in stock:
            refusal = entrant.refusal or self._missing(entrant.needs)
            if refusal is not None:
                skipped[entrant.name] = refusal
                continue
            try:
                found = _first_run(entrant)
            except (RuntimeError, NotImplementedError) as error:
                skipped[entrant.name] = _first_line(error)
                continue
            fault = found.outputs and disagreement(found.outputs, first.outputs, contest.tolerance)
            if fault:
                wrong[entrant.name] = fault
            else:
                ways[entrant.name] = found.way
        for way in ways.values():
            self.clock.seconds(way, 1)
        return ways, skipped, wrong

    def _missing(self, needs: int) -> str | None:
        free = free_bytes(self.device)
        if needs > free:
            gc.collect()  # takes a while, so only where memory is short
            free = free_bytes(self.device)
        if needs <= free:
            return None
        return f"it takes {format_bytes(needs)} of memory, and {format_bytes(free)} may be taken"


def _first_run(entrant: Entrant) -> _FirstRun:
    way = entrant.enter()
    state = way.prepare(0)
    with observed_words() as words:
        result = way.run(state)
    outputs = () if way.outputs is None else way.outputs(result)
    return _FirstRun(way, tuple(output.detach() for output in outputs), " + ".join(words))


def _skipped(task: Task, reason: str) -> Row:
    return Row(case=task.case, varied=task.varied, size=task.size, skipped=reason)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:160] if lines else type(error).__name__


def case_names(tasks: Iterable[Task]) -> tuple[str, ...]:
    """Return the cases of tasks, each once."""
    return tuple(dict.fromkeys(task.case for task in tasks))
