"""Where a search stands, on narrow and wide terminals."""

import io

import pytest
from rich.console import Console

from archspec.report.study import study_report
from archspec.search.results import DesignResult
from archspec.search.status import StudyStatus, WorkerStatus

BEST = DesignResult(
    trial=17,
    placement="F S P S S F F F E F F F",
    pools="big 16²",
    source="search",
    spec_hash="0" * 64,
    value=1.23456,
    metrics={},
    prices={},
    seconds=61.0,
)


def worker(number: int, state: str, at: str) -> WorkerStatus:
    return WorkerStatus(
        name=f"node{number}.cluster.example.org:{31000 + number}",
        state=state,
        at=at,
        seconds=2.5 * number,
        done=number,
    )


STATUS = StudyStatus(
    study="placement-1f2e3d4c",
    metric="facts.nll",
    trials=200,
    counts={
        "trained": 55,
        "diverged": 2,
        "running": 3,
        "waiting": 1,
        "queued again": 4,
        "withdrawn": 6,
    },
    reruns=(0, 8),
    workers=(
        worker(1, "alive", "trial 71"),
        worker(2, "alive", "trial 72, proposing"),
        worker(40, "silent", "re-run 0123456789abcdef seed 1000"),
    ),
    best=BEST,
    per_hour=118.2,
    seconds_left=4350.0,
)


def rendered(width: int, status: StudyStatus = STATUS) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, no_color=True)
    with console.capture() as captured:
        console.print(study_report(status))
    return captured.get()


@pytest.mark.parametrize("width", [80, 160])
def test_everything_is_there_and_no_line_is_too_long(width: int) -> None:
    text = rendered(width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    assert "57 of 200 done, 2 of them diverged, 3 running, 1 waiting" in words
    assert "0 of at most 8" in words
    assert "118.2 trials an hour, about 1 h 12 min left" in words
    for shown in STATUS.workers:
        assert shown.name in text
        assert shown.state in text
    assert "…" not in text
