import json

import pytest

from archspec.bench.results import Row, Timing, report_from_dict, report_json, size_text
from archspec.errors import BenchmarkError

ROW_KEYS = [
    "archspec",
    "bytes",
    "bytes_per_second",
    "case",
    "copy",
    "copy_bytes",
    "flops",
    "flops_per_second",
    "implementation",
    "of_copy",
    "size",
    "skipped",
    "stock",
    "traffic",
    "varied",
]
TIMING_KEYS = ["disagrees", "median_seconds", "name", "seconds", "skipped"]


@pytest.fixture
def report(make_row, make_report):
    return make_report(
        make_row("forward", ratios={"F.embedding_bag": 2.0}),
        Row(case="forward", varied="slots", size={"slots": 1 << 24}, skipped="no memory"),
        Row(
            case="topk",
            varied="",
            size={"num_keys": 64},
            traffic={"queries": 10},
            ours=Timing(name="archspec", seconds=(1.0,)),
            stock=(Timing(name="three torch.topk", skipped="no"),),
            copy=Timing(name="copy", seconds=(1.0,)),
            copy_bytes=20,
        ),
    )


def test_json_gives_back_the_report(report):
    assert report_from_dict(json.loads(report_json(report))).as_dict() == report.as_dict()


def test_the_json_has_these_keys(report):
    """Scripts read it: a change here raises SCHEMA."""
    value = report.as_dict()
    assert list(value) == ["schema", "kind", "machine", "started", "seconds", "quick", "rows"]
    assert value["schema"] == 1
    for row in value["rows"]:
        assert sorted(row) == ROW_KEYS
        assert sorted(row["archspec"]) == sorted(row["copy"]) == TIMING_KEYS
        assert all(sorted(timing) == sorted([*TIMING_KEYS, "ratio"]) for timing in row["stock"])


def test_derived_figures_stand_beside_the_raw_times(report):
    row = report.as_dict()["rows"][0]
    assert row["stock"][0]["ratio"]["median"] == 2.0
    assert row["of_copy"]["median"] == 0.5
    assert row["bytes_per_second"] == 1000.0


def test_a_list_of_times_takes_one_line(report):
    assert "[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]" in report_json(report)


def test_what_did_not_run_has_no_figures(report):
    skipped, partly = report.rows[1:]
    assert skipped.rival is None
    assert partly.ratio("three torch.topk") is None
    assert report.as_dict()["rows"][1]["of_copy"] is None


def test_another_version_is_refused(report):
    with pytest.raises(BenchmarkError, match=r"schema 1 and kind 'kernels'.* 2 .*measure it again"):
        report_from_dict({**report.as_dict(), "schema": 2})


def test_the_fastest_stock_way_is_the_rival(make_row):
    row = make_row("step", ratios={"fused AdamW": 3.0, "SparseAdam": 1.5, "foreach AdamW": 9.0})
    assert row.rival.name == "SparseAdam"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("slots", 1 << 24, "16M"),
        ("slots", 65536, "64k"),
        ("slots", 65537, "65537"),
        ("width", 1 << 20, "1048576"),
        ("dtype", "bfloat16", "bfloat16"),
    ],
)
def test_sizes_are_written_as_people_say_them(key, value, text):
    assert size_text(key, value) == text


def test_the_file_is_named_after_the_device(report):
    assert report.file_stem == "a-cpu-2-0-ghz"
