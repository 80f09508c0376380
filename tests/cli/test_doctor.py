import json

import pytest
import torch

from archspec.cli import main
from archspec.kernels import dispatch


@pytest.fixture(autouse=True)
def _no_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)


def diagnosis(capsys) -> dict:
    assert main(["doctor", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_versions_are_those_in_use(capsys):
    found = diagnosis(capsys)
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["cuda"] == torch.version.cuda
    assert found["cpu_threads"] == torch.get_num_threads()
    assert "cpu" in found["devices"]


def test_every_op_is_listed_for_cpu_with_what_runs(capsys):
    found = diagnosis(capsys)
    on_cpu = {(row["op"], row["dtype"]): row for row in found["ops"] if row["device"] == "cpu"}
    assert found["demand"] == "auto"
    assert set(on_cpu) == {
        (op, dtype) for op in dispatch.IMPLEMENTATIONS for dtype in ("float32", "bfloat16")
    }
    for (op, _), row in on_cpu.items():
        words = [built.word for built in dispatch.IMPLEMENTATIONS[op]]
        assert list(row["passed_over"]) == words[: words.index(row["runs"])]


def test_what_is_better_says_why_it_does_not_run(capsys, monkeypatch):
    absent = dispatch.Implementation(word="triton", module="nowhere", devices=("cuda",))
    row = (absent, *dispatch.IMPLEMENTATIONS["embedding_bag"])
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", {"embedding_bag": row})
    for report in diagnosis(capsys)["ops"]:
        if report["device"] == "cpu":
            assert report["passed_over"]["triton"] == "it runs on cuda"
    assert main(["doctor"]) == 0
    assert "not triton: it runs on cuda" in " ".join(capsys.readouterr().out.split())


def test_a_demand_is_shown(capsys, monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "reference")
    found = diagnosis(capsys)
    assert found["demand"] == "reference"
    assert {row["runs"] for row in found["ops"]} == {"reference"}
    assert main(["doctor"]) == 0
    assert "Chosen under ARCHSPEC_KERNELS=reference," in capsys.readouterr().out


def test_a_demand_that_cannot_be_met_is_explained_and_no_failure(capsys, monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "tritn")
    for row in diagnosis(capsys)["ops"]:
        assert row["runs"] is None
        assert "ARCHSPEC_KERNELS=tritn is not a choice" in row["why"]
    assert main(["doctor"]) == 0
    assert "nothing" in capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 160])
def test_fits_the_terminal_and_has_no_colour_in_a_pipe(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert "\x1b" not in out
    assert all(op in out for op in dispatch.IMPLEMENTATIONS)


def test_dtypes_that_go_alike_share_a_row(capsys):
    assert main(["doctor"]) == 0
    lines = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("product_key_topk ")
    ]
    assert len(lines) == 1 + torch.cuda.is_available()
