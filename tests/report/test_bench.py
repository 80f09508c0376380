import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from archspec.bench.results import report_from_dict
from archspec.errors import ArchspecError, BenchmarkError
from archspec.report.bench import bench_view
from archspec.report.bench_markdown import bench_markdown, write_into
from archspec.report.bench_plot import plot_bench

RUN = Path(__file__).with_name("kernel_bench.json")


@pytest.fixture(scope="module")
def report():
    """A run on a CPU, cut to a few rows."""
    return report_from_dict(json.loads(RUN.read_text()))


def text(report, width):
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    console.print(bench_view(report, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 160])
def test_nothing_is_cut_and_no_figure_is_broken(report, width):
    shown = text(report, width)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    for row in report.rows:
        if row.ours.seconds:
            assert any(line.startswith(f"{row.label}  ") for line in shown.splitlines())
    assert shown.count(" GFLOP/s") == len(report.of("grouped"))


def test_output_in_a_pipe_has_no_colour(report):
    assert "\x1b" not in text(report, 80)


def test_intervals_take_room(report):
    assert "16.99x (16.67-17.25)" in text(report, 160)
    assert "16.99x (" not in text(report, 80)
    assert "from 120 columns on" in text(report, 80)


def test_the_confidence_is_that_of_the_fewest_rounds(report):
    assert "with a confidence of 75% or more" in text(report, 160)


def test_the_bytes_model_is_printed_by_reason(report):
    assert "66.5 MiB of traffic: table rows 64.0 MiB, result 2.00 MiB" in text(report, 160)


def test_who_did_not_run_is_said_with_the_reason(report):
    shown = text(report, 160)
    assert "not run: everybody at slots 64M: it takes 192 GiB of memory" in shown
    assert "not run: sparse CSR at slots 16M: its library crashes" in shown


def test_goals_stand_beside_figures(report):
    shown = text(report, 160)
    line = next(line for line in shown.splitlines() if "times F.embedding_bag" in line)
    assert line.split()[-5:] == [">=", "1.00", "0.72", "(0.70-0.93)", "missed"]


def test_markdown_has_a_table_for_each_case(report):
    page = bench_markdown(report)
    tables = [block for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 1 + len(report.cases)
    for table in tables:
        assert len({line.count(" | ") for line in table.splitlines() if "---" not in line}) == 1
    assert "`make bench-kernels`" in page


def test_a_page_keeps_what_is_around_the_tables(report):
    page = "a\n<!-- tables: cpu -->\nold\n<!-- end of tables: cpu -->\nb\n"
    written = write_into(page, report)
    assert written.startswith("a\n<!-- tables: cpu -->\n\nMeasured by ")
    assert written.endswith("<!-- end of tables: cpu -->\nb\n")
    assert "old" not in written
    assert write_into(written, report) == written


def test_a_page_without_marks_is_an_error(report):
    with pytest.raises(BenchmarkError, match="must hold '<!-- tables: cpu -->'"):
        write_into("nothing", report)


def test_the_page_has_marks_for_both_devices(report):
    page = Path("docs/kernels.md").read_text()
    assert write_into(page, report) != page
    assert "<!-- tables: cuda -->" in page


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_curves_of_all_sweeps(report, ending, tmp_path):
    file = tmp_path / f"run.{ending}"
    plot_bench(report, str(file))
    assert file.stat().st_size > 10_000


def test_nothing_to_draw_is_an_error(report, tmp_path):
    import dataclasses

    grouped = dataclasses.replace(report, rows=report.of("grouped"))
    with pytest.raises(ArchspecError, match="nothing to draw; it needs two sizes"):
        plot_bench(grouped, str(tmp_path / "run.png"))
