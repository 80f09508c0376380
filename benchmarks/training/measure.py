"""Run tasks: everybody takes two steps to be compared, then rounds."""

from __future__ import annotations

import datetime
import gc
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from archspec.bench.contest import OURS, Entrant, Way, disagreement
from archspec.bench.machine import free_bytes, machine
from archspec.bench.results import Timing
from archspec.bench.timing import Clock, Rounds, run_rounds
from archspec.units import format_bytes, format_duration
from benchmarks.training.report import Report, Row, threads_text
from benchmarks.training.tasks import Task

CPU = torch.device("cpu")
ROUNDS = Rounds(least=7, most=31, budget=6.0, patience=24.0)
QUICK_ROUNDS = Rounds(least=3, most=3, budget=0.0, patience=60.0)
Progress = Callable[[str], None]


def run_tasks(tasks: Iterable[Task], *, quick: bool, progress: Progress) -> Report:
    """Measure tasks, and say after each what came out."""
    start, rows = time.monotonic(), []
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    before = torch.get_num_threads()
    for task in tasks:
        torch.set_num_threads(task.threads)
        rows.append(_measured(task, QUICK_ROUNDS if quick else ROUNDS))
        gc.collect()  # modules are cyclic; the next task wants the memory
        progress(describe(rows[-1]))
    torch.set_num_threads(before)
    return Report(
        machine=machine(CPU),
        started=started,
        seconds=time.monotonic() - start,
        quick=quick,
        rows=tuple(rows),
    )


def describe(row: Row) -> str:
    """Write a row in one line, as it is shown while the run goes on."""
    head = f"{row.case} {row.label}, {row.dtype}, {threads_text(row)}"
    if row.skipped is not None:
        return f"{head}: skipped, {row.skipped}"
    parts = [format_duration(row.ours.median)]
    for timing in row.others:
        ratio = row.ratio(timing.name)
        parts.append(f"{timing.name} {f'{ratio.median:.2f}x' if ratio else timing.skipped}")
    return f"{head}: {', '.join(parts)}"


def _measured(task: Task, rounds: Rounds) -> Row:
    if task.missing is not None:
        return _row(task, [Timing(name=OURS)], skipped=task.missing)
    ways, timings = _enter(task)
    if OURS not in ways:
        return _row(task, timings, skipped=timings[0].skipped)
    for way in ways.values():
        way.run(way.prepare(1))
    times = run_rounds(Clock(CPU), ways, rounds)
    measured = [
        Timing(name=timing.name, seconds=tuple(times[timing.name]))
        if timing.name in ways
        else timing
        for timing in timings
    ]
    return _row(task, measured)


def _enter(task: Task) -> tuple[dict[str, Way], list[Timing]]:
    """Let everybody take two steps; return those who did as ours did, and a word on the others."""
    ways: dict[str, Way] = {}
    timings, ours = [], None
    for entrant in task.draw():
        refusal = entrant.refusal or _shortage(entrant)
        if refusal is not None:
            timings.append(Timing(name=entrant.name, skipped=refusal))
            continue
        way = entrant.enter()
        found = _two_steps(way)
        ours = found if ours is None else ours
        fault = _fault(found, ours, task.tolerances)
        timings.append(Timing(name=entrant.name, skipped=fault, disagrees=fault is not None))
        if fault is None:
            ways[entrant.name] = way
    return ways, timings


def _two_steps(way: Way) -> list[Sequence[Tensor]]:
    assert way.outputs is not None, "whoever trains has results to compare"
    return [
        [output.detach().clone() for output in way.outputs(way.run(way.prepare(0)))]
        for _ in range(2)
    ]


def _fault(
    found: Sequence[Sequence[Tensor]],
    ours: Sequence[Sequence[Tensor]],
    tolerances: tuple[float, float],
) -> str | None:
    faults = map(disagreement, found, ours, tolerances)
    return next((f"step {step}: {fault}" for step, fault in enumerate(faults, 1) if fault), None)


def _shortage(entrant: Entrant) -> str | None:
    free = free_bytes(CPU)
    if entrant.needs <= free:
        return None
    return f"it takes {format_bytes(entrant.needs)}, and {format_bytes(free)} may be taken"


def _row(task: Task, timings: Sequence[Timing], skipped: str | None = None) -> Row:
    return Row(
        case=task.case,
        label=task.label,
        size=task.size,
        dtype=task.dtype,
        threads=task.threads,
        ours=timings[0],
        others=tuple(timings[1:]),
        skipped=skipped,
    )
