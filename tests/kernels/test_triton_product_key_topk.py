from pathlib import Path

import pytest
import torch

from archspec.kernels import dispatch
from archspec.testing.triton import run_interpreted

pytest.importorskip("triton", reason="Triton has no wheels for this platform")
gpu = pytest.importorskip("archspec.kernels.product_key_topk.gpu")


@pytest.mark.slow
def test_the_interpreted_kernels_pass_their_tests() -> None:
    finished = run_interpreted(Path(__file__).parent / "interpreted" / "product_key_topk.py")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert " passed" in finished.stdout


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ({"top_k": 64, "num_keys": 32_768}, None),
        ({"top_k": 65, "num_keys": 1024}, "it takes a top_k of at most 64"),
        ({"top_k": 32, "num_keys": 32_769}, "it takes a num_keys of at most 32768"),
    ],
)
@pytest.mark.parametrize("op_name", ["product_key_topk", "product_key_topk_backward"])
def test_sizes_that_do_not_fit_a_warp_go_to_stock_torch(op_name, sizes, why) -> None:
    call = dispatch.Call(device="cuda", dtype=torch.bfloat16, width=256, sizes=sizes)
    choice = dispatch.explain(op_name, call)
    assert choice.passed_over.get("triton") == why
    assert choice.implementation.word == ("triton" if why is None else "torch")


@pytest.mark.parametrize("num_keys", [1, 3, 8, 31, 100, 256, 1000, 1024, 4096, 32_768])
@pytest.mark.parametrize("top_k", [1, 2, 7, 8, 32, 64])
def test_a_row_fits_the_registers_of_its_lanes(num_keys: int, top_k: int) -> None:
    selection = gpu.half_selection(num_keys, top_k)
    assert selection.columns >= num_keys
    assert selection.top >= top_k
    passes = [selection.columns]
    if selection.group:
        passes = [selection.columns // selection.group, selection.top * selection.group]
        assert sum(passes) < selection.columns
        assert passes[0] > selection.top
    assert max(passes) <= 64 * selection.lanes
    assert min(passes) >= 4 * selection.lanes
    assert 32 % selection.lanes == 0
    assert selection.lanes <= selection.top


@pytest.mark.parametrize(("num_keys", "top_k", "sorted_keys"), [(1024, 32, 384), (256, 32, 192)])
def test_groups_leave_few_keys_to_sort(num_keys: int, top_k: int, sorted_keys: int) -> None:
    selection = gpu.half_selection(num_keys, top_k)
    maxima, candidates = num_keys // selection.group, top_k * selection.group
    assert maxima + candidates == sorted_keys


@pytest.mark.parametrize("top_k", [1, 2, 7, 8, 16, 32, 64])
def test_the_pruned_pairs_are_those_under_the_hyperbola(top_k: int) -> None:
    pairs = gpu.winning_ranks(top_k)
    assert set(pairs) == {
        (a, b) for a in range(top_k) for b in range(top_k) if (a + 1) * (b + 1) <= top_k
    }
    assert len(pairs) == {1: 1, 2: 3, 7: 16, 8: 20, 16: 50, 32: 119, 64: 280}[top_k]


@pytest.mark.parametrize(
    ("tokens", "elements"),
    [(0, 10), (1, 10), (5000, 8192), (8193, 8192), (3, 1 << 26), (10, 3 << 22)],
)
def test_chunks_cover_all_tokens_and_are_bounded(tokens: int, elements: int) -> None:
    parts = gpu.chunks(tokens, elements)
    lengths = [len(range(tokens)[part]) for part in parts]
    assert sum(lengths) == tokens
    assert all(length == 1 or length * elements <= gpu._CHUNK_ELEMENTS for length in lengths)
    assert all(0 < length <= lengths[0] for length in lengths)
    if any(length > 1 for length in lengths):
        assert all(part.start % min(4, lengths[0]) == 0 for part in parts)
