"""Initial values that depend on the seed, the parameter's name and the row, and on nothing else.

A parameter is a list of rows: the last axis is the row, all others number it; a vector has rows of
one element. Rows are drawn in blocks of a fixed size, each from its own counter-based generator, so
any rank fills any range of rows bit-equally and nobody draws a whole table. Values are drawn in
fp32 and rounded to the parameter's dtype.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from archspec.blocks.part import Part
from archspec.compiler.boxes import Box, held, local_box
from archspec.errors import ArchspecError
from archspec.initialisers import Constant, Initialiser, Normal

# Rows of one generator. A block is always drawn in full, so that a row does not depend on how many
# follow it: small enough that little is drawn in vain, large enough that seeding costs nothing.
BLOCK_ROWS = 256


def find_initialisers(model: nn.Module) -> dict[str, Initialiser]:
    """Return the initialiser of every parameter, by the parameter's name in the model.

    Raises:
        ArchspecError: A parameter has none, or an initialiser names no parameter.
    """
    found: dict[str, Initialiser] = {}
    for prefix, module in model.named_modules():
        if isinstance(module, Part):
            for name, initialiser in module.initialisers().items():
                found[f"{prefix}.{name}" if prefix else name] = initialiser
    names = {name for name, _ in model.named_parameters()}
    missing, unknown = sorted(names - found.keys()), sorted(found.keys() - names)
    if missing or unknown:
        faults = [f"{name} has none" for name in missing]
        faults += [f"{name} does not exist" for name in unknown]
        raise ArchspecError(
            f"every parameter has one initialiser, but {'; '.join(faults)}; correct initialisers() "
            "of the module that owns it"
        )
    return found


def initialise(model: nn.Module, *, seed: int) -> None:
    """Fill every parameter of a model in place, of one laid over a mesh what this rank holds."""
    initialisers = find_initialisers(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fill_box(
                held(parameter),
                name,
                initialisers[name],
                seed=seed,
                shape=parameter.shape,
                box=local_box(parameter),
            )


def fill_box(
    target: Tensor,
    name: str,
    initialiser: Initialiser,
    *,
    seed: int,
    shape: Sequence[int],
    box: Box,
) -> None:
    """Fill a part of a parameter in place.

    Args:
        target: The part, as large as the box.
        name: The parameter's name in the model.
        initialiser: Its distribution.
        seed: Seed of the model.
        shape: All of the parameter.
        box: Start and stop of the part along every dimension.
    """
    if isinstance(initialiser, Constant):
        target.fill_(initialiser.value)
        return
    if target.numel() == 0:
        return
    rows = as_rows(target)
    columns = slice(*box[-1]) if len(shape) > 1 else slice(0, 1)
    width = shape[-1] if len(shape) > 1 else 1
    filled, source = 0, _Source(name, seed, width)
    for start, stop in row_runs(shape, box):
        part = rows[filled : filled + stop - start]
        _fill_run(part, initialiser, source, start=start, columns=columns)
        filled += stop - start


def row_runs(shape: Sequence[int], box: Box) -> Iterator[tuple[int, int]]:
    """Yield the runs of neighbouring rows that a part of a parameter consists of, ascending."""
    lead = max(1, len(shape) - 1)  # a vector has rows of one element
    whole = lead - 1  # from the axis after this one on, the part has all of the parameter
    while whole > 0 and box[whole] == (0, shape[whole]):
        whole -= 1
    size = math.prod(shape[whole + 1 : lead])  # rows of one index of axis `whole`
    begin, end = box[whole]
    for index in itertools.product(*(range(*box[axis]) for axis in range(whole))):
        offset = 0
        for axis, place in enumerate(index):
            offset = offset * shape[axis] + place
        offset *= shape[whole]
        yield (offset + begin) * size, (offset + end) * size


def as_rows(parameter: Tensor) -> Tensor:
    """View a parameter as [rows, width]."""
    return parameter.view(-1, 1) if parameter.dim() < 2 else parameter.flatten(0, -2)


def fill_rows(
    target: Tensor, name: str, initialiser: Initialiser, *, seed: int, start: int = 0
) -> None:
    """Fill a range of a parameter's rows in place.

    Args:
        target: [count, width], the rows from ``start`` on, in full width.
        name: The parameter's name in the model.
        initialiser: Its distribution.
        seed: Seed of the model.
        start: Index of the first row.
    """
    if isinstance(initialiser, Constant):
        target.fill_(initialiser.value)
        return
    source = _Source(name, seed, target.shape[1])
    _fill_run(target, initialiser, source, start=start, columns=slice(None))


class _Source:
    """Draws blocks of a parameter's rows; keeps the last, which short runs share."""

    def __init__(self, name: str, seed: int, width: int) -> None:
        self._name, self._seed, self._width = name, seed, width
        self._last: tuple[int, Tensor] | None = None

    def block(self, index: int) -> Tensor:
        """Return standard normal rows, [BLOCK_ROWS, width] in fp32."""
        if self._last is None or self._last[0] != index:
            self._last = index, _draw(self._name, self._seed, index, self._width)
        return self._last[1]


def _fill_run(
    target: Tensor, initialiser: Normal, source: _Source, *, start: int, columns: slice
) -> None:
    """Fill neighbouring rows, [count, width of the columns], from row ``start`` on."""
    stop = start + target.shape[0]
    for block in range(start // BLOCK_ROWS, math.ceil(stop / BLOCK_ROWS)):
        first = block * BLOCK_ROWS
        begin, end = max(start, first), min(stop, first + BLOCK_ROWS)
        drawn = source.block(block)[begin - first : end - first, columns]
        target[begin - start : end - start] = drawn * initialiser.std


def _draw(name: str, seed: int, block: int, width: int) -> Tensor:
    """Draw one block of standard normal rows, [BLOCK_ROWS, width] in fp32."""
    digest = hashlib.sha256(f"{seed}:{name}:{block}".encode()).digest()
    # torch's own CPU generator keeps only 32 bits of a seed: too few for the blocks of a table.
    key = np.frombuffer(digest[:16], dtype="<u8")
    generator = np.random.Generator(np.random.Philox(key=key))
    return torch.from_numpy(generator.standard_normal((BLOCK_ROWS, width), dtype=np.float32))
