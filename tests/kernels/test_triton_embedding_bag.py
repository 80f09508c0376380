"""The Triton kernels of embedding_bag without a GPU: interpreted, and compiled for one."""

from pathlib import Path

import pytest

from archspec.kernels.row_tiles import RowTile, bag_tile, dot_tile, sum_tile
from archspec.testing.triton import CAPABILITIES, Compiled, compile_offline, run_interpreted

pytest.importorskip("triton", reason="Triton is built for Linux only")

from archspec.kernels.embedding_bag import gpu, gpu_backward
from archspec.kernels.row_sums import gpu as row_sums

ITEMSIZES = {"bf16": 2, "fp16": 2, "fp32": 4}
LOOK_UPS = {"starts": "*i32", "order": "*i64", "weights": "*fp32", "picks": "i32"}
PARTIALS = {"places": "*i32", "partials": "*fp32"}
# An H200 at 4.8 TB/s with 0.7 us to a load's data, on each of its 132 multiprocessors.
BYTES_IN_FLIGHT = 4.8e12 * 0.7e-6 / 132
# What else a multiprocessor can hold: programs, warps, registers, bytes of shared memory.
LIMITS = (32, 64, 65_536, 227 * 1024)


def test_interpreted_kernels_match_the_reference() -> None:
    result = run_interpreted(Path(__file__).parent / "interpreted" / "embedding_bag.py")
    assert result.returncode == 0, result.stdout


def compile_bag(width: int, dtype: str, capability: int = 90) -> tuple[Compiled, RowTile]:
    tile = bag_tile(width, ITEMSIZES[dtype])
    rows = {"table": f"*{dtype}", "result": f"*{dtype}"}
    return compile_with(gpu.bag_kernel, tile, width, picking(rows), capability, **tokens(tile))


def compile_dot(width: int, dtype: str, capability: int = 90) -> tuple[Compiled, RowTile]:
    tile = dot_tile(width, ITEMSIZES[dtype])
    rows = {"table": f"*{dtype}", "grad": f"*{dtype}", "result": "*fp32"}
    arguments = picking(rows)
    del arguments["weights"]
    return compile_with(gpu.dot_kernel, tile, width, arguments, capability, **tokens(tile))


def picking(rows: dict[str, str]) -> dict[str, str]:
    sizes = {"tokens": "i32", "picks": "i32"}
    return {"indices": "*i32", "weights": "*fp32", **sizes, **rows}


def tokens(tile: RowTile) -> dict[str, int]:
    return {"TOKENS": tile.rows}


def compile_short_rows(
    width: int, dtype: str, capability: int = 90, *, dot: bool = True
) -> tuple[Compiled, RowTile]:
    tile = sum_tile(width, ITEMSIZES[dtype], with_dots=dot)
    rows = dict.fromkeys(("grads", "table", "result"), f"*{dtype}")
    arguments = {**LOOK_UPS, **rows, "dots": "*fp32", "slots": "i32"}
    flags = {"ROWS": tile.rows, "DOT": dot}
    return compile_with(gpu_backward.short_rows_kernel, tile, width, arguments, capability, **flags)


def compile_segments(
    width: int, dtype: str, capability: int = 90, *, dot: bool = True
) -> tuple[Compiled, RowTile]:
    tile = sum_tile(width, ITEMSIZES[dtype], with_dots=dot)
    rows = dict.fromkeys(("grads", "table"), f"*{dtype}")
    arguments = {**LOOK_UPS, **PARTIALS, **rows, "dots": "*fp32"}
    flags = {"BY_POSITION": True, "DOT": dot}
    return compile_with(row_sums.sum_segments_kernel, tile, width, arguments, capability, **flags)


def compile_groups(width: int, dtype: str, capability: int = 90) -> tuple[Compiled, RowTile]:
    tile = row_sums.partials_tile(width)
    arguments = {"starts": "*i32", **PARTIALS}
    return compile_with(row_sums.sum_groups_kernel, tile, width, arguments, capability)


def compile_hot_rows(width: int, dtype: str, capability: int = 90) -> tuple[Compiled, RowTile]:
    tile = row_sums.partials_tile(width)
    arguments = {"starts": "*i32", **PARTIALS, "result": f"*{dtype}"}
    return compile_with(gpu_backward.hot_rows_kernel, tile, width, arguments, capability)


def compile_with(kernel, tile, width, arguments, capability, **flags) -> tuple[Compiled, RowTile]:
    compiled = compile_offline(
        kernel,
        capability=capability,
        arguments=arguments,
        constexprs={"WIDTH": width, "COLUMNS": tile.columns, "DEPTH": tile.depth, **flags},
        num_warps=tile.num_warps,
        num_stages=1,
    )
    return compiled, tile


def loads_of(tile: RowTile, itemsize: int) -> int:
    """A thread's loads of 16 bytes until a program has its tile in flight."""
    return tile.elements_in_flight * itemsize // (32 * tile.num_warps * 16)


def resident(compiled: Compiled, tile: RowTile) -> int:
    """Programs that a multiprocessor of an H100 holds at a time."""
    programs, warps, registers, shared = LIMITS
    per_warp = -(-compiled.registers // 8) * 8 * 32
    return min(
        programs,
        warps // tile.num_warps,
        registers // (per_warp * tile.num_warps),
        shared // (compiled.shared_bytes + 1024),
    )


def require_good_code(compiled: Compiled) -> None:
    assert compiled.stack_bytes == compiled.num_spills == 0
    assert compiled.count("LDG.E.U8", "LDG.E.U16") == 0
    assert compiled.count("LDG.E.128") > 0


KERNELS = {
    "bag": compile_bag,
    "dot": compile_dot,
    "short rows": compile_short_rows,
    "segments": compile_segments,
    "groups": compile_groups,
    "hot rows": compile_hot_rows,
}


@pytest.mark.parametrize(("width", "dtype"), [(64, "bf16"), (1024, "bf16")])
@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_are_loaded_by_16_bytes_and_nothing_is_spilled(kernel, width, dtype) -> None:
    compiled, _ = KERNELS[kernel](width, dtype)
    require_good_code(compiled)


@pytest.mark.slow  # 180 compilations
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_width_is_good_code_on_every_gpu(kernel: str, capability: int) -> None:
    for width in (64, 1000, 1536, 8192):
        for dtype in ("bf16", "fp32"):
            compiled, _ = KERNELS[kernel](width, dtype, capability)
            require_good_code(compiled)
            assert compiled.registers <= 128
    for width in (3, 100):
        compiled, _ = KERNELS[kernel](width, "fp16", capability)
        assert compiled.stack_bytes == compiled.num_spills == 0


@pytest.mark.parametrize("compiler", [compile_bag, compile_dot])
@pytest.mark.parametrize(("width", "dtype"), [(64, "bf16"), (768, "bf16"), (2048, "fp32")])
def test_enough_bytes_are_in_flight(compiler, width: int, dtype: str) -> None:
    compiled, tile = compiler(width, dtype)
    share = width / (tile.columns * tile.blocks)  # the rest is padding
    in_flight = resident(compiled, tile) * tile.elements_in_flight * ITEMSIZES[dtype] * share
    assert in_flight >= 2 * BYTES_IN_FLIGHT


def test_half_of_the_look_ups_in_flight_are_enough_for_the_backward() -> None:
    # Most rows have two or three look-ups where a program takes four at a time.
    compiled, tile = compile_short_rows(1024, "bf16")
    in_flight = resident(compiled, tile) * tile.elements_in_flight * 2
    assert in_flight / 2 >= BYTES_IN_FLIGHT


@pytest.mark.parametrize(("width", "dtype"), [(256, "bf16"), (1024, "bf16"), (100, "fp32")])
def test_a_bag_loads_rows_and_writes_its_sum_and_no_more(width: int, dtype: str) -> None:
    compiled, tile = compile_bag(width, dtype)
    assert compiled.count("LDG.E.128") == loads_of(tile, ITEMSIZES[dtype])
    # The sum over picks stays in a lane: no shuffles, no shared memory, no barriers.
    assert compiled.count("SHFL", "LDS", "STS", "BAR", "ATOM", "RED") == 0


def test_rows_of_200_bytes_are_loaded_by_8() -> None:
    compiled, tile = compile_bag(100, "bf16")
    assert compiled.count("LDG.E.64") == 2 * loads_of(tile, 2)


def test_the_search_for_segments_is_good_code() -> None:
    sizes = dict.fromkeys(("num_look_ups", "num_places", "rows", "steps"), "i32")
    compiled = compile_offline(
        row_sums.find_segments_kernel,
        capability=90,
        arguments={"starts": "*i32", "places": "*i32", **sizes},
        constexprs={"LANES": 128},
        num_warps=4,
    )
    assert compiled.stack_bytes == compiled.num_spills == 0
    assert compiled.registers <= 32
