import pytest
import torch

from archspec.bench.inputs import (
    SKEWS,
    draw_indices,
    draw_weights,
    lazy_bytes,
    lazy_table,
    lazy_zeros,
    rotations,
)

CPU = torch.device("cpu")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("slots", [1, 100, 1 << 20])
def test_look_ups_stay_in_the_table(skew, slots, generator):
    found = draw_indices(64, 32, slots, skew, generator)
    assert found.dtype == torch.int32
    assert found.shape == (64, 32)
    assert 0 <= found.min() <= found.max() < slots


def test_zipf_gives_each_doubling_of_ranks_one_share(generator):
    slots = 1 << 16
    counts = draw_indices(1024, 256, slots, "zipf", generator).flatten().bincount(minlength=slots)
    shares = counts.sort(descending=True).values.double() / counts.sum()
    # P(rank <= k) = log(k + 1) / log(slots + 1)
    for rank in (1, 15, 255):
        expected = torch.tensor(rank + 1.0).log() / torch.tensor(slots + 1.0).log()
        assert shares[:rank].sum().item() == pytest.approx(expected.item(), abs=0.01)


def test_zipf_scatters_hot_rows(generator):
    counts = draw_indices(1024, 64, 1 << 16, "zipf", generator).flatten().bincount()
    hottest = counts.topk(8).indices.sort().values
    assert hottest.diff().min() > 8


def test_weights_of_a_token_sum_to_about_one(generator):
    sums = draw_weights(512, 64, torch.float32, generator).sum(1)
    assert sums.mean().item() == pytest.approx(1, abs=0.02)


def test_a_lazy_table_holds_its_rows_and_zeros():
    rows, values = torch.tensor([3, 900]), torch.arange(1.0, 11.0).view(2, 5)
    table = lazy_table(1000, rows, values)
    assert torch.equal(table[rows], values)
    assert table.count_nonzero() == values.numel()


def test_lazy_zeros_can_be_larger_than_what_they_take():
    table = lazy_zeros(1 << 22, 256, torch.float32, CPU)  # 4 GiB
    table[1 << 21] += 1
    assert table[(1 << 21) - 1 : (1 << 21) + 2].sum() == 256


def test_lazy_bytes_are_never_more_than_the_table():
    assert lazy_bytes(CPU, 1000, 64, 4, 10**6) == 1000 * 64 * 4
    assert lazy_bytes(CPU, 1 << 24, 64, 4, 10) == 10 * 2 * 4096


@pytest.mark.parametrize(("row_bytes", "sets"), [(1, 8), (1024, 4), (1 << 20, 2)])
def test_inputs_rotate_over_more_than_a_cache(row_bytes, sets):
    assert rotations(65536, row_bytes) == sets
