"""GPU kernels that sum look-ups grouped by row, whatever is then done with a row's sum.

Look-ups ``starts[i]:starts[i + 1]`` are those of row i. A row with at most SEGMENT look-ups is
*short*: one program sums it in registers. A *hot* row is cut every SEGMENT look-ups from its own
first one, so that no program sums more, however skewed the look-ups are. Its segments are summed
into partial rows, every 64 of these into one, and what is left by the program that needs the row.
The order of addition depends on the row's own look-ups alone, and nothing is added atomically:
results are bitwise reproducible, also when the same look-ups come among others.

Partial rows need no list of hot rows, which the host would have to wait for. Look-ups are covered
by windows of SEGMENT. In a window there starts at most one segment that continues a row (place
``2 * window``) and at most one that is the first of a hot row (place ``2 * window + 1``).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from archspec.kernels.row_tiles import RowTile, sum_tile

SEGMENT = tl.constexpr(64)
GROUP = tl.constexpr(64)  # partial rows that are added up before another sum starts
# Their numbers, rounded up to whole windows, are 32-bit: 64-bit ones cost registers everywhere.
MAX_LOOK_UPS = 2**31 - 2**8


class LookUps(NamedTuple):
    """Look-ups grouped by row, and what they add up.

    Args:
        starts: [rows + 1], int32 or int64.
        order: [lookups]. Rows of ``grads``, or, where ``picks`` is not 0, positions in the flat
            [tokens, picks], which also say where ``weights`` has the weight.
        weights: [lookups], of any dtype.
        grads: [tokens, width], of any dtype.
        picks: Of a token; 0 if ``order`` holds tokens.
    """

    starts: Tensor
    order: Tensor
    weights: Tensor
    grads: Tensor
    picks: int

    @property
    def num_rows(self) -> int:
        """Rows that the look-ups are grouped by."""
        return self.starts.shape[0] - 1


class HotRows(NamedTuple):
    """The sums of the segments of hot rows.

    Args:
        places: [2 * windows], int32: the row whose segment a place belongs to, or -1.
        partials: [2 * windows, width], fp32; undefined where no segment is.
    """

    places: Tensor
    partials: Tensor

    @property
    def num_windows(self) -> int:
        """Windows of look-ups; in each there starts at most one hot row."""
        return self.places.shape[0] // 2


def require_few_look_ups(op_name: str, num_look_ups: int) -> None:
    """Raise ValueError if there are more look-ups than the kernels can number."""
    if num_look_ups > MAX_LOOK_UPS:
        raise ValueError(
            f"{op_name}: at most {MAX_LOOK_UPS} look-ups can be summed at a time, but there are "
            f"{num_look_ups}; split the batch"
        )


def sum_segments(
    look_ups: LookUps, tile: RowTile, table: Tensor | None = None, dots: Tensor | None = None
) -> HotRows | None:
    """Sum the segments of hot rows, or return None if there are too few look-ups for one.

    Args:
        look_ups: All look-ups.
        tile: Of the short rows.
        table: [rows, width]; if given, ``dots`` receives the dots of hot look-ups with their row.
        dots: [tokens * picks], fp32.
    """
    num_look_ups, width = look_ups.order.shape[0], look_ups.grads.shape[1]
    if num_look_ups <= SEGMENT.value:
        return None
    num_places = 2 * triton.cdiv(num_look_ups, SEGMENT.value)
    grads = look_ups.grads
    places = torch.empty(num_places, dtype=torch.int32, device=grads.device)
    partials = grads.new_empty(num_places, width, dtype=torch.float32)
    rows, steps = look_ups.num_rows, look_ups.num_rows.bit_length()
    find_segments_kernel[(triton.cdiv(num_places, 128),)](
        look_ups.starts, places, num_look_ups, num_places, rows, steps, LANES=128, num_warps=4
    )
    shape = {"WIDTH": width, "COLUMNS": tile.columns}
    sum_segments_kernel[(num_places,)](
        look_ups.starts,
        look_ups.order,
        look_ups.weights,
        grads,
        places,
        partials,
        grads if table is None else table,
        partials if dots is None else dots,
        look_ups.picks,
        DEPTH=tile.depth,
        BY_POSITION=look_ups.picks > 0,
        DOT=table is not None,
        num_warps=tile.num_warps,
        num_stages=1,
        **shape,
    )
    if num_look_ups > SEGMENT.value * GROUP.value:
        tile = partials_tile(width)
        sum_groups_kernel[(num_places,)](
            look_ups.starts,
            places,
            partials,
            DEPTH=tile.depth,
            num_warps=tile.num_warps,
            num_stages=1,
            **shape,
        )
    return HotRows(places, partials)


def partials_tile(width: int) -> RowTile:
    """Cut rows for sums of partial rows, which are fp32 and one of which a program sums."""
    return sum_tile(width, 4)


@triton.jit(do_not_specialize=["num_look_ups", "num_places", "rows", "steps"])
def find_segments_kernel(
    starts,  # [rows + 1]
    places,  # [num_places]
    num_look_ups,
    num_places,
    rows,
    steps,
    LANES: tl.constexpr,
):
    """Find the row whose segment belongs to each place."""
    place = tl.program_id(0) * LANES + tl.arange(0, LANES)
    begin = place // 2 * SEGMENT  # of the window
    is_first = place % 2 == 1
    probe = tl.where(is_first, begin + (SEGMENT - 1), begin)
    probe = tl.minimum(probe, num_look_ups - 1)
    # The last row that starts at or before the probe: the one that the look-up there belongs to.
    low = tl.zeros([LANES], tl.int32)
    high = tl.zeros([LANES], tl.int32) + rows
    for _ in range(steps):
        middle = low + (high - low) // 2
        is_before = tl.load(starts + middle) <= probe
        low = tl.where(is_before, middle, low)
        high = tl.where(is_before, high, middle)
    first, last = load_bounds(starts, low, low >= 0)
    continued = first + (begin // SEGMENT - first // SEGMENT) * SEGMENT
    is_here = tl.where(is_first, first >= begin, (first < begin) & (continued < last))
    row = tl.where(is_here & (last - first > SEGMENT), low, -1)
    tl.store(places + place, row, mask=place < num_places)


@triton.jit
def sum_segments_kernel(
    starts,
    order,
    weights,
    grads,
    places,
    partials,
    table,
    dots,
    picks,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    BY_POSITION: tl.constexpr,
    DOT: tl.constexpr,
):
    """Sum one segment of a hot row into its place."""
    place = tl.program_id(0)
    row = tl.load(places + place)
    if row < 0:
        return
    exists = as_vector(row) >= 0
    column = tl.arange(0, COLUMNS)
    begin, end = load_bounds(starts, as_vector(row), exists)
    first = begin + segment_of(place, begin) * SEGMENT
    last = tl.minimum(first + SEGMENT, end)
    vector = tl.zeros([1, COLUMNS], tl.float32)
    if DOT:
        vector = load_columns(table, as_vector(row), exists, column, WIDTH)
    total = add_look_ups(
        first, last, order, weights, grads, column, vector, dots, picks,
        WIDTH, DEPTH, BY_POSITION, DOT,
    )  # fmt: skip
    store_columns(partials, as_vector(place), exists, column, total, WIDTH)


@triton.jit
def sum_groups_kernel(
    starts,
    places,
    partials,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Sum GROUP partial rows of one hot row into the first of them."""
    place = tl.program_id(0)
    row = tl.load(places + place)
    if row < 0:
        return
    begin, end = load_bounds(starts, row, row >= 0)
    segment = segment_of(place, begin)
    segments = (end - begin + SEGMENT - 1) // SEGMENT
    if (segments <= GROUP) | (segment % GROUP != 0):
        return
    column = tl.arange(0, COLUMNS)
    stop = tl.minimum(segment + GROUP, segments)
    total = add_partials(partials, begin, segment, stop, 1, column, WIDTH, DEPTH)
    store_columns(partials, as_vector(place), as_vector(row) >= 0, column, total, WIDTH)


@triton.jit
def sum_short_rows(
    starts,
    rows,
    order,
    weights,
    grads,
    column,
    picks,
    table,
    dots,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    BY_POSITION: tl.constexpr,
    DOT: tl.constexpr,
):
    """Sum this program's rows as far as they are short.

    Returns:
        The rows' numbers [ROWS], whether each exists and is short, and their sums [ROWS, columns].
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < rows
    first, last = load_bounds(starts, row, live)
    live = live & (last - first <= SEGMENT)
    last = tl.where(live, last, first)
    vector = tl.zeros([ROWS, column.shape[0]], tl.float32)
    if DOT:
        # Rows without a look-up are not read.
        vector = load_columns(table, row.to(tl.int64), last > first, column, WIDTH)
    total = add_look_ups(
        first, last, order, weights, grads, column, vector, dots, picks,
        WIDTH, DEPTH, BY_POSITION, DOT,
    )  # fmt: skip
    return row, live, total


@triton.jit
def sum_hot_row(starts, places, partials, column, WIDTH: tl.constexpr, DEPTH: tl.constexpr):
    """Sum the hot row that starts in this program's window, if one does.

    Returns:
        The row's number [1], whether there is one, and its sum [1, columns].
    """
    row = tl.load(places + 2 * tl.program_id(0) + 1)
    begin, end = load_bounds(starts, row, row >= 0)
    segments = (end - begin + SEGMENT - 1) // SEGMENT
    step = tl.where(segments > GROUP, GROUP, 1)
    total = add_partials(partials, begin, 0, segments, step, column, WIDTH, DEPTH)
    return as_vector(row), as_vector(row) >= 0, total


@triton.jit
def add_look_ups(
    first,  # [ROWS]
    last,  # [ROWS]
    order,
    weights,
    grads,
    column,  # [COLUMNS]
    vector,  # [ROWS, COLUMNS]
    dots,
    picks,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    BY_POSITION: tl.constexpr,
    DOT: tl.constexpr,
):
    """Sum the look-ups first:last of each row, [ROWS, COLUMNS]; store their dots with vector."""
    total = tl.zeros([first.shape[0], column.shape[0]], tl.float32)
    in_row = (column < WIDTH)[None, None, :]
    for done in range(0, tl.max(last - first, 0), DEPTH):
        look_up = first[None, :] + done + tl.arange(0, DEPTH)[:, None]  # [DEPTH, ROWS]
        live = look_up < last[None, :]
        token = tl.load(order + look_up, mask=live, other=0).to(tl.int32)
        place = look_up
        if BY_POSITION:
            place = token
            token = place // picks
        weight = tl.load(weights + place, mask=live, other=0.0).to(tl.float32)
        values = tl.load(
            grads + token.to(tl.int64)[:, :, None] * WIDTH + column[None, None, :],
            mask=live[:, :, None] & in_row,
            other=0.0,
        ).to(tl.float32)  # [DEPTH, ROWS, COLUMNS]
        total += tl.sum(weight[:, :, None] * values, 0)
        if DOT:
            tl.store(dots + place, tl.sum(values * vector[None, :, :], 2), mask=live)
    return total


@triton.jit
def add_partials(
    partials,
    begin,  # of the row's look-ups
    first,
    stop,
    step,
    column,  # [COLUMNS]
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Sum the partial rows of segments first:stop:step of one row, [1, COLUMNS]."""
    total = tl.zeros([1, column.shape[0]], tl.float32)
    for done in range(0, (stop - first + step - 1) // step, DEPTH):
        segment = first + (done + tl.arange(0, DEPTH)) * step  # [DEPTH]
        place = (begin // SEGMENT + segment) * 2 + tl.where(segment == 0, 1, 0)
        values = tl.load(
            partials + place.to(tl.int64)[:, None] * WIDTH + column[None, :],
            mask=(segment < stop)[:, None] & (column < WIDTH)[None, :],
            other=0.0,
        )  # [DEPTH, COLUMNS]
        total += tl.sum(values, 0)[None, :]
    return total


@triton.jit
def segment_of(place, begin):
    """Say which segment a place has of the row whose look-ups begin there."""
    return tl.where(place % 2 == 1, 0, place // 2 - begin // SEGMENT)


@triton.jit
def as_vector(number):
    """Make one row number a vector of one."""
    return number + tl.zeros([1], tl.int64)


@triton.jit
def load_bounds(starts, row, live):
    """Load where the look-ups of rows begin and end, and 0 and 0 where not live."""
    begin = tl.load(starts + row, mask=live, other=0).to(tl.int32)
    return begin, tl.load(starts + row + 1, mask=live, other=0).to(tl.int32)


@triton.jit
def load_columns(rows, number, live, column, WIDTH: tl.constexpr):
    """Load columns of these rows in fp32, [numbers, columns], and zeros where not live."""
    return tl.load(
        rows + number[:, None] * WIDTH + column[None, :],
        mask=live[:, None] & (column < WIDTH)[None, :],
        other=0.0,
    ).to(tl.float32)


@triton.jit
def store_columns(rows, number, live, column, values, WIDTH: tl.constexpr):
    """Store columns of these rows, [numbers, columns], where live."""
    tl.store(
        rows + number[:, None] * WIDTH + column[None, :],
        values.to(rows.dtype.element_ty),
        mask=live[:, None] & (column < WIDTH)[None, :],
    )
