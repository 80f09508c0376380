"""Bring a design to the FLOPs of another by the ``hidden_dim`` of its dense blocks, exactly.

Every dense block is scaled by one factor, so that the shape over depth stays; then each is rounded
down or up to a multiple, and which of them go up is solved for: among all such choices the result
is the nearest to the target. Everything is counted in whole FLOPs by the blocks' own ``cost``.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from archspec.blocks.base import CostContext
from archspec.blocks.dense.config import DenseConfig
from archspec.cost.summary import cost_context, total_cost
from archspec.errors import ArchspecError
from archspec.spec.model import LayerSpec, ModelSpec

TOLERANCE = 0.01  # matched FLOPs are no further from the target, as a share of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A design at the FLOPs that were asked for.

    Attributes:
        spec: The design, its dense blocks trimmed or grown.
        flops_per_token: What it now costs, forward.
        flops_before: What it cost as it was given.
        target: What was asked for.
        hidden_dims: Inner widths of its dense blocks from the first layer to the last.
        hidden_dims_before: As they were given.
    """

    spec: ModelSpec
    flops_per_token: int
    flops_before: int
    target: int
    hidden_dims: tuple[int, ...]
    hidden_dims_before: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Width:
    """One dense block's inner width.

    Attributes:
        hidden_dim: As it was given.
        flops: FLOPs per token of one element of it.
    """

    hidden_dim: int
    flops: int


def flops_per_token(spec: ModelSpec, *, seq_len: int) -> int:
    """Count the forward FLOPs of a token at a sequence length. Raises ArchspecError."""
    return total_cost(spec, _context(spec, seq_len)).flops_per_token


def match_flops(spec: ModelSpec, target: int, *, seq_len: int, round_to: int = 8) -> Match:
    """Trim or grow the dense blocks of a design until a token costs ``target`` FLOPs.

    Args:
        spec: The design; one that costs the target already is returned as it is.
        target: Forward FLOPs per token.
        seq_len: Tokens per sequence, for attention.
        round_to: Inner widths become multiples of it.

    Raises:
        ArchspecError: No choice of widths comes within 1%; the message says what can be reached.
    """
    before = flops_per_token(spec, seq_len=seq_len)
    widths = _widths(spec, _context(spec, seq_len))
    given = tuple(width.hidden_dim for width in widths)
    chosen, result, total = given, spec, before
    if before != target:
        if not widths:
            raise ArchspecError(_no_dense(spec, before, target))
        rest = before - sum(width.hidden_dim * width.flops for width in widths)
        chosen = _solve(widths, target - rest, round_to)
        result = _with_widths(spec, chosen)
        total = flops_per_token(result, seq_len=seq_len)
        if abs(total - target) > TOLERANCE * target:
            raise ArchspecError(_unreachable(spec, widths, rest, target, total, round_to))
    return Match(
        spec=result,
        flops_per_token=total,
        flops_before=before,
        target=target,
        hidden_dims=chosen,
        hidden_dims_before=given,
    )


def _context(spec: ModelSpec, seq_len: int) -> CostContext:
    try:
        return cost_context(spec, seq_len=seq_len)
    except ValueError as error:
        raise ArchspecError(f"{spec.name or 'model'}: {error}") from None


def _widths(spec: ModelSpec, context: CostContext) -> tuple[_Width, ...]:
    """List the dense blocks in the order of layers, with the price of an element of each."""
    blocks = [block for layer in spec.layers for block in layer.blocks]
    return tuple(
        _Width(block.hidden_dim, block.cost(context).flops_per_token // block.hidden_dim)
        for block in blocks
        if isinstance(block, DenseConfig)
    )


def _solve(widths: Sequence[_Width], budget: int, round_to: int) -> tuple[int, ...]:
    """Choose a multiple of ``round_to`` for every width so that they cost about ``budget``."""
    exact = _scaled(widths, budget, round_to)
    low = [max(1, int(width)) for width in exact]
    left = budget - sum(n * round_to * w.flops for n, w in zip(low, widths, strict=True))
    prices = Counter(width.flops * round_to for width in widths)
    raised = _nearest(prices, left)
    counts = [
        number + extra for number, extra in zip(low, _spread(widths, raised, round_to), strict=True)
    ]
    return tuple(number * round_to for number in counts)


def _scaled(widths: Sequence[_Width], budget: int, round_to: int) -> list[float]:
    """Scale every width by one factor to cost ``budget``; in multiples, none below 1.

    What a width at the floor costs too much, the others save: the factor falls until it holds.
    """
    floor = [False] * len(widths)
    while True:
        spent = sum(w.flops * round_to for w, low in zip(widths, floor, strict=True) if low)
        free = sum(w.hidden_dim * w.flops for w, low in zip(widths, floor, strict=True) if not low)
        factor = max(0.0, (budget - spent) / free) if free else 0.0
        exact = [
            1.0 if low else factor * w.hidden_dim / round_to
            for w, low in zip(widths, floor, strict=True)
        ]
        below = [low or width < 1 for low, width in zip(floor, exact, strict=True)]
        if below == floor:
            return exact
        floor = below


def _nearest(prices: Counter[int], left: int) -> dict[int, int]:
    """Say how many widths of each price are raised to spend ``left`` as nearly as possible.

    Tries every number of each price: there are two at most, with and without a gate. Of equally
    near choices the cheaper wins.
    """
    kinds = sorted(prices)
    numbers = itertools.product(*(range(prices[price] + 1) for price in kinds))
    choices = [dict(zip(kinds, choice, strict=True)) for choice in numbers]

    def rank(choice: dict[int, int]) -> tuple[int, int]:
        cost = sum(price * number for price, number in choice.items())
        return abs(left - cost), cost

    return min(choices, key=rank)


def _spread(widths: Sequence[_Width], raised: dict[int, int], round_to: int) -> list[int]:
    """Spread the raised widths of each price evenly over depth, 0 or 1 for each."""
    totals = Counter(width.flops * round_to for width in widths)
    seen: Counter[int] = Counter()
    extra = []
    for width in widths:
        price = width.flops * round_to
        number, total = raised[price], totals[price]
        before, seen[price] = seen[price], seen[price] + 1
        extra.append(seen[price] * number // total - before * number // total)
    return extra


def _with_widths(spec: ModelSpec, hidden_dims: Sequence[int]) -> ModelSpec:
    """Return the spec with these inner widths, one for each dense block."""
    left = iter(hidden_dims)

    def changed(layer: LayerSpec) -> LayerSpec:
        blocks = tuple(
            block.model_copy(update={"hidden_dim": next(left)})
            if isinstance(block, DenseConfig)
            else block
            for block in layer.blocks
        )
        return dataclasses.replace(layer, blocks=blocks)

    return spec.replace(layers=tuple(changed(layer) for layer in spec.layers))


def _no_dense(spec: ModelSpec, before: int, target: int) -> str:
    return (
        f"{spec.name or 'model'}: FLOPs are matched by hidden_dim of dense blocks, but it has "
        f"none, and costs {before:,} FLOPs per token where {target:,} are asked for "
        f"({before / target:.3f}x); enter it by --as-is, or give it a dense block"
    )


def _unreachable(
    spec: ModelSpec,
    widths: Sequence[_Width],
    rest: int,
    target: int,
    nearest: int,
    round_to: int,
) -> str:
    least = rest + sum(width.flops * round_to for width in widths)
    step = min(width.flops for width in widths) * round_to
    name = spec.name or "model"
    if least > target:
        return (
            f"{name}: cannot be trimmed to {target:,} FLOPs per token: with hidden_dim {round_to} "
            f"in all {len(widths)} dense blocks it still costs {least:,} "
            f"({least / target:.3f}x), and everything above that can be reached; make its other "
            "parts smaller, or enter it by --as-is"
        )
    return (
        f"{name}: cannot be brought within 1% of {target:,} FLOPs per token: the nearest is "
        f"{nearest:,} ({nearest / target:.4f}x), in steps of {step:,} from {least:,} upwards; "
        f"lower --round-to, which is {round_to}"
    )
