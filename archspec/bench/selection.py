"""Product-key selection beside the pipeline of three stock ``torch.topk`` calls.

With scoring, from queries and codebooks; and alone, from the scores of both halves.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from archspec.bench.contest import OURS, TOLERANCES, Contest, Entrant, Task, Way
from archspec.bench.inputs import draw_normal
from archspec.bench.traffic import ranking_traffic, selection_traffic
from archspec.kernels.product_key_topk import product_key_topk

_SETS = 4
Selected = tuple[Tensor, Tensor]  # scores and slots, each [tokens, heads, top_k]


@dataclass(frozen=True, kw_only=True)
class SelectionSize:
    """Queries and the codebooks they are scored against.

    Args:
        tokens: Tokens.
        heads: Heads.
        num_keys: Keys of a half, so num_keys ** 2 slots.
        half_dim: Elements of half a query.
        top_k: Slots of a token and head.
        dtype: Of queries and codebooks; a name in torch.
    """

    tokens: int
    heads: int
    num_keys: int
    half_dim: int
    top_k: int
    dtype: str

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype that the name stands for."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


class SelectionInputs:
    """Codebooks, [2, heads, num_keys, half_dim], and the queries that take turns on them."""

    def __init__(self, size: SelectionSize, device: torch.device) -> None:
        generator = torch.Generator(device=device)
        generator.manual_seed(0)
        self.size = size
        dtype = size.torch_dtype
        shape = (size.tokens, size.heads, 2, size.half_dim)
        self.queries = tuple(draw_normal(shape, dtype, generator) for _ in range(_SETS))
        shape = (2, size.heads, size.num_keys, size.half_dim)
        self.codebooks = draw_normal(shape, dtype, generator)

    @property
    def first(self) -> tuple[Tensor, Tensor]:
        """The queries of the first turn, and the codebooks."""
        return self.queries[0], self.codebooks

    def turn(self, turn: int) -> Tensor:
        """Return the queries of a turn, [tokens, heads, 2, half_dim]."""
        return self.queries[turn % _SETS]


def selection_task(size: SelectionSize, varied: str, device: torch.device) -> Task:
    """Declare selection with scoring at one size."""
    scores = 2 * size.tokens * size.heads * size.num_keys * 4
    return Task(
        case="topk",
        varied=varied,
        size=asdict(size),
        needs=2 * scores,
        draw=functools.partial(_draw, size, device),
    )


def stock_pipeline(queries: Tensor, codebooks: Tensor, top_k: int) -> Selected:
    """Score both halves, take the best of each, then the best of all their pairs."""
    halves = torch.matmul(queries.permute(2, 1, 0, 3), codebooks.mT)
    scores, slots = stock_ranking(halves, top_k)
    return scores.transpose(0, 1), slots.transpose(0, 1)


def stock_ranking(halves: Tensor, top_k: int) -> Selected:
    """Select from the scores of both halves, [2, heads, tokens, num_keys]."""
    num_keys = halves.shape[-1]
    first, first_keys = halves[0].topk(top_k, sorted=False)
    second, second_keys = halves[1].topk(top_k, sorted=False)
    pairs = (first[..., :, None] + second[..., None, :]).flatten(-2)
    scores, places = pairs.topk(top_k)
    slots = first_keys.gather(-1, places // top_k) * num_keys
    return scores, slots + second_keys.gather(-1, places % top_k)


def _draw(size: SelectionSize, device: torch.device) -> Contest:
    inputs = SelectionInputs(size, device)
    scored = 2 * size.tokens * size.heads * size.num_keys * size.torch_dtype.itemsize
    ways: dict[str, tuple[Callable[[Tensor, Tensor, int], Selected], int]] = {
        OURS: (product_key_topk, 0),
        "three torch.topk": (stock_pipeline, 2 * scored),
    }
    return Contest(
        entrants=tuple(
            Entrant(name=name, enter=functools.partial(_way, inputs, select), needs=needs)
            for name, (select, needs) in ways.items()
        ),
        traffic=selection_traffic(
            tokens=size.tokens,
            heads=size.heads,
            num_keys=size.num_keys,
            half_dim=size.half_dim,
            top_k=size.top_k,
            element=size.torch_dtype.itemsize,
        ),
        tolerance=TOLERANCES[size.torch_dtype],
        flops=2 * 2 * size.tokens * size.heads * size.num_keys * size.half_dim,
    )


def ranking_task(size: SelectionSize, varied: str, device: torch.device) -> Task:
    """Declare selection from given scores at one size; only the CPU kernel offers that apart."""
    scores = 2 * size.tokens * size.heads * size.num_keys * 4
    absent = importlib.util.find_spec("numba") is None
    return Task(
        case="rank",
        varied=varied,
        size=asdict(size),
        needs=(_SETS + 2) * scores,
        draw=functools.partial(_draw_ranking, size, device),
        refusal="numba is not installed" if absent else None,
    )


def _draw_ranking(size: SelectionSize, device: torch.device) -> Contest:
    from archspec.kernels.product_key_topk.cpu import select

    inputs = SelectionInputs(size, device)
    keys = inputs.codebooks.mT
    halves = tuple(torch.matmul(part.permute(2, 1, 0, 3), keys) for part in inputs.queries)
    shape = (size.tokens, size.heads, size.top_k)

    def ours(halves: Tensor) -> Selected:
        scores = torch.empty(shape)
        slots = torch.empty(shape, dtype=torch.int32)
        select(halves, scores, slots)
        return scores, slots

    def stock(halves: Tensor) -> Selected:
        scores, slots = stock_ranking(halves, size.top_k)
        return scores.transpose(0, 1), slots.transpose(0, 1)

    def enter(rank: Callable[[Tensor], Selected]) -> Way:
        return Way(
            prepare=lambda turn: halves[turn % _SETS],
            run=rank,
            outputs=lambda found: (found[0], _scores_of(found[1], *inputs.first)),
        )

    return Contest(
        entrants=(
            Entrant(name=OURS, enter=functools.partial(enter, ours)),
            Entrant(name="three torch.topk", enter=functools.partial(enter, stock)),
        ),
        implementation="numba",
        traffic=ranking_traffic(
            tokens=size.tokens, heads=size.heads, num_keys=size.num_keys, top_k=size.top_k
        ),
        tolerance=TOLERANCES[size.torch_dtype],
    )


def _scores_of(slots: Tensor, queries: Tensor, codebooks: Tensor) -> Tensor:
    """Score chosen slots, [tokens, heads, top_k], in fp32."""
    halves = torch.einsum("thpd,phnd->pthn", queries.float(), codebooks.float())
    num_keys = codebooks.shape[2]
    first = halves[0].gather(-1, slots.long() // num_keys)
    return first + halves[1].gather(-1, slots.long() % num_keys)


def _way(inputs: SelectionInputs, select: Callable[[Tensor, Tensor, int], Selected]) -> Way:
    def run(queries: Tensor) -> Selected:
        with torch.no_grad():
            return select(queries, inputs.codebooks, inputs.size.top_k)

    def outputs(selected: Selected) -> Sequence[Tensor]:
        # Equal scores are ordered as each way likes, so what must agree are the scores, and the
        # scores of the slots.
        scores, slots = selected
        return scores, _scores_of(slots, *inputs.first)

    return Way(prepare=inputs.turn, run=run, outputs=outputs)
