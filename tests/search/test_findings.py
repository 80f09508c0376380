"""What is said of a whole search: planted effects are found, so far and at its end."""

import csv
import dataclasses
from pathlib import Path

import pytest

from archspec.errors import RunError
from archspec.search.findings import Findings, find
from archspec.search.opened import SearchRun, open_run
from archspec.search.pareto import pareto_front
from archspec.search.study import resume_search, start_search
from archspec.spec.dump import spec_hash
from archspec.spec.load import load_model, load_search
from archspec.testing.searched import SEARCH, PlantedObjective, searched, write_documents

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SearchRun:
    out, _ = searched(tmp_path_factory.mktemp("searched"), trials=40)
    return open_run(out)


@pytest.fixture(scope="module")
def findings(run: SearchRun) -> Findings:
    return find(run)


def test_planted_effects_are_found_with_their_sign(findings: Findings) -> None:
    found = findings.importance
    assert found is not None
    assert found.explained > 0.6
    weights = {factor.name: factor.weight for factor in found.positions}
    assert max(weights, key=lambda name: weights[name]) == "3"
    effects = {
        (factor.name, effect.name): effect
        for factor in found.positions
        for effect in factor.effects
    }
    for place in (("3", "private"), ("5", "experts")):
        assert effects[place].is_clear
        assert effects[place].value < 0
    assert effects["3", "private"].value == min(effect.value for effect in effects.values())
    # One interval in twenty leaves out 0 where there is nothing; all of these are small.
    nothing = [effect for (layer, _), effect in effects.items() if layer in ("1", "4")]
    assert sum(effect.is_clear for effect in nothing) <= 2
    assert all(abs(effect.value) < 0.05 for effect in nothing)
    pool = next(factor for factor in found.factors if factor.kind == "pool")
    assert all(abs(effect.value) < 0.05 for effect in pool.effects)


def test_effects_of_a_position_add_up_to_nothing_and_sums_to_their_parts(
    findings: Findings,
) -> None:
    found = findings.importance
    assert found is not None
    for factor in found.positions:
        assert sum(effect.value for effect in factor.effects) == pytest.approx(0, abs=1e-9)
    for total in found.sums:
        parts = [e.value for f in found.positions for e in f.effects if e.name == total.name]
        assert total.value == pytest.approx(sum(parts))


def test_the_curve_so_far_and_chance_are_as_long_as_the_search(
    run: SearchRun, findings: Findings
) -> None:
    best = min(design.value for design in run.results.designs)
    assert len(findings.best_so_far) == len(run.results.designs) == 40
    assert findings.best_so_far[-1] == best
    assert findings.chance is not None
    assert findings.chance.basis == "fit"
    assert len(findings.chance.middle) == 40
    assert sorted(findings.chance.middle, reverse=True) == list(findings.chance.middle)


def test_findings_survive_json(findings: Findings) -> None:
    assert Findings.model_validate_json(findings.model_dump_json()) == findings


def test_every_design_of_the_front_is_a_model_with_its_hash(run: SearchRun) -> None:
    front = pareto_front(run.results)
    rows = list(csv.DictReader((run.out / "pareto.csv").read_text().splitlines()))
    assert [row["spec_hash"] for row in rows] == [design.spec_hash for design in front]
    for row in rows:
        assert spec_hash(load_model(run.out / row["file"])) == row["spec_hash"]
    assert {f"pareto/{path.name}" for path in (run.out / "pareto").iterdir()} == {
        row["file"] for row in rows
    }


def test_results_name_the_layers_and_give_the_design_back(run: SearchRun) -> None:
    space = run.allowed.space
    for design in run.results.designs:
        assert space.hash(run.design_of(design)) == design.spec_hash
        assert design.layers[0] == "ffn"
        letters = [run.results.space.choices[name].letter for name in design.layers]
        assert "".join(letters) == design.placement.replace(" ", "")
    assert run.results.space.choices["shared"].pools == ("big",)
    foreign = run.results.best.model_copy(update={"params": {"layers.1": "nothing"}})
    with pytest.raises(RunError, match=r"is no design of the space that search\.yaml"):
        run.design_of(foreign)


def test_a_search_that_was_cut_short_is_reported_so_far(tmp_path: Path) -> None:
    spec = load_search(write_documents(tmp_path / "documents"))
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start_search(spec, out, objective=PlantedObjective(interrupt_at=12))
    run = open_run(out)
    findings = find(run)
    assert not run.is_finished
    assert not findings.is_finished
    assert len(run.results.designs) == len(findings.best_so_far) == 11
    assert findings.verdict.status in ("not yet", "hand wins")
    resume_search(out, objective=PlantedObjective())
    assert find(open_run(out)).is_finished


def test_re_runs_that_are_on_the_disk_count_so_far(tmp_path: Path) -> None:
    spec = load_search(write_documents(tmp_path / "documents"))
    spec = dataclasses.replace(
        spec, trials=8, document=spec.document.model_copy(update={"trials": 8})
    )
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start_search(spec, out, objective=PlantedObjective(interrupt_at=8 + 4))
    results = open_run(out).results
    assert [len(design.reruns) for design in results.designs[:2]] == [2, 0]


def test_before_the_first_design_there_is_nothing_to_report(tmp_path: Path) -> None:
    spec = load_search(write_documents(tmp_path / "documents"))
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start_search(spec, out, objective=PlantedObjective(interrupt_at=1))
    with pytest.raises(RunError, match="no design was trained yet"):
        open_run(out)
    with pytest.raises(RunError, match="not a search's directory"):
        open_run(tmp_path)


def test_rungs_are_never_compared(tmp_path: Path) -> None:
    text = SEARCH.replace(
        "trials: 24", "rungs: [{tokens: 320, keep: 6}, {tokens: 640}]\ntrials: 16"
    )
    out, results = searched(tmp_path, search=text)
    findings = find(open_run(out))
    reached = {entry.spec_hash for entry in results.rungs[1].entries}
    front = {design.trial: design for design in results.designs}
    assert all(front[trial].spec_hash in reached for trial in findings.front)
    assert {design.spec_hash for design in results.top} == reached
    for design in results.designs:
        assert len(results.rung_values(design)) == 1 + (design.spec_hash in reached)
    first = [design.value for design in results.designs]
    assert findings.best_so_far[-1] == min(first)
