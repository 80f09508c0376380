from pathlib import Path

import pytest

from archspec.cli import main
from archspec.errors import DivergedError, ObjectiveError
from archspec.search.fidelity import Fidelity
from archspec.search.objectives.user import UserObjective, find_function
from archspec.search.run_directory import load_run
from archspec.search.workspace import read_workspace
from archspec.testing.spaces import small_model

SCORING = """\
from archspec.cost.summary import summarize
from archspec.errors import DivergedError

class Scores:
    @staticmethod
    def size(spec, seed, fidelity):
        return summarize(spec).total.num_params / 1e6 + seed / 1e9

def score(spec, seed, fidelity):
    size = summarize(spec).total.num_params
    return {"facts.nll": size / 1e6 + seed / 1e9, "tokens": fidelity.tokens}

def failing(spec, seed, fidelity):
    return {}[spec.d_model]

def diverging(spec, seed, fidelity):
    if len(spec.pools):
        raise DivergedError("no")
    return score(spec, seed, fidelity)

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a module of the user's; each test imports its own."""
    name = f"scoring_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SCORING)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def label(folder: Path, function: str) -> str:
    (module,) = folder.glob("scoring_*.py")
    return f"{module.stem}:{function}"


def ask(function, metric: str = "loss"):
    return UserObjective(function, "m:f", metric, tokens=640)(small_model(), 7)


def test_a_function_is_found_in_the_current_directory(folder) -> None:
    outcome = UserObjective(find_function(label(folder, "score")), "l", "facts.nll", tokens=640)(
        small_model(), 7, fidelity=Fidelity(lr=0.1)
    )
    assert outcome.metrics["tokens"] == 640
    assert outcome.value == outcome.metrics["facts.nll"]
    assert callable(find_function(label(folder, "Scores.size")))


def test_what_a_function_is_told() -> None:
    seen = []
    judge = UserObjective(lambda *given: seen.append(given) or 1.0, "m:f", "loss", tokens=640)
    judge(small_model(), 3)
    judge(small_model(), 3, fidelity=Fidelity(tokens=60))
    assert [given[1:] for given in seen] == [(3, Fidelity(tokens=640)), (3, Fidelity(tokens=60))]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere:f", "cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("math:sqr", "--objective math:sqr: math has no 'sqr'; did you mean 'sqrt'?"),
        ("math:pi", "--objective math:pi: is 3.14159"),
        ("mine", "no installed distribution offers it (archspec.objectives); none are defined"),
    ],
)
def test_what_cannot_be_found(given: str, message: str) -> None:
    with pytest.raises(ObjectiveError) as error:
        find_function(given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None for 'loss'; return a number, or a map of names to numbers"),
        ("3", "returned '3' for 'loss'"),
        (True, "returned True for 'loss'"),
        ({}, "returned nothing, but the search improves 'loss'; return it too"),
        ({"nll": 1.0}, "returned nll, but the search improves 'loss'"),
        ({"loss": 1.0, "other": None}, "returned None for 'other'"),
    ],
)
def test_what_is_no_value(returned, message: str) -> None:
    with pytest.raises(ObjectiveError) as error:
        ask(lambda *_: returned)
    assert message in str(error.value)


def test_numbers_of_other_libraries_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert ask(lambda *_: numpy.float32(0.5)).value == 0.5


def test_a_value_that_is_not_finite_is_a_divergence() -> None:
    with pytest.raises(DivergedError, match="the objective's loss is nan"):
        ask(lambda *_: float("nan"))


def run(folder: Path, capsys, *arguments: str) -> tuple[int, str]:
    status = main(["search", *arguments])
    return status, capsys.readouterr().err


def test_a_search_by_the_users_function(search_file, folder, capsys) -> None:
    ours = label(folder, "score")
    assert run(folder, capsys, "search.yaml", "--out", "run", "--objective", ours)[0] == 0
    spec, _ = load_run(Path("run"))
    assert spec.document.objective.kind == "user"
    assert "scoring" not in Path("run/search.yaml").read_text()


def test_going_on_needs_the_same_function_again(search_file, folder, capsys) -> None:
    ours, other = label(folder, "score"), label(folder, "Scores.size")
    begin = ["search.yaml", "--out", "run", "--trials", "4"]
    assert run(folder, capsys, *begin, "--objective", ours)[0] == 0
    go_on = ["--resume", "run", "--trials", "6"]
    status, said = run(folder, capsys, *go_on)
    assert status == 2
    assert "give the function on the command line, --objective module:function" in said
    status, said = run(folder, capsys, *go_on, "--objective", other)
    assert status == 2
    assert f"its designs were judged by --objective {ours}, so {other} cannot go on" in said
    assert run(folder, capsys, *go_on, "--objective", ours)[0] == 0


def test_an_error_of_the_users_code(search_file, folder, capsys) -> None:
    begin = ["search.yaml", "--out", "run", "--objective", label(folder, "failing")]
    status, said = run(folder, capsys, *begin)
    assert status == 2
    assert "Traceback" not in said
    (module,) = folder.glob("scoring_*.py")
    assert f"KeyError: 16 (in failing, {module}:14)" in said
    # The design failed and is not queued again; the next session goes on with another.
    again = [*begin[:0], "--resume", "run", "--objective", begin[-1]]
    assert run(folder, capsys, *again)[0] == 2
    trials = read_workspace(Path("run")).study.get_trials()
    failed = [trial for trial in trials if "KeyError" in trial.user_attrs.get("withdrawn", "")]
    assert [trial.state.name for trial in failed] == ["FAIL", "FAIL"]
    assert len({trial.user_attrs["spec_hash"] for trial in failed}) == 2


def test_a_design_that_diverges_by_the_users_word(search_file, folder, capsys) -> None:
    begin = ["search.yaml", "--out", "run", "--objective", label(folder, "diverging")]
    assert run(folder, capsys, *begin)[0] == 0


def test_a_document_of_kind_user_needs_the_function(search_file, folder, capsys) -> None:
    text = search_file.read_text()
    search_file.write_text(text.replace("metric: facts.nll", "kind: user, metric: score"))
    status, said = run(folder, capsys, "search.yaml", "--out", "run")
    assert status == 2
    assert "objective.kind is user, and no document names code" in said
    assert not Path("run").exists()
