"""Price many designs of one space at once, to the unit.

A design picks one layer for every position and one size for every pool. Its price is a sum: what is
outside the layers, one row per position, what the readers of a pool pay for a table of its size,
and the pool's rows once if anyone reads them. Everything is priced by the blocks' own ``cost`` and
kept as integers, so ``summarize`` of the written-out model gives the same numbers.

Conventions: FLOPs at the base's ``max_seq_len``, causal half; table bytes in bf16; device bytes for
training on one device in fp32, activations of one micro-batch included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from archspec.blocks.base import BlockConfig, CostContext
from archspec.cost.device import device_bytes
from archspec.cost.summary import cost_context, frame_cost, model_parts, summarize
from archspec.quantities import FREE, Cost
from archspec.spec.model import LayerSpec, ModelSpec

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

QUANTITIES = (
    "flops_per_token",
    "num_params",
    "num_active_params",
    "table_bytes_per_token",
    "device_bytes",
)
_CHUNK = 4096  # designs priced in one go; bounds the memory of the gathered rows


def price(spec: ModelSpec, *, micro_tokens: int) -> dict[str, int]:
    """Price one model by its summary, in every quantity a budget can bound.

    Args:
        spec: The model.
        micro_tokens: Tokens of one forward pass in training.
    """
    return dict(
        zip(
            QUANTITIES,
            _row(
                summarize(spec).total,
                summarize(spec, dtype="float32").total,
                micro_tokens=micro_tokens,
            ),
            strict=True,
        )
    )


@dataclass(frozen=True)
class PoolPrices:
    """What one pool adds. Q quantities, S sizes, L positions, C choices.

    Attributes:
        rows: Price of the table itself, [S, Q].
        readers: What a reader pays on top of its choice's own price, [S, L, C, Q].
        reads: Whether a choice reads the pool, [L, C].
    """

    rows: Ints
    readers: Ints
    reads: Flags


class PriceTable:
    """The prices of every choice at every position, ready for sums.

    Attributes:
        fixed: Price of embedding, head and last norm, [Q].
        own: Price of a choice without what depends on a pool's size, [L, C, Q]; 0 where a position
            has fewer choices.
        pools: The pools by name, in the order of a design's sizes.
    """

    def __init__(
        self,
        base: ModelSpec,
        choices: Sequence[Sequence[LayerSpec]],
        pool_sizes: Mapping[str, Sequence[int]],
        *,
        micro_tokens: int,
    ) -> None:
        """Price every choice once.

        Args:
            base: Everything that does not vary, and the templates of the pools.
            choices: The layers that may stand at each position.
            pool_sizes: For every pool that a choice reads, the values of its num_keys.
            micro_tokens: Tokens of one forward pass in training.
        """
        pricer = _Pricer(base, micro_tokens)
        known: dict[LayerSpec, list[int]] = {}
        width = max(len(position) for position in choices)
        self.fixed: Ints = np.array(pricer.parts(), dtype=np.int64)
        self.own: Ints = np.zeros((len(choices), width, len(QUANTITIES)), dtype=np.int64)
        for position, layers in enumerate(choices):
            for index, layer in enumerate(layers):
                if layer not in known:
                    known[layer] = pricer.layer(layer)
                self.own[position, index] = known[layer]
        self.pools = {
            name: _pool_prices(pricer, name, choices, sizes, width)
            for name, sizes in pool_sizes.items()
        }

    def prices(self, layers: Ints, sizes: Ints) -> Ints:
        """Price designs, [N, Q] in the order of ``QUANTITIES``.

        Args:
            layers: Index of the chosen layer for each position, [N, L].
            sizes: Index of the size of each pool, [N, P]; ignored for a pool nobody reads.
        """
        priced = np.empty((len(layers), len(QUANTITIES)), dtype=np.int64)
        for start in range(0, len(layers), _CHUNK):
            part = slice(start, start + _CHUNK)
            priced[part] = self._prices(layers[part], sizes[part])
        return priced

    def _prices(self, layers: Ints, sizes: Ints) -> Ints:
        positions = np.arange(layers.shape[1])
        total: Ints = self.own[positions, layers].sum(axis=1) + self.fixed
        for index, pool in enumerate(self.pools.values()):
            reads = pool.reads[positions, layers]  # [N, L]
            readers = np.flatnonzero(reads.any(axis=1))
            size = sizes[readers, index]
            total[readers] += pool.rows[size]
            extra = pool.readers[size[:, None], positions, layers[readers]]  # [readers, L, Q]
            total[readers] += extra.sum(axis=1)
        return total


class _Pricer:
    """Prices parts in the two conventions that the quantities need: bf16, and fp32 for training."""

    def __init__(self, base: ModelSpec, micro_tokens: int) -> None:
        self._base = base
        self._micro_tokens = micro_tokens
        self._contexts = self._resized({})

    def _resized(self, num_keys: Mapping[str, int]) -> tuple[CostContext, CostContext]:
        """Return both contexts with the sizes of some pools changed."""
        pools = dict(self._base.template_pools)
        for name, keys in num_keys.items():
            pools[name] = pools[name].model_copy(update={"num_keys": keys})
        spec = self._base.replace(pools=pools)
        return cost_context(spec), cost_context(spec, dtype="float32")

    def parts(self) -> list[int]:
        return self._price(
            lambda context: _sum(part.cost for part in model_parts(self._base, context))
        )

    def layer(self, layer: LayerSpec) -> list[int]:
        """Price attention, norms and the blocks that read no pool."""
        own = [block for block in layer.blocks if block.pool_name is None]
        return self._price(
            lambda context: frame_cost(layer, context) + _sum(block.cost(context) for block in own)
        )

    def readers(self, blocks: Sequence[BlockConfig], name: str, num_keys: int) -> list[int]:
        contexts = self._resized({name: num_keys})
        return self._price(lambda context: _sum(block.cost(context) for block in blocks), contexts)

    def rows(self, name: str, num_keys: int) -> list[int]:
        contexts = self._resized({name: num_keys})
        return self._price(
            lambda context: context.scope.pools[name].cost(context.scope.d_model), contexts
        )

    def _price(
        self,
        cost: Callable[[CostContext], Cost],
        contexts: tuple[CostContext, CostContext] | None = None,
    ) -> list[int]:
        plain, training = contexts or self._contexts
        return _row(cost(plain), cost(training), micro_tokens=self._micro_tokens)


def _sum(costs: Iterable[Cost]) -> Cost:
    return sum(costs, FREE)


def _row(plain: Cost, training: Cost, *, micro_tokens: int) -> list[int]:
    """Return the quantities of one part; ``training`` is its price in fp32."""
    counts = [getattr(plain, name) for name in QUANTITIES[:-1]]
    return [*counts, device_bytes(training, micro_tokens=micro_tokens)]


def _pool_prices(
    pricer: _Pricer,
    name: str,
    choices: Sequence[Sequence[LayerSpec]],
    sizes: Sequence[int],
    width: int,
) -> PoolPrices:
    shape = (len(sizes), len(choices), width, len(QUANTITIES))
    readers: Ints = np.zeros(shape, dtype=np.int64)
    reads: Flags = np.zeros(shape[1:3], dtype=np.bool_)
    known: dict[LayerSpec, list[list[int]]] = {}
    for position, layers in enumerate(choices):
        for index, layer in enumerate(layers):
            blocks = [block for block in layer.blocks if block.pool_name == name]
            if not blocks:
                continue
            if layer not in known:
                known[layer] = [pricer.readers(blocks, name, size) for size in sizes]
            reads[position, index] = True
            readers[:, position, index] = known[layer]
    rows: Ints = np.array([pricer.rows(name, size) for size in sizes], dtype=np.int64)
    return PoolPrices(rows=rows, readers=readers, reads=reads)
