"""Tables of memory and time: what a device holds, and how long each pass takes where."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from archspec.cost.estimates import Estimates, conventions
from archspec.cost.roofline import PartTime, Timing
from archspec.cost.summary import Summary
from archspec.report.summary import block_kinds, layer_runs, span
from archspec.report.tables import plain_table
from archspec.units import format_bytes, format_count, format_duration, format_flops

_Key = tuple[str, int | None]


def estimates_view(estimates: Estimates, summary: Summary, *, unfold: bool = False) -> Group:
    """Return memory and time of training and inference, with conventions below.

    Args:
        estimates: What ``estimate`` returns.
        summary: The books of the same model, for its layers.
        unfold: One row per layer instead of one per run of equal layers.
    """
    parts: list[RenderableType] = [Text(""), Text(_title(estimates), style="bold")]
    parts += [_memory_table(estimates), *map(Text, _notes(estimates))]
    if estimates.step is not None:
        parts += [Text(""), _passes_table(estimates), Text("")]
        parts += [_layers_table(estimates, summary, unfold=unfold)]
    return Group(*parts, Text(""), *map(Text, conventions(estimates)))


def _title(estimates: Estimates) -> str:
    device = estimates.hardware
    return "Memory" if device is None else f"Memory and time on one {device.name}"


def _memory_table(estimates: Estimates) -> Table:
    """Return bytes by role: of training, of its tables if there are any, and of inference."""
    training, inference = estimates.training, estimates.inference
    tables = (
        training.table_weights,
        training.table_masters,
        training.table_gradients,
        training.table_optimizer,
    )
    table = plain_table("memory", "training", *(("tables",) if any(tables) else ()), "inference")
    for column in table.columns[1:]:
        column.justify = "right"
    weights = (training.weights, training.masters, training.gradients, training.optimizer)
    held = inference.weights + inference.tables
    names = ("weights", "masters", "gradients", "optimizer")
    for name, outside, inside in zip(names, weights, tables, strict=True):
        shown = [_size(inside)] if any(tables) else []
        table.add_row(name, _size(outside), *shown, _size(held) if name == "weights" else "")
    empty = [""] if any(tables) else []
    table.add_row("activations", _size(training.activations), *empty, "")
    table.add_row("cache", "", *empty, _size(inference.cache))
    table.add_section()
    both = ["with tables"] if any(tables) else []
    total = (_size(training.total), *both, _size(inference.total))
    table.add_row("total", *total, style="bold")
    return table


def _size(value: float) -> str:
    return format_bytes(round(value))


def _notes(estimates: Estimates) -> Iterator[str]:
    device = estimates.hardware
    yield (
        f"{format_flops(estimates.train_flops_per_token)} to train on a token, "
        f"{_size(estimates.activation_bytes_per_token)} of activations kept for it, "
        f"{_size(estimates.decode_bytes)} moved by a step of decoding."
    )
    if device is not None and not estimates.fits:
        needed, there = _size(estimates.training.total), _size(device.memory_bytes)
        yield f"Training does not fit: {needed} of {there}. Times are as if it did."


def _passes_table(estimates: Estimates) -> Table:
    table = plain_table("pass", "tokens", "time", "tokens/s", "MFU", "mostly")
    for column in table.columns[1:5]:
        column.justify = "right"
    passes = {
        "training step": estimates.step,
        "prefill": estimates.prefill,
        "decoding step": estimates.decode,
    }
    for name, timing in passes.items():
        assert timing is not None, "a device gives all times"
        table.add_row(
            name,
            f"{timing.tokens:,}",
            format_duration(timing.seconds),
            format_count(timing.tokens_per_second),
            f"{timing.mfu:.1%}",
            f"{timing.bound}-bound",
        )
    return table


def _layers_table(estimates: Estimates, summary: Summary, *, unfold: bool) -> Table:
    """Return the time of each run of layers and of the other parts; C or M is what bounds it."""
    table = plain_table("layer", "part", "training", "prefill", "decoding")
    for column in table.columns[2:]:
        column.justify = "right"
    timings = (estimates.step, estimates.prefill, estimates.decode)
    by_part = [_by_part(timing) for timing in timings if timing is not None]
    names = [name for name, index in by_part[0] if index is None]
    for name in names[:1]:
        table.add_row("", name, *_cells(by_part, [(name, None)]))
    for run in layer_runs(summary.layers, unfold=unfold):
        keys: list[_Key] = [("layer", layer.index) for layer in run]
        table.add_row(span(run), f"attention, {block_kinds(run[0])}", *_cells(by_part, keys))
    for name in names[1:]:
        table.add_row("", name, *_cells(by_part, [(name, None)]))
    table.caption = "bound by C computing, M memory"
    table.caption_justify = "left"
    return table


def _by_part(timing: Timing) -> dict[_Key, PartTime]:
    return {(part.name, part.index): part for part in timing.parts}


def _cells(by_part: list[dict[_Key, PartTime]], keys: list[_Key]) -> Iterator[str]:
    for parts in by_part:
        if keys[0] not in parts:
            yield ""
            continue
        seconds = sum(parts[key].seconds for key in keys)
        yield f"{format_duration(seconds)} {parts[keys[0]].bound[0].upper()}"
