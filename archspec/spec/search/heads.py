"""Attention at the size of a proxy: its inner width shrinks as the model does, by heads first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archspec.spec.attention.base import AttentionConfig
from archspec.spec.attention.gqa import GqaConfig
from archspec.spec.attention.mla import MlaConfig
from archspec.spec.search.limits import Limit
from archspec.spec.search.proxy import Proxy

_FEW_HEADS, _NARROW = 4, 16  # heads are halved in width rather than be fewer, down to this width


class Heads(NamedTuple):
    """How many heads there are, and how much narrower each is."""

    number: int
    factor: float


def shrink_heads(config: AttentionConfig, size: Proxy, *, ratio: float) -> AttentionConfig:
    """Return a resolved attention at the size of a proxy.

    Args:
        config: That of the target. One of a type that is not known here stays as it is.
        size: What the document declares.
        ratio: The proxy's d_model over the target's.
    """
    if isinstance(config, GqaConfig):
        return _gqa(config, size, ratio)
    return _mla(config, size, ratio) if isinstance(config, MlaConfig) else config


def _gqa(config: GqaConfig, size: Proxy, ratio: float) -> GqaConfig:
    heads, kv_heads, head_dim = config.shape
    new = _heads(heads, head_dim, size, ratio)
    wanted = kv_heads * new.number / heads
    turned = None if config.rope_dim is None else _even(config.rope_dim * new.factor)
    return config.model_copy(
        update={
            "num_heads": new.number,
            "num_kv_heads": min(_divisors(new.number), key=lambda d: (abs(d - wanted), d)),
            "head_dim": _even(head_dim * new.factor),
            "rope_dim": turned,
        }
    )


def _mla(config: MlaConfig, size: Proxy, ratio: float) -> MlaConfig:
    new = _heads(config.num_heads, config.query_dim, size, ratio)
    dims = ("nope_head_dim", "rope_head_dim", "value_head_dim")
    ranks = ("q_lora_rank", "kv_lora_rank")
    update = {name: _even(getattr(config, name) * new.factor) for name in dims}
    for name in ranks:
        if getattr(config, name) is not None:
            update[name] = _multiple(getattr(config, name) * ratio, size.round_to)
    return config.model_copy(update={**update, "num_heads": new.number})


def _heads(count: int, width: int, size: Proxy, ratio: float) -> Heads:
    """Bring ``count`` heads of ``width`` to ``ratio`` times their width together."""
    total = count * width * ratio
    if size.head_dim is not None:
        factor = _declared(size.head_dim, width) / width
    elif size.num_heads is not None:
        factor = total / _declared(size.num_heads, count) / width
    else:
        factor = 1.0
        while total / (width * factor) < min(count, _FEW_HEADS) and width * factor / 2 >= _NARROW:
            factor /= 2
    if size.num_heads is not None:
        return Heads(_declared(size.num_heads, count), factor)
    return Heads(max(1, round(total / (width * factor))), factor)


def _declared(limit: Limit, base: int) -> int:
    return max(1, round(limit.resolve(base)))


def _even(value: float) -> int:
    return max(1, round(value / 2)) * 2


def _multiple(value: float, step: int) -> int:
    return max(1, round(value / step)) * step


def _divisors(number: int) -> Sequence[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
