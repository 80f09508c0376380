"""From a design at target size to the proxy that is trained for it.

The space lives on the target: a search over proxies ties the layers that one layer of the proxy
stands for, so designs are priced as what they are, and equal proxies would be equal designs. The
other direction, a space of small models that is blown up, would have to guess prices or round them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from archspec.blocks.pool.config import PoolConfig
from archspec.schema import Schema
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.search.heads import shrink_heads
from archspec.spec.search.limits import Limit
from archspec.spec.search.proxy import Proxy

C = TypeVar("C", bound=Schema)

# Sizes of blocks and pools, to the power of r by which they shrink unless the document says.
POWERS: Mapping[str, float] = {
    "hidden_dim": 1.0,
    "key_dim": 1.0,
    "value_dim": 1.0,
    "row_dim": 1.0,
    "slots": 1.0,
    "num_keys": 0.5,
    "num_experts": 0.0,
}
_COUNTS = frozenset({"num_experts"})  # rounded to whole numbers, not to multiples


def groups(proxy_layers: int, num_layers: int) -> tuple[tuple[int, ...], ...]:
    """Return the target's layers that each layer of the proxy stands for, by relative depth.

    >>> groups(2, 5)
    ((0, 1), (2, 3, 4))
    """
    found: list[list[int]] = [[] for _ in range(proxy_layers)]
    for layer in range(num_layers):
        found[(2 * layer + 1) * proxy_layers // (2 * num_layers)].append(layer)
    return tuple(map(tuple, found))


class Shrink:
    """Makes proxies of designs.

    Args:
        base: The target's base.
        proxy: The section.
        samples: For each layer of the proxy, the layer of the target whose choice it has.
    """

    def __init__(self, base: ModelSpec, proxy: Proxy, samples: Sequence[int]) -> None:
        self.samples = tuple(samples)
        self._proxy = proxy
        self._d_model = base.d_model
        self._ratio = proxy.d_model / base.d_model

    def __call__(self, spec: ModelSpec) -> ModelSpec:
        """Return the proxy of a design."""
        return self.shrink(spec, self.samples)

    def shrink(self, spec: ModelSpec, samples: Sequence[int]) -> ModelSpec:
        """Return the proxy of some layers of a design."""
        layers = tuple(self.layer(spec.layers[index]) for index in samples)
        read = {block.pool_name for layer in layers for block in layer.blocks}
        pools = {name: self.pool(pool) for name, pool in spec.pools.items() if name in read}
        return spec.replace(
            name=f"{spec.name}-proxy" if spec.name else "proxy",
            d_model=self._proxy.d_model,
            vocab_size=self._proxy.vocab_size or spec.vocab_size,
            max_seq_len=self._proxy.max_seq_len or spec.max_seq_len,
            layers=layers,
            pools=pools,
            templates={},
            graded_templates=frozenset(),
            template_pools=pools,
        )

    def layer(self, layer: LayerSpec) -> LayerSpec:
        """Return the layer of the proxy for one of the target."""
        return dataclasses.replace(
            layer,
            attention=shrink_heads(layer.attention, self._proxy, ratio=self._ratio),
            blocks=tuple(self._config(block) for block in layer.blocks),
        )

    def pool(self, pool: PoolConfig) -> PoolConfig:
        """Return the table of the proxy for one of the target."""
        return self._config(pool)

    def _config(self, config: C) -> C:
        """Return a config with every size of ``POWERS`` shrunk, validated anew."""
        old = config.model_dump()
        new = {name: self.size(name, old[name]) for name in POWERS if name in old}
        if old.get("shared_hidden_dim"):
            factor = new["hidden_dim"] / old["hidden_dim"]
            new["shared_hidden_dim"] = self._multiple(old["shared_hidden_dim"] * factor)
        return type(config).model_validate({**old, **new}, strict=True)

    def size(self, name: str, value: int) -> int:
        """Return a size of the proxy: as declared, or by the power of r that keeps its share."""
        declared: Limit | None = getattr(self._proxy, name)
        if declared is not None and not declared.relative:
            return int(declared.value)
        if declared is None and value == self._d_model and name in ("value_dim", "row_dim"):
            return self._proxy.d_model
        factor = self._ratio ** POWERS[name] if declared is None else declared.value
        return max(1, round(value * factor)) if name in _COUNTS else self._multiple(value * factor)

    def _multiple(self, value: float) -> int:
        step = self._proxy.round_to
        return max(1, round(value / step)) * step


def faults(spec: ModelSpec) -> Iterator[str]:
    """Yield what does not work in a model that no document declares."""
    seen: dict[Any, None] = {}
    for layer in spec.layers:
        for name, block in zip(layer.names, layer.blocks, strict=True):
            if block not in seen:
                seen[block] = None
                for fault in block.check(spec.scope):
                    yield f"block {name!r}: {fault.message}"
        if layer.attention not in seen:
            seen[layer.attention] = None
            for fault in layer.attention.check(spec.d_model):
                yield f"attention {layer.attention_name!r}: {fault.message}"
