import pytest
import torch

from archspec.kernels.grouped_matmul import grouped_matmul, grouped_outer, reference, stock
from archspec.testing.kernels import KernelContract
from archspec.testing.tensors import Args, assert_close

SIZES = (3, 0, 1, 0)  # rows of the first groups; the last takes the rest
GROUPS = len(SIZES) + 1


def offsets_for(total: int) -> torch.Tensor:
    ends = torch.tensor([*SIZES, total]).cumsum(0).clamp(max=total)
    return ends.to(torch.int32)


# Rows of each group.
HARD_SIZES = {
    "one group": [40],
    "all rows in one group": [0, 0, 300, 0],
    "one row a group": [1] * 64,
    "most groups empty": [0, 1, 0, 0, 5, 0, 0, 0, 2, 0],
    "zipf": [512 // rank for rank in range(1, 33)],
}


class GroupedContract(KernelContract):
    in_dim, out_dim = 5, 7

    def sample_of(self, dtype: torch.dtype, offsets: torch.Tensor, in_dim: int, out_dim: int):
        raise NotImplementedError

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        return self.sample_of(dtype, offsets_for(tokens), self.in_dim, self.out_dim)

    def sample_of_width(self, dtype: torch.dtype, width: int) -> Args:
        return self.sample_of(dtype, offsets_for(9), width, self.out_dim)

    def hard_samples(self):
        def drawn(sizes: list[int]):
            offsets = torch.tensor(sizes).cumsum(0).to(torch.int32)
            return lambda dtype: self.sample_of(dtype, offsets, self.in_dim, self.out_dim)

        named = {name: drawn(sizes) for name, sizes in HARD_SIZES.items()}
        return {**super().hard_samples(), **named}


class TestOddWidths(GroupedContract):
    op_name = "grouped_matmul"

    def reference(self, *args):
        return reference.grouped_matmul(*args)

    def sample_of(self, dtype: torch.dtype, offsets: torch.Tensor, in_dim: int, out_dim: int):
        rows = torch.randn(int(offsets[-1]), in_dim, dtype=dtype)
        return rows, torch.randn(len(offsets), in_dim, out_dim, dtype=dtype), offsets


class TestAlignedWidths(TestOddWidths):
    in_dim, out_dim = 8, 16


class TestAlignedInOddOut(TestOddWidths):
    in_dim, out_dim = 8, 3


class TestOddInAlignedOut(TestOddWidths):
    in_dim, out_dim = 3, 8


class TestOuterOddWidths(GroupedContract):
    op_name = "grouped_outer"

    def reference(self, *args):
        return reference.grouped_outer(*args)

    def sample_of(self, dtype: torch.dtype, offsets: torch.Tensor, in_dim: int, out_dim: int):
        rows = torch.randn(int(offsets[-1]), in_dim, dtype=dtype)
        return rows, torch.randn(len(rows), out_dim, dtype=dtype), offsets


class TestOuterAlignedWidths(TestOuterOddWidths):
    in_dim, out_dim = 8, 16


@pytest.mark.parametrize("width", [8, 5])
def test_one_group_is_a_plain_matmul(width: int) -> None:
    rows, weights = torch.randn(6, width), torch.randn(1, width, width)
    result = grouped_matmul(rows, weights, torch.tensor([6], dtype=torch.int32))
    assert_close(result, rows.double() @ weights[0].double(), 1e-6)


@pytest.mark.parametrize("width", [8, 5])
def test_empty_groups_get_zero_gradients(width: int) -> None:
    rows, weights = torch.randn(6, width), torch.randn(3, width, width, requires_grad=True)
    grouped_matmul(rows, weights, torch.tensor([0, 6, 6], dtype=torch.int32)).sum().backward()
    assert [bool(group.any()) for group in weights.grad] == [False, True, False]


def test_transposed_and_strided_arguments() -> None:
    rows, weights = torch.randn(8, 9).T[:, :4], torch.randn(2, 8, 4).mT
    offsets = torch.tensor([4, 9], dtype=torch.int32)
    exact = reference.grouped_matmul(rows.double(), weights.double(), offsets)
    assert_close(grouped_matmul(rows, weights, offsets), exact, 1e-6)


class Spy:
    """Counts the calls of a function, and which operands they were given."""

    def __init__(self, function) -> None:
        self.function = function
        self.widths: list[int] = []

    def __call__(self, left, right, **options):
        self.widths.append(right.shape[-1])
        return self.function(left, right, **options)


@pytest.fixture
def stock_op(monkeypatch: pytest.MonkeyPatch) -> Spy:
    monkeypatch.setenv("ARCHSPEC_KERNELS", "torch")
    spy = Spy(torch.nn.functional.grouped_mm)
    monkeypatch.setattr(stock.F, "grouped_mm", spy)
    return spy


OFFSETS = torch.tensor([2, 6], dtype=torch.int32)


def test_the_stock_op_runs_where_it_can(stock_op: Spy) -> None:
    grouped_matmul(torch.randn(6, 8), torch.randn(2, 8, 4), OFFSETS)
    grouped_outer(torch.randn(6, 8), torch.randn(6, 4), OFFSETS)
    assert stock_op.widths == [4, 4]
    grouped_matmul(torch.randn(6, 8).double(), torch.randn(2, 8, 4).double(), OFFSETS)
    assert stock_op.widths == [4, 4]


def test_small_matrices_are_padded_and_large_ones_looped_over(stock_op: Spy) -> None:
    grouped_matmul(torch.randn(6, 8), torch.randn(2, 8, 3), OFFSETS)
    grouped_matmul(torch.randn(6, 5), torch.randn(2, 7, 5).mT, OFFSETS)
    grouped_outer(torch.randn(6, 8).bfloat16(), torch.randn(6, 3).bfloat16(), OFFSETS)
    assert stock_op.widths == [4, 8, 8]
    grouped_matmul(torch.randn(6, 101), torch.randn(2, 101, 103), OFFSETS)
    grouped_outer(torch.randn(6, 101), torch.randn(6, 103), OFFSETS)
    assert stock_op.widths == [4, 8, 8]


def test_a_matrix_that_starts_off_the_grid_is_right() -> None:
    buffer = torch.randn(2 * 8 * 4 + 1)
    rows, weights = torch.randn(6, 8), buffer[1:].view(2, 8, 4)
    exact = reference.grouped_matmul(rows.double(), weights.double(), OFFSETS)
    assert_close(grouped_matmul(rows, weights, OFFSETS), exact, 1e-6)


def test_one_matrix_expanded_over_the_groups() -> None:
    rows, weights = torch.randn(6, 8), torch.randn(1, 8, 4).expand(2, -1, -1)
    result = grouped_matmul(rows, weights, OFFSETS)
    assert_close(result, rows.double() @ weights[0].double(), 1e-6)


@pytest.mark.parametrize("ends", [[2, 5], [7, 6], [4, 7], [-1, 6]])
@pytest.mark.parametrize("width", [8, 5])
@pytest.mark.parametrize("module", [stock, reference])
def test_offsets_that_do_not_partition_the_rows_are_refused(module, width, ends) -> None:
    offsets = torch.tensor(ends, dtype=torch.int32)
    with pytest.raises(ValueError, match=rf"6, but they are \[{ends[0]}, {ends[1]}\]"):
        module.grouped_matmul(torch.randn(6, width), torch.randn(2, width, width), offsets)
    with pytest.raises(ValueError, match="must end at the number of rows"):
        module.grouped_outer(torch.randn(6, width), torch.randn(6, width), offsets)


@pytest.mark.parametrize(
    ("rows", "weights", "offsets", "message"),
    [
        (torch.zeros(6, 3), torch.zeros(2, 4, 5), torch.tensor([2, 6]).int(), r"\[6, 3\]"),
        (torch.zeros(6, 3), torch.zeros(2, 3, 5), torch.tensor([6]).int(), r"and \[1\]"),
        (torch.zeros(0, 3), torch.zeros(0, 3, 5), torch.tensor([]).int(), "at least one group"),
        (torch.zeros(6, 3), torch.zeros(2, 3, 5), torch.tensor([2, 6]), "torch.int64"),
        (torch.zeros(6, 3), torch.zeros(2, 3, 5).half(), torch.tensor([2, 6]).int(), "float16"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(rows, weights, offsets, message) -> None:
    with pytest.raises(ValueError, match=message):
        grouped_matmul(rows, weights, offsets)


def test_autocast_casts_both_arguments() -> None:
    rows, weights = torch.randn(6, 8), torch.randn(2, 8, 3)
    offsets = torch.tensor([2, 6], dtype=torch.int32)
    expected = grouped_matmul(rows.bfloat16(), weights.bfloat16(), offsets)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(grouped_matmul(rows, weights.bfloat16(), offsets), expected)
        assert torch.equal(grouped_matmul(rows.bfloat16(), weights, offsets), expected)
        assert grouped_matmul(rows.double(), weights.double(), offsets).dtype == torch.float64
