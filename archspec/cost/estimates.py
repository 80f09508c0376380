"""Everything about one model on one device: memory and time of training, prefill and decoding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from archspec.blocks.base import CostContext
from archspec.cost.activations import activation_memory
from archspec.cost.inference import InferenceMemory, decode_work, inference_memory, prefill_work
from archspec.cost.roofline import Timing, roofline
from archspec.cost.summary import cost_context
from archspec.cost.training import (
    ADAMW,
    RoleBytes,
    TrainingMemory,
    training_flops,
    training_memory,
    training_work,
)
from archspec.cost.work import PartWork, total_work
from archspec.spec.hardware import HardwareSpec
from archspec.spec.model import ModelSpec
from archspec.spec.plan import Recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Under which circumstances a model is trained and run.

    Attributes:
        seq_len: Tokens of a training sequence and of a prompt; default ``max_seq_len``.
        batch: Sequences in one micro-batch, in one prefill and decoded together.
        length: Tokens that a decoded token attends to; default ``seq_len``.
        recompute: What the backward pass does again.
        dtype: Element type of weights, activations, cache and matrix multiplications.
        weights: How everything but tables is held in training.
        tables: How tables are held in training.
    """

    seq_len: int | None = None
    batch: int = 1
    length: int | None = None
    recompute: Recompute = "none"
    dtype: str = "bfloat16"
    weights: RoleBytes = ADAMW
    tables: RoleBytes = ADAMW


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """What a model needs in one setting; times only where a device is given.

    Attributes:
        activation_bytes_per_token: Kept for the backward pass, under the setting's recompute.
        train_flops_per_token: Forward, backward and what is recomputed.
        decode_bytes: Bytes read and written by one step of decoding.
    """

    setting: Setting
    seq_len: int
    length: int
    hardware: HardwareSpec | None
    activation_bytes_per_token: int
    train_flops_per_token: int
    training: TrainingMemory
    inference: InferenceMemory
    decode_bytes: float
    step: Timing | None
    prefill: Timing | None
    decode: Timing | None

    @property
    def fits(self) -> bool | None:
        """Tell whether training fits the device, None without one."""
        if self.hardware is None:
            return None
        return self.training.total <= self.hardware.memory_bytes

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        timings = {"train_step": self.step, "prefill": self.prefill, "decode": self.decode}
        return {
            "hardware": None if self.hardware is None else self.hardware.name,
            "batch": self.setting.batch,
            "seq_len": self.seq_len,
            "context": self.length,
            "recompute": self.setting.recompute,
            "activation_bytes_per_token": self.activation_bytes_per_token,
            "train_flops_per_token": self.train_flops_per_token,
            "training_bytes": {**self.training.as_dict(), "total": self.training.total},
            "inference_bytes": {
                "weights": self.inference.weights,
                "tables": self.inference.tables,
                "cache": self.inference.cache,
                "total": self.inference.total,
            },
            "decode_step_bytes": self.decode_bytes,
            "training_fits": self.fits,
            **{name: _plain(timing) for name, timing in timings.items() if timing is not None},
            "conventions": list(conventions(self)),
        }


def _plain(timing: Timing) -> dict[str, Any]:
    return {
        "seconds": timing.seconds,
        "tokens_per_second": timing.tokens_per_second,
        "mfu": timing.mfu,
        "bound": timing.bound,
        "parts": [
            {
                "part": part.name,
                "layer": part.index,
                "flops": part.work.flops,
                "bytes": part.work.moved_bytes,
                "seconds": part.seconds,
                "bound": part.bound,
            }
            for part in timing.parts
        ],
    }


def estimate(spec: ModelSpec, setting: Setting, hardware: HardwareSpec | None = None) -> Estimates:
    """Estimate memory, and on a device time, of training and inference.

    Args:
        spec: The model.
        setting: Batch, lengths, recompute and element types.
        hardware: The device, from ``load_hardware``.

    Raises:
        ValueError: If a length is not in 1..max_seq_len, the batch not positive, or the element
            type unknown.
        ArchspecError: If the device has no rate for the element type.

    Example:
        >>> setting = Setting(batch=8, recompute="selective")
        >>> estimate(load_model("m.yaml"), setting, load_hardware("h100")).step.tokens_per_second
    """
    if setting.batch < 1:
        raise ValueError(f"batch must be at least 1, but is {setting.batch}")
    context = cost_context(spec, seq_len=setting.seq_len, dtype=setting.dtype)
    length = context.seq_len if setting.length is None else setting.length
    decoding = cost_context(spec, seq_len=length, dtype=setting.dtype)
    tokens = setting.batch * context.seq_len
    decode_parts = decode_work(spec, decoding, batch=setting.batch)
    step = prefill = decode = None
    if hardware is not None:
        step = _step(spec, context, setting, hardware)
        prefill_parts = prefill_work(spec, context, batch=setting.batch)
        prefill = _forward(prefill_parts, hardware, tokens=tokens, dtype=setting.dtype)
        decode = _forward(decode_parts, hardware, tokens=setting.batch, dtype=setting.dtype)
    return Estimates(
        setting=setting,
        seq_len=context.seq_len,
        length=length,
        hardware=hardware,
        activation_bytes_per_token=activation_memory(spec, context, setting.recompute).kept,
        train_flops_per_token=training_flops(spec, context, setting.recompute),
        training=training_memory(
            spec,
            context,
            tokens=tokens,
            recompute=setting.recompute,
            weights=setting.weights,
            tables=setting.tables,
        ),
        inference=inference_memory(spec, decoding, batch=setting.batch, length=length),
        decode_bytes=total_work(decode_parts).moved_bytes,
        step=step,
        prefill=prefill,
        decode=decode,
    )


def _step(
    spec: ModelSpec, context: CostContext, setting: Setting, hardware: HardwareSpec
) -> Timing:
    tokens = setting.batch * context.seq_len
    parts = training_work(
        spec,
        context,
        tokens=tokens,
        recompute=setting.recompute,
        weights=setting.weights,
        tables=setting.tables,
    )
    useful = training_flops(spec, context) * tokens
    return roofline(parts, hardware, tokens=tokens, useful_flops=useful, dtype=setting.dtype)


def _forward(
    parts: tuple[PartWork, ...], hardware: HardwareSpec, *, tokens: int, dtype: str
) -> Timing:
    useful = total_work(parts).flops
    return roofline(parts, hardware, tokens=tokens, useful_flops=useful, dtype=dtype)


def conventions(estimates: Estimates) -> Iterator[str]:
    """Say in a few lines under which assumptions the numbers stand."""
    setting = estimates.setting
    tokens = setting.batch * estimates.seq_len
    yield (
        f"estimates for one device, nothing sharded: micro-batch {setting.batch} x "
        f"{estimates.seq_len} = {tokens:,} tokens, recompute {setting.recompute}"
    )
    yield (
        "training FLOPs: 3 x forward, 4 x in layers under full recompute; memory without gradients "
        "of activations and kernels' scratch space"
    )
    yield (
        f"decoding: batch {setting.batch}, each sequence attending to {estimates.length} tokens; "
        "experts and rows met as if access were uniform"
    )
    if estimates.hardware is not None:
        yield (
            "time: a roofline, max(FLOPs / peak, bytes / bandwidth) a part and summed, without "
            "launches, communication and overlap; a lower estimate"
        )
