"""Which sizes are measured: a base for each case, and one key at a time varied from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from archspec.bench.backward import backward_task
from archspec.bench.bag import BagSize
from archspec.bench.contest import Task
from archspec.bench.forward import forward_task
from archspec.bench.grouped import GroupedSize, grouped_task
from archspec.bench.layer import LayerSize, layer_task
from archspec.bench.selection import SelectionSize, ranking_task, selection_task
from archspec.bench.step import step_task, update_task
from archspec.errors import BenchmarkError, suggest

MI = 1 << 20
KI = 1 << 10


@dataclass(frozen=True)
class Sweep:
    """A base size and its changes; a change varies the first key and adjusts the others with it."""

    declare: Callable[[Any, str, torch.device], Task]
    base: Any
    changes: Sequence[dict[str, Any]] = ()

    def tasks(self, device: torch.device) -> Iterator[Task]:
        """Declare the base and every change of it."""
        yield self.declare(self.base, "", device)
        for change in self.changes:
            yield self.declare(replace(self.base, **change), next(iter(change)), device)


def sweep(
    device: torch.device, *, only: Sequence[str] = (), quick: bool = False
) -> tuple[Task, ...]:
    """Declare all tasks for a device.

    Args:
        device: Where they run.
        only: Names of cases; empty for all.
        quick: Whether tiny sizes are wanted, that show whether it works and nothing else.

    Raises:
        BenchmarkError: There is no such case.
    """
    found = _QUICK if quick else _GPU if device.type == "cuda" else _CPU
    for name in only:
        if name not in found:
            raise BenchmarkError(f"no case is called {name!r}; {suggest(name, found)}")
    chosen = [found[name] for name in found if not only or name in only]
    return tuple(task for one in chosen for task in one.tasks(device))


_CPU_BAG = BagSize(
    tokens=2048, picks=32, slots=MI, width=256, dtype="float32", skew="uniform"
)  # 65,536 look-ups
_CPU_TOPK = SelectionSize(
    tokens=2048, heads=4, num_keys=1024, half_dim=128, top_k=32, dtype="float32"
)
_CPU_LAYER = LayerSize(
    tokens=512, heads=4, num_keys=1024, half_dim=128, top_k=32, dtype="float32", width=256
)
_CPU_GROUPED = GroupedSize(rows=4096, experts=64, in_dim=256, out_dim=256, dtype="float32")
_SLOTS = tuple({"slots": slots} for slots in (64 * KI, 256 * KI, 4 * MI, 16 * MI))

_CPU: dict[str, Sweep] = {
    "forward": Sweep(
        forward_task,
        _CPU_BAG,
        (
            *({"width": width} for width in (32, 64, 128, 512, 1024, 2048)),
            *({"picks": picks, "tokens": 65536 // picks} for picks in (1, 8, 128)),
            *_SLOTS,
            {"skew": "zipf"},
            {"dtype": "bfloat16"},
        ),
    ),
    "backward": Sweep(
        backward_task,
        replace(_CPU_BAG, slots=256 * KI),
        (
            *({"width": width} for width in (64, 1024)),
            *({"picks": picks, "tokens": 65536 // picks} for picks in (8, 128)),
            *({"slots": slots} for slots in (64 * KI, MI)),
            {"skew": "zipf"},
            {"dtype": "bfloat16"},
        ),
    ),
    "step": Sweep(
        step_task,
        _CPU_BAG,
        (
            *_SLOTS,
            *({"width": width} for width in (64, 1024)),
            {"skew": "zipf"},
        ),
    ),
    "update": Sweep(update_task, _CPU_BAG, ({"skew": "zipf"},)),
    "topk": Sweep(
        selection_task,
        _CPU_TOPK,
        (
            *({"num_keys": num_keys} for num_keys in (256, 4096)),
            *({"top_k": top_k} for top_k in (8, 16, 64)),
        ),
    ),
    "rank": Sweep(
        ranking_task, _CPU_TOPK, tuple({"num_keys": num_keys} for num_keys in (256, 4096))
    ),
    "layer": Sweep(
        layer_task, _CPU_LAYER, tuple({"num_keys": num_keys} for num_keys in (256, 2048, 4096))
    ),
    "grouped": Sweep(
        grouped_task,
        _CPU_GROUPED,
        (
            *({"experts": experts} for experts in (8, 256)),
            {"out_dim": 1024},
            {"dtype": "bfloat16"},
        ),
    ),
}

_GPU_BAG = BagSize(
    tokens=16384, picks=128, slots=MI, width=1024, dtype="bfloat16", skew="uniform"
)  # 2,097,152 look-ups
_GPU_STEP = replace(_GPU_BAG, tokens=4096, width=128, dtype="float32")
_GPU_TOPK = SelectionSize(
    tokens=16384, heads=4, num_keys=1024, half_dim=128, top_k=32, dtype="bfloat16"
)
_GPU_LAYER = LayerSize(
    tokens=4096, heads=4, num_keys=1024, half_dim=128, top_k=32, dtype="float32", width=128
)
_GPU_GROUPED = GroupedSize(rows=65536, experts=64, in_dim=1024, out_dim=512, dtype="bfloat16")

# A table of at least 8 times the L2 cache of an H100 (50 MB) also at the narrowest.
_GPU_WIDTHS = (
    {"width": 64, "slots": 4 * MI},
    {"width": 128, "slots": 2 * MI},
    *({"width": width} for width in (256, 512, 2048, 4096)),
)

_GPU: dict[str, Sweep] = {
    "forward": Sweep(
        forward_task,
        _GPU_BAG,
        (
            *_GPU_WIDTHS,
            *({"width": width} for width in (768, 1000)),
            *({"picks": picks, "tokens": 2 * MI // picks} for picks in (8, 32)),
            *_SLOTS,
            {"skew": "zipf"},
            *({"dtype": dtype} for dtype in ("float16", "float32")),
        ),
    ),
    "backward": Sweep(
        backward_task,
        _GPU_BAG,
        (
            *_GPU_WIDTHS,
            *({"picks": picks, "tokens": 2 * MI // picks} for picks in (8, 32)),
            *({"slots": slots} for slots in (64 * KI, 4 * MI)),
            {"skew": "zipf"},
            *({"dtype": dtype} for dtype in ("float16", "float32")),
        ),
    ),
    "step": Sweep(
        step_task,
        _GPU_STEP,
        (*_SLOTS, *({"width": width} for width in (64, 1024)), {"skew": "zipf"}),
    ),
    "update": Sweep(update_task, replace(_GPU_STEP, width=1024), ({"width": 256},)),
    "topk": Sweep(
        selection_task,
        _GPU_TOPK,
        (
            *({"num_keys": num_keys} for num_keys in (256, 512, 2048)),
            *({"top_k": top_k} for top_k in (8, 16, 64)),
            {"dtype": "float32"},
        ),
    ),
    "layer": Sweep(
        layer_task, _GPU_LAYER, tuple({"num_keys": num_keys} for num_keys in (256, 2048, 4096))
    ),
    "grouped": Sweep(
        grouped_task, _GPU_GROUPED, tuple({"experts": experts} for experts in (8, 256))
    ),
}

_QUICK_BAG = BagSize(tokens=64, picks=4, slots=4096, width=32, dtype="float32", skew="uniform")
_QUICK_TOPK = SelectionSize(tokens=64, heads=2, num_keys=64, half_dim=8, top_k=4, dtype="float32")
_QUICK: dict[str, Sweep] = {
    "forward": Sweep(
        forward_task, _QUICK_BAG, ({"width": 64}, {"skew": "zipf"}, {"dtype": "bfloat16"})
    ),
    "backward": Sweep(backward_task, _QUICK_BAG, ({"width": 64},)),
    "step": Sweep(step_task, _QUICK_BAG, ({"slots": 16 * KI},)),
    "update": Sweep(update_task, _QUICK_BAG),
    "topk": Sweep(selection_task, _QUICK_TOPK, ({"num_keys": 128},)),
    "rank": Sweep(ranking_task, _QUICK_TOPK),
    "layer": Sweep(
        layer_task,
        LayerSize(tokens=16, heads=2, num_keys=32, half_dim=8, top_k=4, dtype="float32", width=32),
    ),
    "grouped": Sweep(
        grouped_task, GroupedSize(rows=64, experts=4, in_dim=16, out_dim=32, dtype="float32")
    ),
}
CASES = tuple(_CPU)
