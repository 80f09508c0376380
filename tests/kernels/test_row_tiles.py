import pytest

from archspec.kernels.row_tiles import RowTile, bag_tile, dot_tile, sum_tile

WIDTHS = (1, 2, 3, 5, 17, 64, 96, 100, 128, 640, 768, 1000, 1024, 1025, 1536, 2048, 4096, 8192)
TILES = {"bag": bag_tile, "dot": dot_tile, "sum": sum_tile}


def tile(columns: int, blocks: int, rows: int, depth: int, num_warps: int) -> RowTile:
    return RowTile(columns=columns, blocks=blocks, rows=rows, depth=depth, num_warps=num_warps)


@pytest.mark.parametrize(
    ("width", "itemsize", "expected"),
    [
        (1, 4, tile(1, 1, 32, 4, 1)),
        (64, 2, tile(64, 1, 4, 8, 1)),
        (100, 2, tile(128, 1, 2, 8, 1)),
        (256, 2, tile(256, 1, 1, 8, 1)),
        (640, 2, tile(256, 3, 1, 8, 1)),
        (768, 2, tile(1024, 1, 1, 4, 2)),
        (1024, 2, tile(1024, 1, 1, 4, 2)),
        (1536, 4, tile(2048, 1, 1, 4, 4)),
        (8192, 2, tile(4096, 2, 1, 4, 4)),
    ],
)
def test_bags_take_narrow_rows_side_by_side_and_wide_ones_by_more_warps(
    width: int, itemsize: int, expected: RowTile
) -> None:
    assert bag_tile(width, itemsize) == expected


@pytest.mark.parametrize(
    ("width", "itemsize", "expected"),
    [
        (64, 2, tile(64, 1, 4, 8, 1)),
        (1024, 2, tile(1024, 1, 1, 2, 1)),
        (4096, 2, tile(1024, 4, 1, 2, 1)),
        (1000, 4, tile(512, 2, 1, 2, 1)),
    ],
)
def test_dots_stay_in_one_warp(width: int, itemsize: int, expected: RowTile) -> None:
    assert dot_tile(width, itemsize) == expected


@pytest.mark.parametrize(
    ("width", "itemsize", "with_dots", "expected"),
    [
        (64, 2, False, tile(64, 1, 4, 4, 1)),
        (1024, 2, False, tile(1024, 1, 1, 4, 4)),
        (1024, 2, True, tile(1024, 1, 1, 4, 2)),
        (1000, 4, True, tile(1024, 1, 1, 4, 4)),
        (8192, 2, False, tile(8192, 1, 1, 4, 32)),
        (8192, 4, True, tile(8192, 1, 1, 4, 16)),
    ],
)
def test_sums_have_warps_for_their_registers(
    width: int, itemsize: int, with_dots: bool, expected: RowTile
) -> None:
    assert sum_tile(width, itemsize, with_dots=with_dots) == expected


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", TILES)
def test_blocks_cover_the_row_and_no_block_more(kind: str, width: int, itemsize: int) -> None:
    cut = TILES[kind](width, itemsize)
    assert (cut.blocks - 1) * cut.columns < width <= cut.blocks * cut.columns
    for size in (cut.columns, cut.rows, cut.depth, cut.num_warps):
        assert size & (size - 1) == 0  # as Triton demands


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("width", [width for width in WIDTHS if width >= 256])
def test_bags_pad_wide_rows_by_at_most_a_quarter(width: int, itemsize: int) -> None:
    cut = bag_tile(width, itemsize)
    assert width >= 0.75 * cut.blocks * cut.columns
