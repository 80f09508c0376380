import io
from pathlib import Path

import pytest
from rich.console import Console

from archspec.report.search import search_report
from archspec.report.search_view import SearchView
from archspec.search.events import Finished, Plan, Started
from archspec.search.results import BudgetResult, DesignResult, SearchResults, SpaceResult, rank

GOLDEN = Path(__file__).with_name("search_report.txt")


def design(
    trial: int, placement: str, source: str, value: float, *reruns: float, pools: str = ""
) -> DesignResult:
    return DesignResult(
        trial=trial, placement=placement, pools=pools, source=source, spec_hash=f"hash{trial}",
        value=value, reruns=reruns, seconds=10.0,
        metrics={"facts.nll": value, "facts.accuracy": 1 - value / 5, "facts.chance": 1 / 256},
        prices={"flops_per_token": 900 + trial, "device_bytes": 2**20 - trial},
    )  # fmt: skip


SPACE = SpaceResult(
    num_designs=1805, num_priced=1805, num_feasible=748, num_layers=6,
    pools={"big": (64, 128)}, legend="F ffn, E experts, P private, S shared",
)  # fmt: skip
BUDGETS = (
    BudgetResult(quantity="flops_per_token", side="max", limit=1000, rejected=0.33),
    BudgetResult(quantity="device_bytes", side="max", limit=2**20, rejected=0.43),
)
DESIGNS = (
    design(0, "F F F F F F", "all ffn", 4.3818),
    design(1, "F F F P F F", "centred private", 2.0693, 2.1, 2.18),
    design(2, "F S F S F S", "centred shared", 2.0752, pools="big 128²"),
    design(3, "F P E P F F", "search", 1.7217, 1.60, 1.61),
    design(4, "F P E P F S", "search", 1.8558, 1.7, 2.0, pools="big 64²"),
)


def results(*designs: DesignResult, **changes: object) -> SearchResults:
    values = {
        "name": "tiny", "metric": "facts.nll", "direction": "minimize", "sampler": "milp",
        "trials": 5, "space": SPACE, "budgets": BUDGETS, "diverged": (), "exhausted": False,
        "designs": rank(designs or DESIGNS, "minimize"), "uniform_dense": "hash0", "seconds": 50.0,
    }  # fmt: skip
    if designs:
        values["uniform_dense"] = None
    return SearchResults.model_validate(values | changes)


def text_of(found: SearchResults, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    with console.capture() as captured:
        console.print(search_report(found, Path("runs/tiny")))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def words_of(found: SearchResults) -> str:
    return " ".join(text_of(found).split())


def test_report_at_80_columns(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(text_of(results()))
    assert text_of(results()) == GOLDEN.read_text()


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in (80, 160):
        assert max(map(len, text_of(results(), width).splitlines())) <= width


def test_results_survive_json() -> None:
    found = results()
    assert SearchResults.model_validate_json(found.model_dump_json()) == found


def test_a_hand_design_that_wins_is_admitted() -> None:
    found = results(DESIGNS[1], design(9, "F P E P F F", "search", 1.0, 3.0, 3.0))
    assert "The search did not beat the hand designs" in words_of(found)


def test_a_gain_within_the_noise_is_called_unclear() -> None:
    found = results(DESIGNS[1], design(9, "F P E P F F", "search", 2.0, 2.0, 2.2))
    words = words_of(found)
    assert "0.04 better than (95%: -0.72 to +0.8) 'centred private'" in words
    assert "The interval includes 0 against 'centred private': not clearly above" in words


def test_rankings_that_disagree_are_called_so() -> None:
    found = results(DESIGNS[1], design(9, "F P E P F F", "search", 2.5, 2.0, 2.0))
    assert "0 of 1 pairs of finalists in the same order: the rankings disagree" in words_of(found)


def test_what_went_otherwise_is_said() -> None:
    found = results(
        DESIGNS[3], diverged=("F P P P P P",), exhausted=True, uniform_dense=None
    )  # fmt: skip
    words = words_of(found)
    assert "1 more diverged: F P P P P P." in words
    assert "so the search ended early" in words
    assert "No hand design fits the budgets" in words
    assert "dense blocks alone was not among the trained designs" in words


def test_an_estimate_is_called_one() -> None:
    space = SPACE.model_copy(update={"num_designs": 10**9, "num_priced": 20000, "num_feasible": 9})
    words = words_of(results(space=space))
    assert "leave under 1% of them (estimated from 20,000 designs drawn at random)" in words


PLAN = Plan(
    out=Path("runs/tiny"), metric="facts.nll", direction="minimize", sampler="milp", space=SPACE,
    budgets=BUDGETS, hand_designs=("all ffn",), trials=5, done=0, trainings=9,
)  # fmt: skip


def play(console: Console) -> None:
    """Let a view hear of one trial and of a second one that is still running."""
    started = Started(
        stage="trial", number=1, planned=5, placement="F P E P F F", pools="", source="search"
    )
    with SearchView(console) as view:
        view.on_plan(PLAN)
        view.on_start(started)
        view.on_finish(
            Finished(
                started=started, value=1.7217, seconds=12.0, prices=DESIGNS[3].prices,
                best=DESIGNS[3], done=1, trainings=9, seconds_left=96.0,
            )
        )  # fmt: skip
        view.on_start(started)


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_has_a_line_per_training(terminal: bool) -> None:
    page = io.StringIO()
    play(Console(file=page, width=80, force_terminal=terminal, no_color=True, highlight=False))
    assert (
        "1/5         F P E P F F           1.7217 *   12 s    90%    100%  search"
        in page.getvalue()
    )
    assert ("best so far" in page.getvalue()) is terminal
    assert ("about 1 min 36 s left" in page.getvalue()) is terminal
