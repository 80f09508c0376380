import csv
import json
import math
from pathlib import Path

import optuna
import pytest

from archspec.errors import BudgetError, DivergedError, RunError
from archspec.search.feasible import FeasibleSpace
from archspec.search.objective import Outcome, StoredObjective
from archspec.search.pareto import pareto_front
from archspec.search.results import DesignResult, agreement, rank, seed_noise
from archspec.search.run_directory import create_run
from archspec.search.study import finished_results, resume_search, start_search
from archspec.spec.dump import spec_hash
from archspec.spec.load import load_model, load_search
from archspec.spec.model import ModelSpec
from archspec.train.files import lock_directory

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


class Counted:
    """A synthetic objective that remembers what it was asked."""

    def __init__(self, *, diverging: str = "", interrupt_at: int = 0) -> None:
        self.asked: list[tuple[str, int]] = []
        self.diverging = diverging
        self.interrupt_at = interrupt_at

    def __call__(self, spec: ModelSpec, seed: int) -> Outcome:
        self.asked.append((spec_hash(spec), seed))
        if len(self.asked) == self.interrupt_at:
            raise KeyboardInterrupt
        types = [layer.blocks[0].type for layer in spec.layers]
        if types[1] == self.diverging:
            raise DivergedError("training diverged: the loss is nan at step 3 of 10")
        value = sum((i + 2) * len(kind) % 7 for i, kind in enumerate(types)) + seed / 1e5
        metrics = {"facts.nll": value, "facts.accuracy": 0.5, "facts.chance": 0.125}
        return Outcome(value=value, metrics=metrics, seconds=2.0)


def trials_of(out: Path) -> list[optuna.trial.FrozenTrial]:
    backend = optuna.storages.journal.JournalFileBackend(str(out / "study.journal"))
    storage = optuna.storages.JournalStorage(backend)
    name = json.loads((out / "run.json").read_text())["study"]
    return optuna.load_study(study_name=name, storage=storage).trials


def states(out: Path) -> dict[str, int]:
    found = [trial.state.name for trial in trials_of(out)]
    return {name: found.count(name) for name in set(found)}


def test_a_search_leaves_a_winner_a_front_and_results(search_file: Path, tmp_path: Path) -> None:
    spec, out, judge = load_search(search_file), tmp_path / "runs" / "a", Counted()
    results = start_search(spec, out, objective=judge)
    allowed = FeasibleSpace.of(spec)
    assert len(results.designs) == 12
    assert len({design.spec_hash for design in results.designs}) == 12
    assert len(judge.asked) == len(set(judge.asked)) == 12 + 2 * len(results.finalists)
    for design in results.designs:
        for bound in allowed.bounds:
            assert design.prices[bound.quantity] <= bound.limit
    best = load_model(out / "best.yaml")
    assert spec_hash(best) == results.best.spec_hash
    assert best.name == "mini-best"
    rows = list(csv.DictReader((out / "pareto.csv").read_text().splitlines()))
    assert {row["spec_hash"] for row in rows} == {
        design.spec_hash for design in pareto_front(results.designs, "minimize")
    }
    assert float(rows[0]["metric"]) == min(design.value for design in results.designs)
    assert finished_results(out) == results
    assert set(states(out)) <= {"COMPLETE", "WAITING"}


def test_hand_designs_come_first_and_the_best_of_them_is_a_finalist(
    search_file: Path, tmp_path: Path
) -> None:
    results = start_search(load_search(search_file), tmp_path / "run", objective=Counted())
    hand = results.hand_designs
    assert sorted(design.trial for design in hand) == list(range(len(hand)))
    assert any(design.was_rerun for design in hand)
    assert len(results.finalists) in (2, 3)


def test_a_finished_search_is_not_run_again(search_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    results = start_search(load_search(search_file), out, objective=Counted())
    judge = Counted()
    assert resume_search(out, objective=judge) == results
    assert judge.asked == []


def test_more_trials_go_on_with_a_finished_search(search_file: Path, tmp_path: Path) -> None:
    out, judge = tmp_path / "run", Counted()
    before = start_search(load_search(search_file), out, objective=judge)
    after = resume_search(out, trials=15, objective=judge)
    assert len(after.designs) == 15
    assert len(judge.asked) == len(set(judge.asked))
    assert {design.spec_hash for design in before.designs} < {d.spec_hash for d in after.designs}
    assert finished_results(out) == after
    assert finished_results(out, trials=12) is None


def test_ctrl_c_queues_the_design_again(search_file: Path, tmp_path: Path) -> None:
    out, judge = tmp_path / "run", Counted(interrupt_at=7)
    with pytest.raises(KeyboardInterrupt):
        start_search(load_search(search_file), out, objective=judge)
    assert "RUNNING" not in states(out)
    assert states(out)["COMPLETE"] == 6
    again = Counted()
    results = resume_search(out, objective=again)
    assert again.asked[0] == judge.asked[6]
    assert not set(again.asked) & set(judge.asked[:6])
    assert len(results.designs) == 12


def test_ctrl_c_among_the_finalists_loses_no_re_run(search_file: Path, tmp_path: Path) -> None:
    out, judge = tmp_path / "run", Counted(interrupt_at=14)
    with pytest.raises(KeyboardInterrupt):
        start_search(load_search(search_file), out, objective=judge)
    again = Counted()
    resume_search(out, objective=again)
    assert again.asked[0] == judge.asked[13]
    assert not set(again.asked) & set(judge.asked[:13])


def test_a_design_that_diverges_is_noted_and_the_search_goes_on(
    search_file: Path, tmp_path: Path
) -> None:
    out, judge = tmp_path / "run", Counted(diverging="memory")
    results = start_search(load_search(search_file), out, objective=judge)
    assert len(results.designs) + len(results.diverged) == 12
    assert results.diverged
    assert all(placement[2] == "P" for placement in results.diverged)
    assert states(out)["PRUNED"] == len(results.diverged)
    assert resume_search(out, objective=Counted()) == results


def test_a_search_in_which_everything_diverges_says_so(search_file: Path, tmp_path: Path) -> None:
    def diverge(spec: ModelSpec, seed: int) -> Outcome:
        raise DivergedError("training diverged")

    with pytest.raises(DivergedError, match="every one of 12 designs diverged"):
        start_search(load_search(search_file), tmp_path / "run", objective=diverge)


def test_a_space_with_fewer_designs_than_trials_ends_early(
    search_file: Path, tmp_path: Path
) -> None:
    text = search_file.read_text()
    search_file.write_text(
        text.replace("[ffn, experts, private, shared], fixed: {0: ffn}", "[ffn, private]")
        .replace("trials: 12", "trials: 50")
        .replace("  pools.big.num_keys: [8, 16]\n", "")
    )
    spec, out = load_search(search_file), tmp_path / "run"
    listed = FeasibleSpace.of(spec).listed
    assert listed is not None
    results = start_search(spec, out, objective=Counted())
    assert results.exhausted
    assert len(results.designs) == len(listed) < 50
    assert "RUNNING" not in states(out)
    assert finished_results(out) == results


def test_an_impossible_budget_is_refused_before_anything_is_made(
    search_file: Path, tmp_path: Path
) -> None:
    search_file.write_text(search_file.read_text().replace("max: 1.02x", "max: 0.5x"))
    with pytest.raises(BudgetError, match=r"budgets\.flops_per_token\.max"):
        start_search(load_search(search_file), tmp_path / "run", objective=Counted())
    assert not (tmp_path / "run").exists()


def test_any_optuna_storage_will_do(search_file: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    spec, out = load_search(search_file), tmp_path / "run"
    results = start_search(spec, out, objective=Counted(), storage=url)
    judge = Counted()
    assert resume_search(out, objective=judge) == results
    assert judge.asked == []
    assert not (out / "study.journal").exists()
    study = optuna.load_study(
        study_name=json.loads((out / "run.json").read_text())["study"], storage=url
    )
    assert {trial.user_attrs["spec_hash"] for trial in study.trials} == {
        design.spec_hash for design in results.designs
    }


def test_a_storage_that_cannot_be_opened_leaves_nothing_behind(
    search_file: Path, tmp_path: Path
) -> None:
    url, out = "postgresql+nodriver://me:secret@localhost/db", tmp_path / "run"
    with pytest.raises(RunError, match=r"me:\*\*\*@localhost") as error:
        start_search(load_search(search_file), out, objective=Counted(), storage=url)
    assert "secret" not in str(error.value)
    assert not out.exists()


def test_a_password_is_not_written_down(search_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    create_run(out, load_search(search_file), "postgresql://me:secret@localhost/db")
    assert "secret" not in (out / "run.json").read_text()
    with pytest.raises(RunError, match="give --storage URL"):
        resume_search(out, objective=Counted())


def test_two_processes_cannot_use_one_directory(search_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    start_search(load_search(search_file), out, objective=Counted())
    with (
        lock_directory(out, activity="searching"),
        pytest.raises(RunError, match="another process is searching in it"),
    ):
        resume_search(out, objective=Counted())


def test_an_existing_directory_is_not_overwritten(search_file: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="already exists; go on with it by --resume"):
        start_search(load_search(search_file), tmp_path, objective=Counted())


def test_a_run_of_another_search_is_refused(search_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    start_search(load_search(search_file), out, objective=Counted())
    resume_search(out, given=load_search(search_file), objective=Counted())
    search_file.write_text(search_file.read_text().replace("trials: 12", "trials: 13"))
    resume_search(out, given=load_search(search_file), objective=Counted())
    search_file.write_text(search_file.read_text().replace("1.02x", "1.03x"))
    with pytest.raises(RunError, match=r"of another search: .*1\.03x here, 1\.02x there"):
        resume_search(out, given=load_search(search_file), objective=Counted())


@pytest.mark.parametrize("name", ["search.yaml", "run.json"])
def test_a_directory_that_is_no_search_is_refused(
    name: str, search_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    start_search(load_search(search_file), out, objective=Counted())
    (out / name).unlink()
    with pytest.raises(RunError, match=f"it has no {name}"):
        resume_search(out, objective=Counted())


def test_the_copies_are_the_search_that_was_asked(search_file: Path, tmp_path: Path) -> None:
    """Templates and pools no layer of the base uses, and blocks changed in place, survive."""
    model = tmp_path / "model.yaml"
    model.write_text(
        model.read_text().replace(
            "layers: {num_layers: 5, default: ffn, place: {shared: [3]}}",
            "layers: [ffn, {block: ffn, hidden_dim: 24}, ffn, ffn, private]",
        )
    )
    spec, out = load_search(search_file), tmp_path / "run"
    start_search(spec, out, objective=Counted())
    copy = load_search(out / "search.yaml")
    assert copy.base == spec.base
    assert copy.base.templates.items() >= spec.base.templates.items()
    assert (copy.variants, copy.pool_sizes, copy.train) == (
        spec.variants,
        spec.pool_sizes,
        spec.train,
    )
    assert FeasibleSpace.of(copy).bounds == FeasibleSpace.of(spec).bounds


def test_what_a_dead_process_left_of_a_line_is_cut_off(search_file: Path, tmp_path: Path) -> None:
    out, judge = tmp_path / "run", Counted(interrupt_at=5)
    with pytest.raises(KeyboardInterrupt):
        start_search(load_search(search_file), out, objective=judge)
    with (out / "study.journal").open("ab") as file:
        file.write(b'{"op_code": 4, "worker_id": "x", "tri')
    assert len(resume_search(out, objective=Counted()).designs) == 12


def test_outcomes_are_remembered_divergence_included(tmp_path: Path, search_file: Path) -> None:
    model = load_search(search_file).base
    judge = Counted(diverging="dense")
    stored = StoredObjective(judge, tmp_path)
    for _ in range(2):
        with pytest.raises(DivergedError, match="loss is nan"):
            stored(model, 0)
    fine = StoredObjective(Counted(), tmp_path)
    assert fine(model, 1) == fine(model, 1)
    assert len(judge.asked) == 1


def design(value: float, reruns: tuple[float, ...] = (), **prices: int) -> DesignResult:
    return DesignResult(
        trial=0, placement="", pools="", source="search", spec_hash=str(value), value=value,
        reruns=reruns, metrics={}, prices={"flops_per_token": 1, "num_params": 1, **prices},
        seconds=1.0,
    )  # fmt: skip


def test_finalists_rank_by_their_re_runs_and_before_the_others() -> None:
    lucky, steady, rest = design(1.0, (3.0, 3.2)), design(1.5, (1.6, 1.8)), design(1.2)
    broken = lucky.model_copy(update={"diverged_reruns": 1, "reruns": (3.0,)})
    assert rank([lucky, rest, steady], "minimize") == (steady, lucky, rest)
    assert rank([lucky, rest, steady], "maximize") == (lucky, steady, rest)
    assert rank([broken, rest, steady], "minimize") == (steady, broken, rest)


def test_rankings_are_compared_pair_by_pair() -> None:
    designs = [design(1.0, (1.0, 1.2)), design(2.0, (4.0, 4.0)), design(3.0, (3.0, 3.0))]
    found = agreement([*designs, design(9.0)])
    assert found is not None
    assert (found.pairs, found.kept, found.spearman) == (3, 2, 0.5)
    assert agreement(designs[:1]) is None
    assert seed_noise(designs) == pytest.approx(math.sqrt(0.02 / 3))


def test_the_front_holds_what_nothing_beats_in_everything() -> None:
    cheap = design(3.0, flops_per_token=1, num_params=9)
    good = design(1.0, flops_per_token=5, num_params=9)
    beaten = design(2.0, flops_per_token=5, num_params=9)
    small = design(4.0, flops_per_token=9, num_params=1)
    designs = [cheap, beaten, good, small]
    assert pareto_front(designs, "minimize") == [good, cheap, small]
    assert pareto_front(designs, "maximize") == [small, cheap]
