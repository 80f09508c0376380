"""Initial values that depend on the seed, the parameter's name and the row, and on nothing else.

A parameter is a list of rows: the last axis is the row, all others number it; a vector has rows of
one element. Rows are drawn in blocks of a fixed size, each from its own counter-based generator, so
any rank fills any range of rows bit-equally and nobody draws a whole table. Values are drawn in
fp32 and rounded to the parameter's dtype.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor, nn

from archspec.blocks.part import Part
from archspec.errors import ArchspecError
from archspec.initialisers import Constant, Initialiser

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
    """Fill every parameter of a model in place."""
    initialisers = find_initialisers(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fill_rows(as_rows(parameter), name, initialisers[name], seed=seed)


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
    count, width = target.shape
    stop = start + count
    for block in range(start // BLOCK_ROWS, math.ceil(stop / BLOCK_ROWS)):
        first = block * BLOCK_ROWS
        begin, end = max(start, first), min(stop, first + BLOCK_ROWS)
        drawn = _draw(name, seed, block, width)[begin - first : end - first]
        target[begin - start : end - start] = drawn.mul_(initialiser.std)


def _draw(name: str, seed: int, block: int, width: int) -> Tensor:
    """Draw one block of standard normal rows, [BLOCK_ROWS, width] in fp32."""
    digest = hashlib.sha256(f"{seed}:{name}:{block}".encode()).digest()
    # torch's own CPU generator keeps only 32 bits of a seed: too few for the blocks of a table.
    key = np.frombuffer(digest[:16], dtype="<u8")
    generator = np.random.Generator(np.random.Philox(key=key))
    return torch.from_numpy(generator.standard_normal((BLOCK_ROWS, width), dtype=np.float32))
