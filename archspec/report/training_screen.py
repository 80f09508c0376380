"""The live view of a run, drawn from its state for a terminal of any size."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from archspec.report.curve import bounds, draw
from archspec.report.training_state import TrainingState
from archspec.report.usage import usage_tables
from archspec.units import format_bytes, format_count, format_seconds

_WIDE = 140  # from here on use stands beside the numbers
_FACTS = 36  # columns of the numbers
_CURVE_LINES = 6
_NARROWEST = 16  # columns of a curve and its range
_OTHER_LINES = 5  # the bar, the metrics and what separates them


def training_screen(state: TrainingState, *, width: int, height: int) -> RenderableType:
    """Draw where a run stands.

    Args:
        state: The run, begun.
        width: Columns of the terminal.
        height: Its lines; use of many tables and experts is cut to fit.
    """
    wide = width >= _WIDE
    half = (width - 4) // 2 if wide else width
    facts = list(_facts(state))
    top = _beside(_fact_table(facts), _curve(state, half - _FACTS - 2), half)
    parts: list[RenderableType] = [_bar(state, width), ""]
    lines = height - (_OTHER_LINES if wide else _OTHER_LINES + max(len(facts), _CURVE_LINES + 1))
    use = usage_tables(state.usage, width=half, lines=lines)
    if wide and use:
        parts.append(_beside(top, Group(*use), width))
    else:
        parts.append(top)
        parts += [part for table in use for part in ("", table)]
    metrics = _metrics(state)
    return Group(*parts, *(("", metrics) if metrics else ()))


def _bar(state: TrainingState, width: int) -> RenderableType:
    start, last = state.start, state.last
    assert start is not None, "a screen before the start"
    step = start.step if last is None else last.step
    left = state.seconds_left
    counts = f"step {step:,} of {start.num_steps:,}"
    rest = f"{step / start.num_steps:.1%}" + (f"  {format_seconds(left)} left" if left else "")
    table = Table.grid(padding=(0, 1))
    bar = ProgressBar(start.num_steps, step, width=max(4, width - len(counts) - len(rest) - 2))
    table.add_row(Text(counts, "bold"), bar, Text(rest))
    return table


def _facts(state: TrainingState) -> Iterator[tuple[str, str]]:
    start, last = state.start, state.last
    assert start is not None, "a screen before the start"
    if last is None:
        yield "first step", "running"
        return
    yield "loss", f"{state.loss:.4f}, lowest {state.lowest:.4f}"
    yield "grad norm", f"{last.grad_norm:.3g}"
    tables = "" if last.table_lr is None else f", tables {last.table_lr:.3g}"
    yield "rate", f"{last.lr:.3g}{tables}"
    yield "speed", f"{format_count(state.tokens_per_second)} tokens/s"
    if state.peak_share is not None and start.peak is not None:
        what = "measured peak" if start.peak.measured else "peak (MFU)"
        yield "", f"{state.peak_share:.1%} of {what}"
    if last.memory_bytes is not None:
        yield "memory", f"{format_bytes(last.memory_bytes)} at most"
    if start.num_ranks > 1:
        yield "ranks", f"{start.num_ranks}, {start.device}"
    yield "tokens", format_count(last.tokens)
    for source in start.data:
        epochs = source.epochs(last.tokens)
        if epochs is not None:
            yield "", f"{epochs:.2f} epochs of {source.name}"
    for name, value in last.auxiliary.items():
        yield name.replace("_", " "), f"{value:.4g}"


def _fact_table(facts: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    for name, value in facts:
        table.add_row(Text(name), Text(value))
    return table


def _curve(state: TrainingState, width: int) -> RenderableType:
    """Draw the loss, with its range at the left."""
    points = state.curve.points
    if len(points) < 2 or width < _NARROWEST:
        return ""
    first, last, low, high = bounds([points])
    marks = [f"{high:.2f}", *[""] * (_CURVE_LINES - 2), f"{low:.2f}"]
    margin = max(map(len, marks))
    lines = draw([points], width=width - margin - 2, height=_CURVE_LINES, styles=["cyan"])
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    for mark, line in zip(marks, lines, strict=True):
        table.add_row(mark, line)
    table.add_row("", Text(f"loss, steps {first:,.0f} to {last:,.0f}", "dim"))
    return table


def _metrics(state: TrainingState) -> RenderableType | None:
    if state.evaluation is None:
        return None
    pairs = (f"{name} {value:.4g}" for name, value in state.evaluation.metrics.items())
    line = f"measured after step {state.evaluation.step:,}:  " + "  ".join(pairs)
    return Text(line)


def _beside(left: RenderableType, right: RenderableType, width: int) -> Table:
    table = Table.grid(padding=(0, 2), expand=False)
    first = _FACTS if width < _WIDE else (width - 4) // 2
    table.add_column(width=first, no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True)
    table.add_row(left, right)
    return table
