"""How the GPU kernels cut tables into tiles: plain numbers, worked out from the width of a row.

The kernels wait for memory and for nothing else, so a tile is chosen for the bytes it keeps in
flight. Little's law: an H100 at 3.35 TB/s with 0.7 us from a load to its data needs 2.3 MB in
flight, 18 kB on each of its 132 multiprocessors; an H200 at 4.8 TB/s needs 3.4 MB, 26 kB each. A
multiprocessor holds 32 programs, 64 warps and 65,536 registers.

A lane's load is at most 16 bytes, hence a warp's 512 bytes. Rows of up to 512 bytes lie side by
side in one warp, and every lane has ``depth`` = 8 rows in flight: 4 kB a program, 131 kB on a
multiprocessor with its 32 programs. Wider rows take a warp for every kilobyte and 4 rows deep: 2 kB
rows have 8 kB in flight a program at about 56 registers a thread, so 18 programs fit, 147 kB.
"""

from __future__ import annotations

from dataclasses import dataclass

_WARP_BYTES = 32 * 16
_LANES = 32
# Rows are cut into blocks of columns rather than padded by more than this share.
_MAX_PADDING = 0.25


@dataclass(frozen=True, kw_only=True)
class RowTile:
    """What one program of a kernel has in hand.

    Args:
        columns: Of a block, a power of two. What lies past the row's end is masked.
        blocks: That cover a row.
        rows: Side by side in the lanes, a power of two: tokens, or rows of the table.
        depth: Loads in flight of each of these, a power of two: picks, or look-ups.
        num_warps: Of the program.
    """

    columns: int
    blocks: int
    rows: int
    depth: int
    num_warps: int

    @property
    def elements_in_flight(self) -> int:
        """Elements of rows that the program loads before it uses the first, padding included."""
        return self.columns * self.rows * self.depth


def bag_tile(width: int, itemsize: int) -> RowTile:
    """Cut rows for sums over picks, where blocks of columns are independent programs.

    Blocks hold at most 8 kB. Padding costs lanes and no bandwidth, so a row keeps one block, with
    one stream of whole DRAM pages, up to a quarter of padding; 640 columns become 5 blocks of 128
    rather than 1,024.
    """
    columns = min(_power_of_two(width), 8192 // itemsize)
    while columns * itemsize > _WARP_BYTES and _padding(width, columns) > _MAX_PADDING:
        columns //= 2
    return _tile(width, itemsize, columns, max_warps=4)


def dot_tile(width: int, itemsize: int) -> RowTile:
    """Cut rows for dots, where one warp goes over all blocks of a row.

    In one warp a dot ends in five shuffles, across warps in a barrier. Blocks of 2 kB, 2 deep, keep
    4 kB in flight at about 80 registers: 25 programs, 100 kB on a multiprocessor.
    """
    columns = min(_power_of_two(width), 2048 // itemsize)
    tile = _tile(width, itemsize, columns, max_warps=1)
    depth = 2 if columns * itemsize > 1024 else tile.depth
    return RowTile(columns=columns, blocks=tile.blocks, rows=tile.rows, depth=depth, num_warps=1)


def sum_tile(width: int, itemsize: int, *, with_dots: bool = False) -> RowTile:
    """Cut rows for sums over look-ups, where one program has a whole row in hand.

    No more than 4 look-ups deep, as most rows have fewer. Warps are many enough to keep all of a
    thread's part in registers. An update holds the sum, the table's row and two moments in fp32:
    with 8 elements of each a thread takes 40 to 56 registers, with 16 they are spilled. Dots with
    the table's row keep 5 vectors at a time and cost a barrier among the warps: 16 elements of 16
    bits or 8 of 32, at 78 to 128 registers.

    Args:
        width: Of a row, at most 8,192.
        itemsize: Bytes of an element of the vectors that are summed.
        with_dots: Whether look-ups are also dotted with the row of the table.
    """
    columns = _power_of_two(width)
    num_warps = columns * itemsize // 1024 if with_dots else columns // (8 * _LANES)
    return RowTile(
        columns=columns,
        blocks=1,
        rows=_side_by_side(columns * itemsize),
        depth=4,
        num_warps=min(16 if with_dots else 32, max(1, num_warps)),
    )


def _tile(width: int, itemsize: int, columns: int, *, max_warps: int) -> RowTile:
    block_bytes = columns * itemsize
    return RowTile(
        columns=columns,
        blocks=_blocks(width, columns),
        rows=_side_by_side(block_bytes),
        # Below 16 bytes every element is a load with an address of its own.
        depth=8 if 16 <= block_bytes <= _WARP_BYTES else 4,
        num_warps=min(max_warps, max(1, block_bytes // 1024)),
    )


def _side_by_side(block_bytes: int) -> int:
    # No more rows than lanes, however narrow.
    return min(_LANES, max(1, _WARP_BYTES // block_bytes))


def _padding(width: int, columns: int) -> float:
    padded = _blocks(width, columns) * columns
    return (padded - width) / padded


def _blocks(width: int, columns: int) -> int:
    return -(-width // columns)


def _power_of_two(width: int) -> int:
    return 1 << max(0, width - 1).bit_length()
