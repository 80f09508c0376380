"""Product-key selection on a GPU: scores by cuBLAS, then two selection kernels.

The first kernel takes half rows. The best ``top`` scores of one lie in the ``top`` groups of
adjacent keys with the largest maxima, so that of 1,024 keys at top_k 32 only 128 maxima and then
32 x 8 candidates are sorted. The second kernel takes pairs of sorted halves, of which those with
(a + 1)(b + 1) <= top_k can win: 119 of 1,024.

What bounds it, for 16,384 tokens, 4 heads, 1,024 keys, top_k 32 and key_dim 512 in bf16 on an H100
(989 TFLOP/s; 3.35 TB/s; 132 multiprocessors at 1.7 GHz, each of which starts in a cycle 4
instructions of a warp, of them at most 2 on integers, comparisons or selects and 1 shuffle):

- Scoring is 69 GFLOP, 0.07 ms, and writes 537 MB of half scores, 0.16 ms. A kernel that ranked them
  before they leave the registers would save that, and cannot: 64 tokens x 1,024 keys fill these.
- Reading them back is another 0.16 ms, in the shadow of the sort.
- Sorting takes 640 instructions on integers and the like a half row and 240 a row of pairs, 1,520
  for each of 65,536 tokens and heads: 0.22 ms. Shuffles are 450: 0.13 ms, beside the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from archspec.kernels.product_key_topk.gpu_keys import log2, pack_keys, top_keys, unpack_keys
from archspec.kernels.product_key_topk.reference import slot_dtype

# Half scores held at a time: 128 MB in fp32. Chunks that stay in the L2 cache (50 MB on an H100)
# would save up to 0.1 ms of the times above, and cost more: 36 more kernels, 8 us or so each to
# start.
_CHUNK_ELEMENTS = 1 << 25

_WARP = 32  # lanes
# Keys take two registers each, so that these take 64 of a lane's 255.
_KEYS_PER_LANE = 32
# Rows of scores are padded to 16 elements, for cuBLAS and for 16-byte loads.
_ALIGNMENT = 16
# Compute capabilities whose fp64 units are at least a quarter as many as those of fp32.
_FAST_DOUBLES = ((8, 0), (9, 0), (10, 0))


def product_key_topk(queries: Tensor, codebooks: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.product_key_topk.reference.product_key_topk`.

    ``top_k`` is at most 64 and ``num_keys`` at most 32,768.
    """
    (tokens, heads), num_keys = queries.shape[:2], codebooks.shape[2]
    scores = queries.new_empty(tokens, heads, top_k, dtype=torch.float32)
    slots = queries.new_empty(tokens, heads, top_k, dtype=slot_dtype(num_keys))
    rows, keys = by_half(queries), padded_keys(codebooks)
    with torch.cuda.device_of(queries):
        for part in chunks(tokens, 2 * heads * keys.shape[1]):
            half_scores = matmul_fp32(rows[:, part], keys.mT)  # [heads * 2, chunk, padded num_keys]
            best = _best_of_halves(half_scores, num_keys, top_k)
            _best_of_pairs(best, num_keys, scores[part], slots[part])
    return scores, slots


def by_half(queries: Tensor) -> Tensor:
    """View [tokens, heads, 2, half_dim] as [heads * 2, tokens, half_dim]."""
    return queries.flatten(1, 2).transpose(0, 1)


def padded_keys(codebooks: Tensor) -> Tensor:
    """Copy [2, heads, num_keys, half_dim] to [heads * 2, padded num_keys, half_dim]."""
    keys = codebooks.transpose(0, 1).flatten(0, 1)
    return torch.nn.functional.pad(keys, (0, 0, 0, padded(keys.shape[1]) - keys.shape[1]))


def padded(num_keys: int) -> int:
    """Return the length of a row of half scores."""
    return -(-num_keys // _ALIGNMENT) * _ALIGNMENT


def chunks(tokens: int, elements_per_token: int) -> list[slice]:
    """Cut tokens into equal parts that hold at most ``_CHUNK_ELEMENTS``, or one token.

    Parts are multiples of 4 tokens, so that what begins with one is as aligned as the whole, for
    which a kernel is compiled.
    """
    most = max(1, _CHUNK_ELEMENTS // elements_per_token)
    unit = 4 if most >= 4 else 1
    num_parts = -(-tokens // (most // unit * unit))
    size = -(-tokens // max(1, num_parts * unit)) * unit
    return [slice(start, start + size) for start in range(0, tokens, max(1, size))]


def matmul_fp32(first: Tensor, second: Tensor) -> Tensor:
    """Multiply batches of matrices of one dtype, with sums and results in fp32."""
    if first.dtype != torch.float32 and first.is_cuda:
        return torch.bmm(first, second, out_dtype=torch.float32)
    return torch.bmm(first.float(), second.float())


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How a program, which is one warp, picks the best of its rows; all are powers of two.

    Args:
        columns: Of a row, padding included.
        group: Adjacent columns of which the maximum is ranked first; 0 where all are sorted.
        top: Keys picked.
        lanes: That share a row.
    """

    columns: int
    group: int
    top: int
    lanes: int

    def num_programs(self, rows: int) -> int:
        """Return how many programs take so many rows."""
        return -(-rows * self.lanes // _WARP)


@cache
def half_selection(num_keys: int, top_k: int) -> Selection:
    """Choose the group with which the fewest keys, of maxima and of candidates, are sorted."""
    top = _top(top_k)
    columns = max(top, triton.next_power_of_2(num_keys))
    passes: dict[int, tuple[int, ...]] = {0: (columns,)}
    group = 4  # a load of 16 bytes
    while columns // group > top:
        passes[group] = (columns // group, top * group)
        group *= 2
    group = min(passes, key=lambda size: sum(passes[size]))
    return Selection(columns=columns, group=group, top=top, lanes=_lanes(max(passes[group]), top))


@cache
def pair_selection(top_k: int) -> Selection:
    """Lay out the pairs of ranks that can win."""
    top = _top(top_k)
    columns = max(top, triton.next_power_of_2(len(winning_ranks(top_k))))
    return Selection(columns=columns, group=0, top=top, lanes=_lanes(columns, top))


def winning_ranks(top_k: int) -> list[tuple[int, int]]:
    """List the pairs of ranks from 0 that can win: as good as (a, b) are (a + 1)(b + 1) pairs."""
    return [(a, b) for a in range(top_k) for b in range(top_k // (a + 1))]


def _top(top_k: int) -> int:
    # Below 8 a kernel saves too little to be worth its compilation.
    return max(8, int(triton.next_power_of_2(top_k)))


def _lanes(columns: int, top: int) -> int:
    """Spread sorted columns over few lanes, but at least 4 where they have 4 columns each."""
    return min(max(4, columns // _KEYS_PER_LANE), columns // 4, top, _WARP)


def half_constants(num_keys: int, top_k: int, *, as_doubles: bool) -> dict[str, Any]:
    """Return what the kernel of halves is compiled for, which is no number of tokens."""
    selection = half_selection(num_keys, top_k)
    return {
        "NUM_KEYS": num_keys,
        "STRIDE": padded(num_keys),
        "COLUMNS": selection.columns,
        "GROUP": selection.group,
        "TOP": selection.top,
        "LANES": selection.lanes,
        "AS_DOUBLES": as_doubles,
    }


def pair_constants(num_keys: int, top_k: int) -> dict[str, Any]:
    """Return what the kernel of pairs is compiled for."""
    selection = pair_selection(top_k)
    return {
        "NUM_KEYS": num_keys,
        "TOP_K": top_k,
        "NUM_PAIRS": len(winning_ranks(top_k)),
        "COLUMNS": selection.columns,
        "TOP": selection.top,
        "LANES": selection.lanes,
    }


@cache
def _packed_ranks(top_k: int, columns: int, device: torch.device) -> Tensor:
    ranks = [(a << 16) | b for a, b in winning_ranks(top_k)]
    ranks += [0] * (columns - len(ranks))
    return torch.tensor(ranks, dtype=torch.int32, device=device)


@cache
def _compares_doubles(device: torch.device) -> bool:
    return device.type != "cuda" or torch.cuda.get_device_capability(device) in _FAST_DOUBLES


def _best_of_halves(half_scores: Tensor, num_keys: int, top_k: int) -> Tensor:
    """Return keys of the best of each row, [heads * 2, tokens, top], best first."""
    selection = half_selection(num_keys, top_k)
    as_doubles = _compares_doubles(half_scores.device)
    rows = half_scores.shape[:2]
    best = half_scores.new_empty(
        *rows, selection.top, dtype=torch.float64 if as_doubles else torch.int64
    )
    _best_of_half_kernel[(selection.num_programs(rows.numel()),)](
        half_scores,
        best,
        rows.numel(),
        **half_constants(num_keys, top_k, as_doubles=as_doubles),
        num_warps=1,
    )
    return best


def _best_of_pairs(best: Tensor, num_keys: int, scores: Tensor, slots: Tensor) -> None:
    """Fill scores and slots, [tokens, heads, top_k], from the best of each half."""
    tokens, heads, top_k = scores.shape
    selection = pair_selection(top_k)
    _best_of_pairs_kernel[(selection.num_programs(tokens * heads),)](
        best,
        _packed_ranks(top_k, selection.columns, scores.device),
        scores,
        slots,
        tokens,
        heads,
        **pair_constants(num_keys, top_k),
        num_warps=1,
    )


@triton.jit(do_not_specialize=["num_rows"])
def _best_of_half_kernel(
    scores,  # [num_rows, STRIDE]
    best,  # [num_rows, TOP]
    num_rows,
    NUM_KEYS: tl.constexpr,
    STRIDE: tl.constexpr,
    COLUMNS: tl.constexpr,
    GROUP: tl.constexpr,
    TOP: tl.constexpr,
    LANES: tl.constexpr,
    AS_DOUBLES: tl.constexpr,
):
    """Write the keys of the ``TOP`` best scores of each row, best first; ids are columns."""
    ROWS: tl.constexpr = 32 // LANES
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row_scores = scores + tl.minimum(rows, num_rows - 1) * STRIDE
    if GROUP == 0:
        starts = _lane_numbers(COLUMNS // 4, ROWS, LANES) * 4
    else:
        groups = _lane_numbers(COLUMNS // GROUP, ROWS, LANES)
        maxima = tl.full(groups.shape, float("-inf"), tl.float32)
        for piece in tl.static_range(0, GROUP, 4):
            quads, _ = _load_quads(row_scores, groups * GROUP + piece, NUM_KEYS, STRIDE)
            maxima = _larger(maxima, _largest_of_quad(quads))
        keys = pack_keys(maxima, groups, AS_DOUBLES)
        keys = _line_up(tl.permute(keys, (1, 2, 0)), TOP)
        _, groups = unpack_keys(top_keys(keys, TOP, log2(TOP // LANES)))
        groups = groups.reshape(ROWS, LANES, TOP // LANES, 1)
        starts = groups * GROUP + tl.arange(0, GROUP // 4) * 4
        starts = tl.permute(starts.reshape(ROWS, LANES, TOP * GROUP // LANES // 4), (2, 0, 1))
    quads, columns = _load_quads(row_scores, starts, NUM_KEYS, STRIDE)
    keys = tl.permute(pack_keys(quads, columns, AS_DOUBLES), (1, 2, 0, 3))
    keys = _line_up(keys.reshape(ROWS, LANES, 4 * starts.shape[0]), TOP)
    keys = top_keys(keys, TOP, log2(TOP // LANES))
    places = rows[:, None] * TOP + tl.arange(0, TOP)
    tl.store(best + places, keys, mask=(rows < num_rows)[:, None])


@triton.jit(do_not_specialize=["tokens", "heads"])
def _best_of_pairs_kernel(
    best,  # [heads * 2, tokens, TOP]
    ranks,  # [COLUMNS]
    scores,  # [tokens, heads, TOP_K]
    slots,  # [tokens, heads, TOP_K]
    tokens,
    heads,
    NUM_KEYS: tl.constexpr,
    TOP_K: tl.constexpr,
    NUM_PAIRS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TOP: tl.constexpr,
    LANES: tl.constexpr,
):
    """Write the best slots of each token and head, from its two halves sorted."""
    ROWS: tl.constexpr = 32 // LANES
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    is_row = rows < tokens * heads
    head, token = rows // tokens, rows % tokens
    first = (tl.where(is_row, head * 2 * tokens + token, 0) * TOP)[None, :, None]
    pairs = _lane_numbers(COLUMNS, 1, LANES)
    pair_ranks = tl.load(ranks + pairs)
    first_scores, first_keys = unpack_keys(tl.load(best + first + (pair_ranks >> 16)))
    second = first + tokens * TOP
    second_scores, second_keys = unpack_keys(tl.load(best + second + (pair_ranks & 0xFFFF)))
    # Padding is as bad as can be, and its slot comes after all real ones.
    pair_scores = tl.where(pairs < NUM_PAIRS, first_scores + second_scores, float("-inf"))
    pair_slots = tl.where(pairs < NUM_PAIRS, first_keys * NUM_KEYS + second_keys, 0x7FFFFFFF)
    keys = pack_keys(pair_scores, pair_slots, best.dtype.element_ty == tl.float64)
    keys = _line_up(tl.permute(keys, (1, 2, 0)), TOP)
    top_scores, top_slots = unpack_keys(top_keys(keys, TOP, log2(TOP // LANES)))
    picks = tl.arange(0, TOP)
    places = (token * heads + head)[:, None] * TOP_K + picks
    mask = is_row[:, None] & (picks < TOP_K)
    tl.store(scores + places, top_scores, mask=mask)
    tl.store(slots + places, top_slots, mask=mask)


@triton.jit
def _lane_numbers(NUMBERS: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr):
    """Number what a row has, [NUMBERS // LANES, ROWS, LANES], side by side in its lanes."""
    lanes = tl.arange(0, LANES)
    numbers = tl.arange(0, NUMBERS // LANES)[:, None, None] * LANES + lanes
    return tl.broadcast_to(numbers, (NUMBERS // LANES, ROWS, LANES))


@triton.jit
def _load_quads(row_scores, starts, NUM_KEYS: tl.constexpr, STRIDE: tl.constexpr):
    """Load 4 adjacent scores from each start, and return them with their columns."""
    columns = starts[:, :, :, None] + tl.arange(0, 4)
    # Said aloud, as the compiler does not follow starts through shuffles: else 4 loads take place.
    columns = tl.max_contiguous(tl.multiple_of(columns, (1, 1, 1, 4)), (1, 1, 1, 4))
    quads = tl.load(row_scores[:, None, None] + columns, mask=columns < STRIDE, other=0)
    return tl.where(columns < NUM_KEYS, quads, float("-inf")), columns


@triton.jit
def _largest_of_quad(quads):
    even, odd = tl.split(quads.reshape(quads.shape[0], quads.shape[1], quads.shape[2], 2, 2))
    even, odd = tl.split(_larger(even, odd))
    return _larger(even, odd)


@triton.jit
def _larger(left, right):
    return tl.maximum(left, right, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _line_up(keys, TOP: tl.constexpr):
    """Make a row [rows, columns] of its lanes [rows, LANES, columns // LANES], moving nothing.

    Registers are the lowest bits of a column's number, then come lanes, then registers again, so
    that a lane orders neighbours by itself, and so it does blocks of ``TOP`` columns.
    """
    ROWS: tl.constexpr = keys.shape[0]
    LANES: tl.constexpr = keys.shape[1]
    COLUMNS: tl.constexpr = keys.shape[1] * keys.shape[2]
    keys = keys.reshape(ROWS, LANES, COLUMNS // TOP, TOP // LANES)
    return tl.permute(keys, (0, 2, 1, 3)).reshape(ROWS, COLUMNS)
