"""Measure tasks one after the other: draw, compare, warm up, then rounds."""

from __future__ import annotations

import datetime
import gc
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from archspec.bench.contest import Contest, Entrant, Task, Way, require_equal
from archspec.bench.machine import free_bytes, machine
from archspec.bench.observed import observed_words
from archspec.bench.results import Report, Row, Timing
from archspec.bench.timing import Clock, copy_way, run_rounds
from archspec.units import format_bytes, format_duration

COPY = "copy"
Progress = Callable[[str], None]
Outputs = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How often everybody runs.

    Args:
        least: Rounds of a task at least.
        most: Rounds at most.
        budget: Seconds of a task after which no round begins, once ``least`` are done.
        copy_bytes: Size of the buffer that is copied beside everybody, far beyond any cache.
        time_limit: Seconds of the whole run after which the remaining tasks are skipped.
    """

    least: int
    most: int
    budget: float
    copy_bytes: int
    time_limit: float = float("inf")


ROUNDS = {
    "cpu": Rounds(least=7, most=15, budget=3.0, copy_bytes=1 << 27),
    "cuda": Rounds(least=50, most=100, budget=1.0, copy_bytes=1 << 30, time_limit=420.0),
}
QUICK_ROUNDS = Rounds(least=3, most=3, budget=0.0, copy_bytes=1 << 20)


def run_tasks(
    tasks: Sequence[Task],
    device: torch.device,
    rounds: Rounds,
    *,
    quick: bool = False,
    progress: Progress = lambda _: None,
) -> Report:
    """Measure tasks, and say after each what came out.

    Args:
        tasks: What to measure.
        device: Where.
        rounds: How often.
        quick: Whether the sizes are tiny, for the report.
        progress: Takes a line of text.

    Raises:
        BenchmarkError: A stock way and ours do not give the same result.
    """
    start = time.monotonic()
    bench = _Bench(device, rounds)
    rows = []
    for number, task in enumerate(tasks, 1):
        late = time.monotonic() - start > rounds.time_limit
        reason = f"the time limit of {rounds.time_limit:.0f} s is over" if late else None
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


class _Bench:
    """What the tasks of a run share: the clock and the copy that rates are compared with."""

    def __init__(self, device: torch.device, rounds: Rounds) -> None:
        self.device = device
        self.rounds = rounds
        self.clock = Clock(device)
        self.copy, self.copy_bytes = copy_way(device, rounds.copy_bytes)

    def row(self, task: Task) -> Row:
        """Measure one task."""
        refusal = task.refusal or self._missing(task.needs)
        if refusal is not None:
            return _skipped(task, refusal)
        contest = task.draw()
        ways, skipped, words = self._enter(task, contest)
        times = run_rounds(
            self.clock,
            {**ways, COPY: self.copy},
            least=self.rounds.least,
            most=self.rounds.most,
            budget=self.rounds.budget,
        )
        del ways
        timings = [
            Timing(
                name=entrant.name,
                seconds=tuple(times.get(entrant.name, ())),
                skipped=skipped.get(entrant.name),
            )
            for entrant in contest.entrants
        ]
        return Row(
            case=task.case,
            varied=task.varied,
            size=task.size,
            implementation=contest.implementation or words,
            traffic=contest.traffic,
            flops=contest.flops,
            ours=timings[0],
            stock=tuple(timings[1:]),
            copy=Timing(name=COPY, seconds=tuple(times[COPY])),
            copy_bytes=self.copy_bytes,
        )

    def _enter(self, task: Task, contest: Contest) -> tuple[dict[str, Way], dict[str, str], str]:
        """Let everybody allocate, run once to be compared, and once more to warm up.

        Returns:
            Who is ready, who is not and why, and the words of our implementations.
        """
        ways: dict[str, Way] = {}
        skipped: dict[str, str] = {}
        ways[contest.entrants[0].name], expected, words = _first_run(contest.entrants[0])
        for entrant in contest.entrants[1:]:
            refusal = entrant.refusal or self._missing(entrant.needs)
            if refusal is None:
                try:
                    ways[entrant.name], found, _ = _first_run(entrant)
                except (RuntimeError, NotImplementedError) as error:
                    refusal = _first_line(error)
            if refusal is not None:
                skipped[entrant.name] = refusal
            elif found:
                require_equal(task, entrant.name, found, expected, contest.tolerance)
        for one in ways.values():
            self.clock.seconds(one, 1)
        return ways, skipped, words

    def _missing(self, needs: int) -> str | None:
        free = free_bytes(self.device)
        if needs > free:
            gc.collect()  # takes a while, so only where memory is short
            free = free_bytes(self.device)
        if needs <= free:
            return None
        return f"it takes {format_bytes(needs)} of memory, and {format_bytes(free)} may be taken"


def _first_run(entrant: Entrant) -> tuple[Way, Outputs, str]:
    """Return a way, what it gives, and the words of the implementations that it ran."""
    way = entrant.enter()
    state = way.prepare(0)
    with observed_words() as words:
        result = way.run(state)
    outputs = () if way.outputs is None else way.outputs(result)
    return way, tuple(output.detach() for output in outputs), " + ".join(words)


def _skipped(task: Task, reason: str) -> Row:
    return Row(case=task.case, varied=task.varied, size=task.size, skipped=reason)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:160] if lines else type(error).__name__


def case_names(tasks: Iterable[Task]) -> tuple[str, ...]:
    """Return the cases of tasks, each once."""
    return tuple(dict.fromkeys(task.case for task in tasks))
