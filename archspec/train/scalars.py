"""Events as named numbers, for logs that draw curves; torch-free."""

from __future__ import annotations

from archspec.train.events import Evaluation, Start, Step, Usage


def step_scalars(step: Step, start: Start) -> dict[str, float]:
    """Return what a step is drawn as."""
    speed = start.batch_tokens / step.seconds
    share = start.peak_share(speed)
    found: dict[str, float | None] = {
        "train/loss": step.loss,
        "train/grad_norm": step.grad_norm,
        "train/lr": step.lr,
        "train/table_lr": step.table_lr,
        "train/tokens": step.tokens,
        "speed/tokens_per_second": speed,
        f"speed/{share_name(start)}": share,
        "memory/peak_bytes": step.memory_bytes,
        **{f"train/{name}": value for name, value in step.auxiliary.items()},
    }
    return {name: value for name, value in found.items() if value is not None}


def share_name(start: Start) -> str:
    """Name a share of the peak by what the peak is: a vendor's, or measured here."""
    measured = start.peak is not None and start.peak.measured
    return "share_of_measured_peak" if measured else "mfu"


def evaluation_scalars(evaluation: Evaluation) -> dict[str, float]:
    """Return what metrics are drawn as."""
    return {f"evaluation/{name}": value for name, value in evaluation.metrics.items()}


def usage_scalars(usage: Usage) -> dict[str, float]:
    """Return what the use of slots and experts is drawn as."""
    found: dict[str, float] = {}
    for table in usage.tables:
        name = f"usage/{table.name}" + (f"/{table.reader}" if table.reader else "")
        found |= {f"{name}/{key}": getattr(table, key) for key in _TABLE}
    for experts in usage.experts:
        found |= {f"usage/{experts.name}/{key}": getattr(experts, key) for key in _EXPERTS}
    return found


_TABLE = ("touched", "entropy", "top1", "dead")
_EXPERTS = ("imbalance", "entropy", "dead")
