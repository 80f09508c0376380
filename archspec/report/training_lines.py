"""What a run reports, a line each: for pipes and log files, and above the live view."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.report.training_state import TrainingState
from archspec.train.events import Evaluation, ExpertUse, Sample, Start, TableUse, Usage, Warned
from archspec.units import format_bytes, format_count, format_flops, format_seconds


def start_lines(start: Start) -> Iterator[str]:
    """Say what begins."""
    if start.step:
        yield f"Going on after step {start.step} of {start.num_steps}."
    if start.num_params:
        ranks = f"{start.num_ranks} ranks on " if start.num_ranks > 1 else ""
        peak = f"; peak {start.peak.source}" if start.peak else ""
        yield (
            f"{format_count(start.num_params)} parameters, "
            f"{format_flops(start.training_flops_per_token)} a token, "
            f"{format_count(start.batch_tokens)} tokens a step; {ranks}{start.device}{peak}"
        )


def status_line(state: TrainingState) -> str:
    """Say where the run stands."""
    start, last = state.start, state.last
    assert start is not None, "a step before the start"
    assert last is not None, "a status before a step"
    parts = [f"loss {state.loss:.4f}", f"{format_count(state.tokens_per_second)} tokens/s"]
    if state.peak_share is not None:
        parts.append(share_text(state, state.peak_share))
    parts += [f"grad norm {last.grad_norm:.3g}", f"lr {last.lr:.3g}"]
    if last.memory_bytes is not None:
        parts.append(format_bytes(last.memory_bytes))
    if state.seconds_left is not None:
        parts.append(f"{format_seconds(state.seconds_left)} left")
    return line(state, last.step, "  ".join(parts))


def share_text(state: TrainingState, share: float) -> str:
    """Write a share of the peak: a vendor's peak makes it an MFU."""
    assert state.start is not None, "a share before the start"
    measured = state.start.peak is not None and state.start.peak.measured
    return f"{share:.1%} of measured peak" if measured else f"MFU {share:.1%}"


def usage_lines(state: TrainingState, usage: Usage) -> Iterator[str]:
    """Say how slots and experts were used."""
    for table in usage.tables:
        yield line(state, usage.step, _table_text(table))
    for experts in usage.experts:
        yield line(state, usage.step, _expert_text(experts))


def _table_text(use: TableUse) -> str:
    by = f" by {use.reader}" if use.reader else ""
    return (
        f"use of {use.name}{by}  touched {use.touched:.1%} (even use {use.even:.1%})  "
        f"entropy {use.entropy:.2f}  top 1% {use.top1:.1%}  dead {use.dead:.1%}"
    )


def _expert_text(use: ExpertUse) -> str:
    return (
        f"load of {use.name}  busiest {max(use.load):.1%} ({use.imbalance:.2f}x the mean)  "
        f"entropy {use.entropy:.2f}  idle {use.dead} of {len(use.load)}"
    )


def evaluation_line(state: TrainingState, event: Evaluation) -> str:
    """Say what was measured."""
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in event.metrics.items())
    return line(state, event.step, f"evaluation  {metrics}")


def sample_line(state: TrainingState, event: Sample) -> str:
    """Say what the model wrote, line breaks and controls escaped."""
    return line(state, event.step, f"sample  {event.prompt!r} -> {event.text!r}")


def warning_line(state: TrainingState, event: Warned) -> str:
    """Say what goes wrong."""
    return line(state, event.step, f"warning: {event.subject}: {event.message}")


def line(state: TrainingState, step: int, text: str) -> str:
    """Begin a line with the step, so that ``grep '^step'`` finds all."""
    assert state.start is not None, "a line before the start"
    return f"step {step}/{state.start.num_steps}  {text}"
