import json
import subprocess
import sys

import pytest
import torch

from archspec.bench import kernels
from archspec.bench.kernels import bench_kernels
from archspec.bench.sweeps import CASES
from archspec.errors import BenchmarkError

# What a GPU machine may lack.
ABSENT = ("pydantic", "optuna", "rich", "matplotlib", "yaml", "scipy", "safetensors", "numba")
BARE = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
sys.argv = ["archspec.bench", *sys.argv[1:]]
runpy.run_module("archspec.bench", run_name="__main__")
"""


@pytest.fixture(scope="module")
def report():
    return bench_kernels("cpu", quick=True, threads=1)


def test_every_case_is_measured_beside_stock(report):
    assert set(report.cases) == set(CASES)
    for row in report.rows:
        assert row.skipped is None
        assert row.implementation
        assert any(timing.seconds for timing in row.stock), row.case


def test_only_what_stock_torch_lacks_is_skipped(report):
    timings = [(row.case, timing) for row in report.rows for timing in row.stock]
    skipped = {(case, timing.name) for case, timing in timings if timing.skipped}
    assert skipped <= {("forward", "sparse CSR")}


def test_threads_are_given_back(monkeypatch):
    monkeypatch.setattr(kernels, "sweep", lambda *_, **__: ())
    before = torch.get_num_threads()
    assert bench_kernels("cpu", threads=before + 1).machine["threads"] == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"threads": 0}, "N >= 1 must hold, but N=0"),
        ({"only": ["topkk"]}, "did you mean 'topk'"),
    ],
)
def test_mistakes(settings, words):
    with pytest.raises(BenchmarkError, match=words):
        bench_kernels("cpu", quick=True, **settings)


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BenchmarkError, match="sees no CUDA device"):
        bench_kernels("cuda")


@pytest.mark.slow
def test_it_runs_where_only_torch_is_installed(tmp_path):
    arguments = ["--device", "cpu", "--quick", "--threads", "1", "--out", str(tmp_path)]
    only = ["--only", "forward", "update", "topk", "rank"]
    done = subprocess.run(
        [sys.executable, "-c", BARE, *arguments, *only],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*.json")
    rows = json.loads(file.read_text())["rows"]
    assert {row["implementation"] for row in rows if not row["skipped"]} == {"torch"}
    assert [row["skipped"] for row in rows if row["case"] == "rank"] == ["numba is not installed"]
