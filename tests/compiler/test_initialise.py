"""First values depend on the seed, the parameter's name and the row, and on nothing else."""

import subprocess
import sys
import textwrap
import tracemalloc
from itertools import pairwise

import pytest
import torch

from archspec.compiler.build import build
from archspec.compiler.initialise import (
    BLOCK_ROWS,
    as_rows,
    fill_box,
    fill_rows,
    find_initialisers,
)
from archspec.errors import ArchspecError
from archspec.initialisers import Constant, Normal
from archspec.model.norm import RMSNorm
from archspec.testing.specs import random_spec

NORMAL = Normal(0.5)


def rows(start, stop, *, width=5, name="a.weight", seed=1, dtype=torch.float32):
    target = torch.full((stop - start, width), torch.nan, dtype=dtype)
    fill_rows(target, name, NORMAL, seed=seed, start=start)
    return target


@pytest.mark.parametrize(
    "cuts", [(1,), (BLOCK_ROWS,), (BLOCK_ROWS - 1, BLOCK_ROWS + 1), (3, 4, 300, 600, 601)]
)
@pytest.mark.parametrize("width", [1, 7, 16])
def test_any_split_into_ranges_gives_the_same_rows(cuts, width):
    total = 3 * BLOCK_ROWS - 11
    edges = [0, *cuts, total]
    parts = [rows(a, b, width=width) for a, b in pairwise(edges)]
    assert torch.equal(torch.cat(parts), rows(0, total, width=width))


def test_a_row_does_not_depend_on_how_many_follow():
    assert torch.equal(rows(0, 10), rows(0, 1000)[:10])


def test_seed_name_and_row_all_matter():
    base = rows(0, 4 * BLOCK_ROWS)
    assert not (base == rows(0, 4 * BLOCK_ROWS, seed=2)).any()
    assert not (base == rows(0, 4 * BLOCK_ROWS, name="b.weight")).any()
    assert base.unique().numel() > 0.999 * base.numel()


def test_values_are_normal():
    drawn = rows(0, 2000, width=50).double()
    assert drawn.mean().item() == pytest.approx(0.0, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.5, rel=0.01)
    assert (drawn.abs() < 1.0).double().mean().item() == pytest.approx(0.9545, abs=0.005)
    neighbours = torch.corrcoef(torch.stack((drawn[:-1].flatten(), drawn[1:].flatten())))
    assert abs(neighbours[0, 1].item()) < 0.01


def test_dtypes_hold_the_same_values_rounded():
    exact = rows(0, 300, dtype=torch.float64)
    assert torch.equal(rows(0, 300), exact.float())
    assert torch.equal(rows(0, 300, dtype=torch.bfloat16), exact.bfloat16())


def test_these_values_never_change():
    """A seed in a paper keeps its meaning; a change here belongs in the changelog."""
    assert rows(0, 1, width=3).tolist()[0] == pytest.approx(
        [-0.110668, -0.087146, 1.402781], abs=1e-6
    )


def test_constants():
    target = torch.full((3, 2), torch.nan)
    fill_rows(target, "x", Constant(1.5), seed=0)
    assert torch.equal(target, torch.full((3, 2), 1.5))


@pytest.mark.parametrize(
    ("shape", "flat"), [((6,), (6, 1)), ((4, 3), (4, 3)), ((2, 3, 5, 4), (30, 4))]
)
def test_all_axes_but_the_last_number_the_rows(shape, flat):
    parameter = torch.zeros(shape)
    view = as_rows(parameter)
    assert view.shape == flat
    assert view.data_ptr() == parameter.data_ptr()


def test_every_parameter_of_any_model_has_an_initialiser():
    for seed in range(40):
        model = build(random_spec(seed))
        assert find_initialisers(model).keys() == {n for n, _ in model.named_parameters()}


def test_a_parameter_without_initialiser_is_named(monkeypatch):
    monkeypatch.setattr(RMSNorm, "initialisers", lambda self: {})
    with pytest.raises(ArchspecError, match=r"layers\.0\.\w*norm\.weight has none"):
        find_initialisers(build(random_spec(0)))


def test_an_initialiser_without_parameter_is_named(monkeypatch):
    monkeypatch.setattr(
        RMSNorm, "initialisers", lambda self: {"weight": Constant(1.0), "bias": Constant(0.0)}
    )
    with pytest.raises(ArchspecError, match=r"layers\.0\.\w*norm\.bias does not exist"):
        find_initialisers(build(random_spec(0)))


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((700, 5), ((3, 700), (1, 4))),
        ((6, 50, 8), ((2, 5), (0, 50), (3, 8))),
        ((6, 50, 8), ((2, 5), (10, 31), (0, 8))),
        ((2, 3, 70, 4), ((0, 2), (1, 3), (0, 70), (0, 4))),
        ((2, 3, 70, 4), ((1, 2), (0, 3), (5, 60), (2, 3))),
        ((900,), ((255, 600),)),
        ((4, 4), ((2, 2), (0, 4))),
    ],
)
def test_any_box_holds_what_the_whole_would(shape, box):
    whole = torch.full(shape, torch.nan)
    fill_box(whole, "a", NORMAL, seed=3, shape=shape, box=[(0, length) for length in shape])
    part = torch.full([stop - start for start, stop in box], torch.nan)
    fill_box(part, "a", NORMAL, seed=3, shape=shape, box=box)
    assert whole.isfinite().all()
    assert torch.equal(part, whole[tuple(slice(*bounds) for bounds in box)])


def test_a_whole_box_is_what_rows_are():
    whole = torch.full((300, 5), torch.nan)
    fill_box(whole, "a.weight", NORMAL, seed=1, shape=(300, 5), box=((0, 300), (0, 5)))
    assert torch.equal(whole, rows(0, 300))


def test_a_part_of_a_table_takes_little_more_memory_than_its_size():
    target = torch.empty(2**15, 64)  # a quarter of the columns: 8 MB
    shape, box = (2**15, 256), ((0, 2**15), (64, 128))
    tracemalloc.start()
    try:
        fill_box(target, "a", NORMAL, seed=0, shape=shape, box=box)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.1 * target.nbytes  # numpy's blocks are traced, the table was there before


BUILD = """
    import os

    import torch
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from archspec.compiler.boxes import held
    from archspec.compiler.compile import compile
    from archspec.testing.parity import plan_of
    from archspec.testing.parity_models import SMALL
    from archspec.testing.specs import load_document

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    dist.init_process_group("fake", rank=0, world_size=4, store=FakeStore())
    plan = plan_of("float32", mesh={"dp_shard": 4, "memory": 4}, tables={"shard": "rows"})
    compile(load_document(SMALL), plan=plan)  # everything is imported
    large = {"big": {"num_keys": 1280, "value_dim": 128}}  # 839 MB, 210 MB on a rank
    before = resident()
    model = compile(load_document({**SMALL, "pools": large}), plan=plan)
    own = sum(held(parameter).nbytes for parameter in model.parameters())
    with open("/proc/self/status") as file:  # ru_maxrss would begin with the parent's
        (line,) = [line for line in file if line.startswith("VmHWM")]
    peak = int(line.split()[1]) * 1024
    print(own, (peak - before) / own)
"""


@pytest.mark.slow
def test_building_a_shard_takes_hardly_more_memory_than_it_has():
    command = [sys.executable, "-c", textwrap.dedent(BUILD)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    own, ratio = result.stdout.split()
    assert int(own) > 200e6
    assert float(ratio) <= 1.1
