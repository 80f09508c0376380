"""The Triton kernels of the row ops without a GPU: interpreted, and compiled for one."""

from pathlib import Path

import pytest

from archspec.kernels.row_tiles import sum_tile
from archspec.testing.triton import CAPABILITIES, Compiled, compile_offline, run_interpreted

pytest.importorskip("triton", reason="Triton is built for Linux only")

from archspec.kernels.row_optimizer import gpu

ITEMSIZES = {"bf16": 2, "fp16": 2, "fp32": 4}
LOOK_UPS = {"starts": "*i64", "tokens": "*i32", "weights": "*fp32", "num_rows": "i32"}
PARTIALS = {"places": "*i32", "partials": "*fp32"}
UPDATE = {"rows": "*i64", "scale": "*fp32", "seed": "i32"}
RATES = dict.fromkeys(("rate", "first_share", "second_share", "correction", "eps"), "fp32")
STATE = {"exp_avg": "*fp32", "exp_avg_sq": "*fp32"}
# Kernel, arguments of its own besides the table, flags.
KERNELS = {
    "sums": (gpu.sums_kernel, {"result": "*fp32"}, {"NORMS": False}),
    "norms": (gpu.sums_kernel, {"result": "*fp32"}, {"NORMS": True}),
    "adam": (
        gpu.adam_kernel,
        {**UPDATE, **STATE, **RATES},
        {"HAS_FIRST": True, "IS_ROWWISE": False},
    ),
    "rowwise adam": (
        gpu.adam_kernel,
        {**UPDATE, **STATE, **RATES},
        {"HAS_FIRST": False, "IS_ROWWISE": True},
    ),
    "adagrad": (
        gpu.adagrad_kernel,
        {**UPDATE, "square_sum": "*fp32", "lr": "fp32", "eps": "fp32"},
        {},
    ),
    "sgd": (gpu.sgd_kernel, {**UPDATE, "lr": "fp32"}, {}),
}


def test_interpreted_kernels_match_the_reference() -> None:
    result = run_interpreted(Path(__file__).parent / "interpreted" / "row_optimizer.py")
    assert result.returncode == 0, result.stdout


def compile_kernel(
    name: str, width: int, dtypes: tuple[str, str], capability: int = 90, *, hot: bool = False
) -> Compiled:
    kernel, own, flags = KERNELS[name]
    table_dtype, grad_dtype = dtypes
    tile = sum_tile(width, ITEMSIZES[grad_dtype])
    table = {"table": f"*{table_dtype}"} if "rows" in own else {}
    shape = {"WIDTH": width, "COLUMNS": tile.columns, "DEPTH": tile.depth}
    return compile_offline(
        kernel,
        capability=capability,
        arguments={**LOOK_UPS, "grads": f"*{grad_dtype}", **PARTIALS, **table, **own},
        constexprs={**shape, "ROWS": 1 if hot else tile.rows, "HOT": hot, **flags},
        num_warps=tile.num_warps,
        num_stages=1,
    )


def require_good_code(compiled: Compiled) -> None:
    assert compiled.stack_bytes == compiled.num_spills == 0
    assert compiled.count("LDG.E.U8", "LDG.E.U16") == 0
    assert compiled.count("LDG.E.128") > 0
    # 8 elements a thread: half of a multiprocessor's warps and more run at a time.
    assert compiled.registers <= 64


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_rows_are_loaded_by_16_bytes_and_nothing_is_spilled(name: str, hot: bool) -> None:
    require_good_code(compile_kernel(name, 1024, ("bf16", "bf16"), hot=hot))


@pytest.mark.slow  # 252 compilations
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", KERNELS)
def test_every_width_is_good_code_on_every_gpu(name: str, capability: int) -> None:
    for width in (64, 1000, 8192):
        for dtypes in (("bf16", "bf16"), ("fp32", "fp32")):
            for hot in (False, True):
                require_good_code(compile_kernel(name, width, dtypes, capability, hot=hot))
    for width in (3, 100):
        compiled = compile_kernel(name, width, ("fp16", "fp16"), capability)
        assert compiled.stack_bytes == compiled.num_spills == 0


def test_adam_reads_and_writes_table_and_moments_once() -> None:
    compiled = compile_kernel("adam", 1024, ("fp32", "fp32"))
    # 8 elements a thread are 2 loads: 4 vectors deep, then the row and its two moments.
    assert compiled.count("LDG.E.128") == 2 * (4 + 3)
    assert compiled.count("STG.E.128") == 2 * 3
    assert compiled.count("ATOM", "RED") == 0
