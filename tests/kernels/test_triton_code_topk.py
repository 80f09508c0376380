"""What the assembler makes of the kernels of product_key_topk; no GPU is needed."""

from functools import cache

import pytest

from archspec.testing.triton import CAPABILITIES, Compiled, compile_offline

pytest.importorskip("triton", reason="Triton has no wheels for this platform")
gpu = pytest.importorskip("archspec.kernels.product_key_topk.gpu")
gpu_backward = pytest.importorskip("archspec.kernels.product_key_topk.gpu_backward")

pytestmark = pytest.mark.slow  # a compilation takes seconds

# What the H100 starts in a second, in instructions of a warp: 132 multiprocessors of 4 schedulers
# at 1.7 GHz. Each takes 2 cycles for an operation on integers, a comparison or a select, and for an
# fp64 operation, which go to units of their own; 4 for a shuffle.
ISSUE_RATE = 132 * 4 * 1.7e9
COMPARISONS_AND_SELECTS = ("FMNMX", "FSEL", "FSETP", "ISETP", "SEL")
INTEGER_OPCODES = ("IADD3", "LEA", "LOP3", "P2R", "PLOP3", "SGXT", "SHF.", "VIADD")
TOKENS_AND_HEADS = 16_384 * 4


@cache
def half_kernel(
    num_keys: int, top_k: int, capability: int = 90, *, as_doubles: bool = True
) -> Compiled:
    return compile_offline(
        gpu._best_of_half_kernel,
        capability=capability,
        arguments={
            "scores": "*fp32",
            "best": "*fp64" if as_doubles else "*i64",
            "num_rows": "i32",
        },
        constexprs=gpu.half_constants(num_keys, top_k, as_doubles=as_doubles),
        num_warps=1,
    )


@cache
def pair_kernel(num_keys: int, top_k: int, capability: int = 90) -> Compiled:
    return compile_offline(
        gpu._best_of_pairs_kernel,
        capability=capability,
        arguments={
            "best": "*fp64",
            "ranks": "*i32",
            "scores": "*fp32",
            "slots": "*i32",
            "tokens": "i32",
            "heads": "i32",
        },
        constexprs=gpu.pair_constants(num_keys, top_k),
        num_warps=1,
    )


@cache
def spread_kernel(num_keys: int, top_k: int, capability: int = 90) -> Compiled:
    return compile_offline(
        gpu_backward._spread_kernel,
        capability=capability,
        arguments={
            "grad_scores": "*fp32",
            "slots": "*i32",
            "grad_halves": "*bf16",
            "tokens": "i32",
            "heads": "i32",
        },
        constexprs=gpu_backward.spread_constants(num_keys, top_k),
        num_warps=gpu_backward.num_warps(top_k),
    )


def rows_of(constants: dict) -> int:
    return 32 // constants["LANES"]


def milliseconds(compiled: Compiled, rows_per_program: int, rows: int) -> float:
    """Return the time of the busiest unit, all others in its shadow."""
    cycles = max(
        compiled.num_instructions,
        2 * compiled.count(*COMPARISONS_AND_SELECTS, *INTEGER_OPCODES),
        2 * compiled.count("DSETP"),
        4 * compiled.count("SHFL"),
    )
    return 1e3 * cycles * rows / rows_per_program / ISSUE_RATE


def assert_spills_nothing(compiled: Compiled) -> None:
    assert compiled.stack_bytes == 0
    assert compiled.num_spills == 0


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_all_kernels_compile_without_spills(capability: int) -> None:
    for compiled in (
        half_kernel(1024, 32, capability),
        pair_kernel(1024, 32, capability),
        spread_kernel(1024, 32, capability),
    ):
        assert_spills_nothing(compiled)


@pytest.mark.parametrize(("num_keys", "top_k"), [(31, 8), (1000, 64), (8192, 32)])
def test_other_sizes_spill_nothing_either(num_keys: int, top_k: int) -> None:
    assert_spills_nothing(half_kernel(num_keys, top_k))


def test_the_largest_top_k_spills_nothing() -> None:
    assert_spills_nothing(pair_kernel(1024, 64))
    assert_spills_nothing(spread_kernel(1024, 64))


# A bitonic top 32 of 256 keys is 15 exchanges a key and then 5 for each of 128, 64 and 32 keys: 155
# for all lanes. With those of 128 keys, 75, they are 230 a half row of 1,024 keys, at 2 selects and
# a comparison, which pairs within a lane share. The 103 across lanes take 2 shuffles each. Loading
# and packing come on top. At 256 keys 35 + 75 exchanges are left, at 4,096 it is 315 + 155.
@pytest.mark.parametrize(
    ("num_keys", "ceiling", "shuffles"), [(256, 500, 60), (1024, 1180, 206), (4096, 2900, 656)]
)
def test_a_half_row_takes_few_instructions(num_keys: int, ceiling: int, shuffles: int) -> None:
    compiled = half_kernel(num_keys, 32)
    rows = rows_of(gpu.half_constants(num_keys, 32, as_doubles=True))
    assert compiled.num_instructions <= ceiling * rows
    assert compiled.count("SHFL") <= shuffles * rows


def test_a_row_of_pairs_takes_few_instructions() -> None:
    # 75 exchanges of 128 pairs, two gathers, unpacking and packing.
    compiled = pair_kernel(1024, 32)
    rows = rows_of(gpu.pair_constants(1024, 32))
    assert compiled.num_instructions <= 390 * rows
    assert compiled.count("SHFL") <= 40 * rows


def test_integer_keys_cost_half_as_much_again_at_most() -> None:
    doubles, integers = half_kernel(1024, 32), half_kernel(1024, 32, as_doubles=False)
    assert_spills_nothing(integers)
    assert doubles.count("DSETP") > 0
    assert integers.count("DSETP") == 0
    assert integers.num_instructions <= 1.5 * doubles.num_instructions


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("num_keys", [1000, 1024])
def test_scores_are_loaded_16_bytes_at_a_time(num_keys: int, capability: int) -> None:
    compiled = half_kernel(num_keys, 32, capability)
    loads = compiled.count("LDG")
    assert compiled.count("LDG.E.128") == loads
    # 1,024 scores and 128 candidates of each row, in quads, over 32 lanes.
    assert loads == 4 * (1024 + 128) // 4 // 32


def test_zeros_are_stored_16_bytes_at_a_time() -> None:
    compiled = spread_kernel(1024, 32)
    # Two rows of 1,024 in bf16, and a sum for each pick and half.
    assert compiled.count("STG.E.128") == 2 * 1024 * 2 // 16 // 32
    assert compiled.count("STG") == compiled.count("STG.E.128") + 2


def test_programs_of_one_warp_leave_room_for_many() -> None:
    # Of 65,536 registers a multiprocessor, for 32 programs, its limit.
    assert half_kernel(1024, 32).registers <= 64


def test_the_sort_is_a_fifth_of_what_selection_may_take() -> None:
    # The stock pipeline takes 5.5 ms by published rates of torch.topk, and a fifth of that
    # is 1.1 ms, of which scoring and the bytes of half scores take 0.4.
    half = gpu.half_constants(1024, 32, as_doubles=True)
    pairs = gpu.pair_constants(1024, 32)
    total = milliseconds(half_kernel(1024, 32), rows_of(half), 2 * TOKENS_AND_HEADS)
    total += milliseconds(pair_kernel(1024, 32), rows_of(pairs), TOKENS_AND_HEADS)
    assert total <= 0.25
