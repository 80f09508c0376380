"""What a budget can bound, and under which circumstances it is counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from archspec.spec.hardware import HardwareSpec
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

QUANTITIES = (
    "flops_per_token",
    "num_params",
    "num_active_params",
    "table_bytes_per_token",
    "kv_bytes_per_token",
    "device_bytes",
    "train_flops",
)
TIMES = ("step_time", "decode_time")  # in ns, and only where a device is named
ALL_QUANTITIES = (*QUANTITIES, *TIMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSetting:
    """Under which circumstances designs are priced.

    Conventions: FLOPs at ``max_seq_len``, causal half; bytes of tables and of the cache in bf16.
    ``device_bytes`` and ``step_time`` are of the largest rank under a plan, tables with AdamW;
    without one of a single device, fp32 for bytes and bf16 with fp32 masters for the time.
    ``decode_time`` is that of one token of one sequence whose cache is full, on a single device.

    Attributes:
        micro_tokens: Tokens of a rank in one forward pass in training.
        tokens: Tokens of the whole run, for ``train_flops``.
        plan: How models are laid over ranks, None for a single device.
        world_size: All ranks, where the plan leaves them open.
        hardware: The device, None if no times are asked for.
    """

    micro_tokens: int
    tokens: int = 1
    plan: PlanSpec | None = None
    world_size: int | None = None
    hardware: HardwareSpec | None = None

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is known under them."""
        return QUANTITIES if self.hardware is None else ALL_QUANTITIES

    def unit(self, quantity: str) -> int:
        """Return what one in a column of a table stands for; totals of a run exceed a word."""
        return self.tokens if quantity == "train_flops" else 1

    def plan_for(self, spec: ModelSpec) -> PlanSpec | None:
        """Return the plan without the pools that a design does not read."""
        if self.plan is None:
            return None
        pools = {name: held for name, held in self.plan.pools.items() if name in spec.pools}
        return self.plan.model_copy(update={"pools": pools})
