"""Several models side by side: the same quantities, in the same setting, on the same device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from archspec.cost.estimates import Estimates, Setting, conventions, estimate
from archspec.cost.roofline import Timing
from archspec.cost.summary import Summary, summarize
from archspec.spec.hardware import HardwareSpec
from archspec.spec.model import ModelSpec

Unit = Literal["count", "FLOPs", "bytes", "seconds", "tokens/s", "share"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One quantity of every model.

    Attributes:
        key: Its name in JSON and CSV.
        title: Its name for people.
        values: One value per model.
    """

    key: str
    title: str
    unit: Unit
    values: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float | None, ...]:
        """Each value over the first, None where that is 0."""
        first = self.values[0]
        return tuple(value / first if first else None for value in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Models side by side; the first is what the others are compared with."""

    names: tuple[str, ...]
    hashes: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    conventions: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "models": [
                {"name": name, "spec_hash": spec_hash}
                for name, spec_hash in zip(self.names, self.hashes, strict=True)
            ],
            "quantities": {
                quantity.key: {
                    "unit": quantity.unit,
                    "values": list(quantity.values),
                    "ratios": list(quantity.ratios),
                }
                for quantity in self.quantities
            },
            "conventions": list(self.conventions),
        }


def compare(
    specs: Sequence[ModelSpec], setting: Setting, hardware: HardwareSpec | None = None
) -> Comparison:
    """Price several models in one setting.

    Args:
        specs: The models, the reference first.
        setting: Without a ``seq_len``, the longest that every model allows is used for all.
        hardware: A device, for times.

    Raises:
        ValueError: If the setting is not possible for one of the models.
    """
    if setting.seq_len is None:
        setting = replace(setting, seq_len=min(spec.max_seq_len for spec in specs))
    summaries = [summarize(s, seq_len=setting.seq_len, dtype=setting.dtype) for s in specs]
    estimates = [estimate(spec, setting, hardware) for spec in specs]
    return Comparison(
        names=tuple(unique_names([spec.name or "model" for spec in specs])),
        hashes=tuple(summary.spec_hash for summary in summaries),
        quantities=tuple(_quantities(summaries, estimates)),
        conventions=(*summaries[0].conventions, *conventions(estimates[0])),
    )


def unique_names(names: Sequence[str]) -> Iterator[str]:
    """Number the names that occur more than once."""
    for index, name in enumerate(names):
        earlier = names[:index].count(name)
        yield name if not earlier else f"{name} ({earlier + 1})"


def _quantities(summaries: list[Summary], estimates: list[Estimates]) -> Iterator[Quantity]:
    for key, title, unit in _COUNTED:
        values = tuple(float(getattr(summary.total, key)) for summary in summaries)
        yield Quantity(key=key, title=title, unit=unit, values=values)
    for key, title, unit, read in _ESTIMATED:
        found = [read(one) for one in estimates]
        values = tuple(value for value in found if value is not None)
        if len(values) == len(found):
            yield Quantity(key=key, title=title, unit=unit, values=values)


def _timed(which: str, attribute: str) -> Callable[[Estimates], float | None]:
    """Return a reader of one number of one timing, None where there is no device."""

    def read(estimates: Estimates) -> float | None:
        timing: Timing | None = getattr(estimates, which)
        return None if timing is None else float(getattr(timing, attribute))

    return read


_COUNTED: tuple[tuple[str, str, Unit], ...] = (
    ("num_params", "parameters", "count"),
    ("num_table_params", "of these in tables", "count"),
    ("num_active_params", "active a token", "count"),
    ("flops_per_token", "FLOPs a token, forward", "FLOPs"),
    ("table_bytes_per_token", "table bytes a token", "bytes"),
    ("kv_bytes_per_token", "KV cache a token", "bytes"),
)
_ESTIMATED: tuple[tuple[str, str, Unit, Callable[[Estimates], float | None]], ...] = (
    ("train_flops_per_token", "FLOPs a token, trained", "FLOPs", lambda e: e.train_flops_per_token),
    (
        "activation_bytes_per_token",
        "activations a token",
        "bytes",
        lambda e: e.activation_bytes_per_token,
    ),
    ("training_bytes", "training memory", "bytes", lambda e: e.training.total),
    ("inference_bytes", "inference memory", "bytes", lambda e: e.inference.total),
    ("decode_step_bytes", "moved by a decoding step", "bytes", lambda e: e.decode_bytes),
    ("train_step_seconds", "training step", "seconds", _timed("step", "seconds")),
    (
        "train_tokens_per_second",
        "training speed",
        "tokens/s",
        _timed("step", "tokens_per_second"),
    ),
    ("train_mfu", "training MFU", "share", _timed("step", "mfu")),
    ("prefill_seconds", "prefill", "seconds", _timed("prefill", "seconds")),
    ("decode_step_seconds", "decoding step", "seconds", _timed("decode", "seconds")),
    (
        "decode_tokens_per_second",
        "decoding speed",
        "tokens/s",
        _timed("decode", "tokens_per_second"),
    ),
)
