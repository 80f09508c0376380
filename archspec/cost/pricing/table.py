"""The prices of every choice at every layer, ready for sums over thousands of designs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archspec.cost.pricing.model import NANOSECONDS
from archspec.cost.pricing.parts import PEAKS, SECONDS, Amounts, PartPricer
from archspec.cost.pricing.quantities import (
    QUANTITIES,
    Flags,
    Floats,
    Ints,
    PriceSetting,
)
from archspec.spec.model import LayerSpec, ModelSpec

_CHUNK = 4096  # designs priced in one go; bounds the memory of the gathered rows
_WHOLE = 0
_WINDOWS = {"copies": 2}  # neighbouring layers whose copies are there together


@dataclass(frozen=True)
class Linear:
    """A sum over a design: what is fixed, what each layer adds, and the rows of pools once.

    Attributes:
        fixed: What every design has.
        own: Of each choice at each layer, by the sizes of the pools it reads, [L, C, J].
        rows: Of each pool at each size, [S], where it is read.
    """

    fixed: float
    own: Floats
    rows: tuple[Floats, ...]


@dataclass(frozen=True)
class Peak:
    """Something that a quantity adds beside its sums: the largest of several sums, or a floor.

    Attributes:
        quantity: What it is part of.
        window: How many neighbouring layers are summed; 0 for the whole design.
        terms: What is summed; fixed part and rows only count for the whole design.
        floor: The least value.
    """

    quantity: str
    window: int
    terms: Linear
    floor: float


class PriceTable:
    """The prices of every choice at every layer. L layers, C choices, P pools, J joint sizes.

    Attributes:
        setting: Under which circumstances.
        reads: Whether a choice reads a pool, [P, L, C].
        sums: The part of each quantity that is a sum, by name; times in ns.
        peaks: The parts that are none.
    """

    def __init__(
        self,
        base: ModelSpec,
        choices: Sequence[Sequence[LayerSpec]],
        pool_sizes: Mapping[str, Sequence[int]],
        setting: PriceSetting,
    ) -> None:
        """Price every choice once.

        Args:
            base: Everything that does not vary, and the templates of the pools.
            choices: The layers that may stand at each position.
            pool_sizes: For every pool that a choice reads, the values of its num_keys.
            setting: Under which circumstances.

        Raises:
            PlanError: If the plan cannot lay out a choice.
        """
        self.setting = setting
        self._pools = {name: tuple(sizes) for name, sizes in pool_sizes.items()}
        shape = (len(choices), max(map(len, choices)))
        self.reads: Flags = np.zeros((len(self._pools), *shape), dtype=np.bool_)
        self._strides: Ints = np.zeros((len(self._pools), *shape), dtype=np.int64)
        self._num_joint: Ints = np.ones(shape, dtype=np.int64)
        for layer, choice, spec in _cells(choices):
            stride = 1
            for pool, (name, sizes) in enumerate(self._pools.items()):
                if any(block.pool_name == name for block in spec.blocks):
                    self.reads[pool, layer, choice] = True
                    self._strides[pool, layer, choice] = stride
                    stride *= len(sizes)
            self._num_joint[layer, choice] = stride
        self._shape = (*shape, int(self._num_joint.max()))
        self._price(base, choices)

    def _price(self, base: ModelSpec, choices: Sequence[Sequence[LayerSpec]]) -> None:
        pricer = PartPricer(base, self.setting)
        self._counts: Ints = np.zeros((*self._shape, len(QUANTITIES)), dtype=np.int64)
        self._seconds: Floats = np.zeros((*self._shape, len(SECONDS)))
        self._peaks: Ints = np.zeros((*self._shape, len(PEAKS)), dtype=np.int64)
        known: dict[LayerSpec, list[tuple[Amounts, Ints]]] = {}
        readers: dict[str, LayerSpec] = {}
        for layer, choice, spec in _cells(choices):
            if spec not in known:
                known[spec] = [
                    (pricer.layer(spec, keys), pricer.peaks(spec, keys))
                    for keys in self._joint_sizes(spec)
                ]
            for block in spec.blocks:
                if block.pool_name is not None:
                    readers.setdefault(block.pool_name, spec)
            for number, (amounts, peaks) in enumerate(known[spec]):
                self._counts[layer, choice, number] = amounts.counts
                self._seconds[layer, choice, number] = amounts.seconds
                self._peaks[layer, choice, number] = peaks
        self._fixed = pricer.fixed
        self._rows = [
            [pricer.pool(readers[name], name, size) for size in sizes]
            for name, sizes in self._pools.items()
        ]
        self.sums = {name: self._sum_of(name) for name in self.setting.quantities}
        self.peaks = tuple(self._found_peaks(pricer.frame_gradients()))

    def _joint_sizes(self, layer: LayerSpec) -> Iterator[dict[str, int]]:
        """Yield every combination of sizes of the pools that a layer reads, the first fastest."""
        read = {block.pool_name for block in layer.blocks}
        names = [name for name in self._pools if name in read]
        for sizes in itertools.product(*(self._pools[name] for name in reversed(names))):
            yield dict(zip(names, reversed(sizes), strict=True))

    def _sum_of(self, quantity: str) -> Linear:
        if quantity in QUANTITIES:
            column = QUANTITIES.index(quantity)
            own: Floats = self._counts[..., column].astype(np.float64)
            rows = [[float(row.counts[column]) for row in pool] for pool in self._rows]
            return Linear(float(self._fixed.counts[column]), own, tuple(map(np.array, rows)))
        if quantity == "decode_time":
            return self._seconds_of([0, 0, 0, 1])
        return self._seconds_of([0, 1, 1, 0])

    def _seconds_of(self, factors: Sequence[float]) -> Linear:
        """Return a sum of the ``SECONDS``, each times a factor, in ns."""
        scaled = NANOSECONDS * np.array(factors, dtype=np.float64)
        return Linear(
            float(self._fixed.seconds @ scaled),
            self._seconds @ scaled,
            tuple(np.array([row.seconds @ scaled for row in pool]) for pool in self._rows),
        )

    def _found_peaks(self, frame_gradients: int) -> Iterator[Peak]:
        for column, name in enumerate(PEAKS):
            floor = float(frame_gradients) if name == "gradients" else 0.0
            own: Floats = self._peaks[..., column].astype(np.float64)
            if own.any() or floor:
                terms = Linear(0.0, own, ())
                yield Peak("device_bytes", _WINDOWS.get(name, 1), terms, floor)
        if self.setting.hardware is not None:
            # max(computing, overlapped), of which overlapped is among the sums
            yield Peak("step_time", _WHOLE, self._seconds_of([1, -1, 0, 0]), 0.0)

    def prices(self, layers: Ints, sizes: Ints) -> Ints:
        """Price designs, [N, Q] in the order of ``setting.quantities``; in their units.

        Args:
            layers: Index of the chosen layer for each position, [N, L].
            sizes: Index of the size of each pool, [N, P]; ignored for a pool nobody reads.
        """
        priced: Ints = np.empty((len(layers), len(self.setting.quantities)), dtype=np.int64)
        for start in range(0, len(layers), _CHUNK):
            part = slice(start, start + _CHUNK)
            priced[part] = self._prices(layers[part], sizes[part])
        return priced

    def joint(self, layers: Ints, sizes: Ints) -> Ints:
        """Return the index of every layer's pool sizes among its joint ones, [N, L]."""
        positions = np.arange(layers.shape[1])
        found: Ints = np.zeros(layers.shape, dtype=np.int64)
        for pool in range(len(self._pools)):
            found += self._strides[pool, positions, layers] * sizes[:, [pool]]
        return found

    def average(self, terms: Linear) -> Floats:
        """Return what each choice at each layer adds to a sum, over the sizes it reads, [L, C]."""
        return np.asarray(terms.own.sum(axis=2) / self._num_joint)

    def joint_of(self, layer: int, choice: int, sizes: Sequence[tuple[int, int]]) -> int:
        """Return the index of pool sizes, as (pool, size), among a choice's joint ones."""
        return sum(int(self._strides[pool, layer, choice]) * size for pool, size in sizes)

    def _prices(self, layers: Ints, sizes: Ints) -> Ints:
        positions = np.arange(layers.shape[1])
        _, width, joint = self._shape
        cells = (positions * width + layers) * joint + self.joint(layers, sizes)  # [N, L]
        read = np.asarray(self.reads[:, positions, layers].any(axis=2))  # [P, N]
        counts: Ints = self._counts.reshape(-1, len(QUANTITIES))[cells].sum(axis=1)
        counts += self._fixed.counts
        for pool, rows in enumerate(self._rows):
            amounts: Ints = np.array([row.counts for row in rows])
            counts += amounts[sizes[:, pool]] * read[pool][:, None]
        names = self.setting.quantities[len(QUANTITIES) :]
        times: Floats = np.zeros((len(layers), len(names)))
        for column, name in enumerate(names):
            times[:, column] = _whole(self.sums[name], cells, sizes, read)
        for peak in self.peaks:
            values = _peak_values(peak, cells, sizes, read)
            if peak.quantity in names:
                times[:, names.index(peak.quantity)] += values
            else:
                counts[:, QUANTITIES.index(peak.quantity)] += values.astype(np.int64)
        return np.concatenate([counts, np.rint(times).astype(np.int64)], axis=1)


def _cells(choices: Sequence[Sequence[LayerSpec]]) -> Iterator[tuple[int, int, LayerSpec]]:
    for layer, specs in enumerate(choices):
        for choice, spec in enumerate(specs):
            yield layer, choice, spec


def _whole(terms: Linear, cells: Ints, sizes: Ints, read: Flags) -> Floats:
    """Return a sum over each design, [N]."""
    total: Floats = terms.own.reshape(-1)[cells].sum(axis=1) + terms.fixed
    for pool, rows in enumerate(terms.rows):
        total += rows[sizes[:, pool]] * read[pool]
    return total


def _peak_values(peak: Peak, cells: Ints, sizes: Ints, read: Flags) -> Floats:
    if peak.window == _WHOLE:
        return np.maximum(_whole(peak.terms, cells, sizes, read), peak.floor)
    values: Floats = peak.terms.own.reshape(-1)[cells]
    window = min(peak.window, values.shape[1])
    sums = np.lib.stride_tricks.sliding_window_view(values, window, axis=1).sum(axis=2)
    return np.asarray(sums.max(axis=1, initial=peak.floor))
