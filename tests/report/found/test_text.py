"""The report in a terminal: recorded at two widths, without colour, and of odd searches."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from archspec.report.found.text import run_report
from archspec.report.found.words import verdict_sentences
from archspec.search.findings import Findings
from archspec.search.opened import SearchRun
from archspec.search.results import SearchResults
from archspec.search.stage_results import ProxyResult, RankAgreement
from archspec.search.verdict import Comparison, Interval, Verdict
from archspec.train.rates import SweepChoice

WIDTHS = (80, 160)


def golden(width: int) -> Path:
    return Path(__file__).with_name(f"report_{width}.txt")


def printed(results: SearchResults, findings: Findings, width: int, **options: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, **options)
    console.print(run_report(results, findings, Path("runs/mini"), width=width))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("width", WIDTHS)
def test_report_is_as_recorded(
    run: SearchRun, findings: Findings, width: int, request: pytest.FixtureRequest
) -> None:
    text = printed(run.results, findings, width)
    if request.config.getoption("--update-golden"):
        golden(width).write_text(text)
    assert text == golden(width).read_text()
    assert max(map(len, text.splitlines())) <= width


def test_colour_says_nothing_that_the_text_does_not(run: SearchRun, findings: Findings) -> None:
    plain = printed(run.results, findings, 80)
    file = io.StringIO()
    console = Console(file=file, width=80, highlight=False, force_terminal=True, no_color=True)
    console.print(run_report(run.results, findings, Path("runs/mini"), width=80))
    for sign in ("●", "⊕", "⊖", "█"):
        assert sign in plain
        assert sign in file.getvalue()


def test_a_search_that_runs_is_said_to(run: SearchRun, findings: Findings) -> None:
    early = findings.model_copy(update={"is_finished": False, "importance": None, "chance": None})
    guided = run.results.model_copy(update={"sampler": "milp"})
    text = printed(guided, early, 80)
    assert "24 of 24 designs trained so far, stopped before its end" in text
    assert "go on with archspec search --resume runs/mini" in text
    assert "cannot be told from fewer than 8 designs" in text
    assert "too few designs were" in text


def test_stages_are_said(run: SearchRun, findings: Findings) -> None:
    low = RankAgreement(of=("d_model=64", "d_model=128"), designs=8, spearman=0.2)
    proxy = ProxyResult(
        num_layers=4, d_model=64, num_params=10**6, target_num_params=10**9, check=low,
        check_d_model=128,
    )  # fmt: skip
    choice = SweepChoice(group="dense", lr=0.002, table_lr=None, edges=(), runs=())
    changes = {"proxy": proxy, "learning_rates": (choice,)}
    words = " ".join(printed(run.results.model_copy(update=changes), findings, 80).split())
    assert "a proxy of 4 layers and width 64, 1.00 M parameters" in words
    assert "with a correlation of 0.20: that is low" in words
    assert "Learning rate, swept once for the family" in words


def gain(value: float, low: float | None = None, high: float | None = None) -> Interval:
    return Interval(value=value, low=low, high=high, count=2)


@pytest.mark.parametrize(
    ("status", "found", "said"),
    [
        ("beats all", gain(0.2, 0.1, 0.3), "beats every hand design, each with fresh seeds"),
        ("beats all", gain(0.2, -0.1, 0.5), "not clearly above"),
        ("not all", gain(-0.2, -0.3, -0.1), "does not beat every hand design: 0.2 worse than"),
        ("hand wins", gain(0.1), "The search did not beat the hand designs"),
        ("no hand", gain(0.1), "No hand design fits the budgets"),
    ],
)
def test_the_verdict_is_in_words(run: SearchRun, status: str, found: Interval, said: str) -> None:
    seeds = 2 if found.low is not None else 0
    one = Comparison(name="all ffn", trial=0, gain=found, seeds=seeds)
    verdict = Verdict.model_validate({"status": status, "comparisons": (one,), "freedom": 3})
    assert said in " ".join(verdict_sentences(run.results, verdict))
