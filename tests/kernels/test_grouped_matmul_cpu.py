import pytest
import torch

from archspec.kernels import dispatch
from archspec.kernels.grouped_matmul import reference
from archspec.testing.tensors import assert_close

pytest.importorskip("numba")
if torch.backends.cpu.get_cpu_capability() != "AVX512":
    pytest.skip("needs AVX-512", allow_module_level=True)

from archspec.kernels.grouped_matmul import cpu

# Tiles are 8 x 32 and panels 1024 deep: below, at and beyond each.
SIZES = {
    "tiles": ([8, 16, 24], 32, 64),
    "less than a tile": ([3, 1, 7], 5, 31),
    "overhanging": ([9, 17, 8], 33, 65),
    "deep": ([70, 0, 5], 1100, 40),
    "many rows": ([1500, 0, 1030], 40, 33),
    "one column": ([5, 40], 8, 1),
}


def draw(name):
    sizes, in_dim, out_dim = SIZES[name]
    torch.manual_seed(0)
    offsets = torch.tensor(sizes).cumsum(0).int()
    rows = torch.randn(sum(sizes), in_dim)
    return rows, torch.randn(len(sizes), in_dim, out_dim), torch.randn(len(rows), out_dim), offsets


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", SIZES)
def test_every_edge_of_tiles_and_panels(name, threads):
    rows, weights, grads, offsets = draw(name)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        product = cpu.grouped_matmul(rows, weights, offsets)
        turned = cpu.grouped_matmul(grads, weights.mT, offsets)
        outer = cpu.grouped_outer(rows, grads, offsets)
    finally:
        torch.set_num_threads(before)
    exact = [tensor.double() for tensor in (rows, weights, grads)]
    assert_close(product, reference.grouped_matmul(exact[0], exact[1], offsets), 1e-6)
    assert_close(turned, reference.grouped_matmul(exact[2], exact[1].mT, offsets), 1e-6)
    assert_close(outer, reference.grouped_outer(exact[0], exact[2], offsets), 1e-6)


def test_threads_change_no_bit():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(512, 96, generator=generator)
    grads = torch.randn(512, 200, generator=generator)
    weights = torch.randn(3, 96, 200, generator=generator)
    offsets = torch.tensor([100, 101, 512], dtype=torch.int32)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(
            (cpu.grouped_matmul(rows, weights, offsets), cpu.grouped_outer(rows, grads, offsets))
        )
    torch.set_num_threads(before)
    for product, outer in found[1:]:
        assert torch.equal(product, found[0][0])
        assert torch.equal(outer, found[0][1])


def test_other_processors_take_stock_torch(monkeypatch):
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    call = dispatch.Call(device="cpu", dtype=torch.float32, width=64)
    choice = dispatch.explain("grouped_matmul", call)
    assert choice.implementation.word == "torch"
    assert choice.passed_over["numba"] == "it is for processors with AVX-512"
