"""A dry run of searches with everything that may vary."""

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from archspec.cli import main
from archspec.report.search_dry_run import dry_run_view
from archspec.report.shares import large_number, share_text
from archspec.search import trial_time
from archspec.search.dry_run import dry_run
from archspec.search.feasible import FeasibleSpace
from archspec.search.objective import Outcome
from archspec.search.share import Share
from archspec.search.study import start_search
from archspec.search.trial_time import TrialTime, measured_time, stored_time
from archspec.spec.load import load_search

UNDER_PLAN = "specs/search/under_plan_tiny.yaml"


def text_of(found, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(dry_run_view(found))
    return out.getvalue()


def test_a_small_search_is_described_exactly(search_file: Path) -> None:
    spec = load_search(search_file)
    found = dry_run(spec, TrialTime(2.0, "by hand"))
    allowed = FeasibleSpace.of(spec)
    assert found.num_designs == allowed.space.num_designs
    assert found.share == Share(len(allowed.listed) / found.num_designs, exact=True)
    members = [allowed.prices(design) for design in allowed.listed]
    for row in found.prices:
        values = [prices[row.quantity] for prices in members]
        assert row.least == pytest.approx(min(values), rel=2e-3)
        assert row.most == pytest.approx(max(values), rel=2e-3)
    assert found.seconds == 2.0 * found.trainings
    assert json.loads(json.dumps(found.as_dict()))["binding"]["rejects_most"]


@pytest.mark.parametrize("width", [80, 160])
def test_everything_that_may_vary_is_shown(width: int) -> None:
    spec = load_search(UNDER_PLAN)
    found = dry_run(spec, TrialTime(3.0, "by hand"))
    text = text_of(found, width)
    assert all(len(line) <= width for line in text.splitlines())
    for part in ("num_layers: 6, 8", "plan.recompute: none, full", "4 variants", "decode_time",
                 "binds", "times are estimates", "one trial: about 3.0 s"):  # fmt: skip
        assert part in text
    assert {row.quantity for row in found.prices} >= {"step_time", "decode_time", "device_bytes"}
    assert all(row.least <= row.most for row in found.prices)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (Share(0.0, exact=True), "none"),
        (Share(None), "some, but too few to estimate how many"),
        (Share(1 / 3.2e6, error=0.1), "about 1 in 3.2 million"),
        (Share(1e-30, error=0.1), "about 1 in 1e+30"),
        (Share(0.031, exact=True), "3.1%"),
        (Share(0.31, error=0.01), "about 31%"),
    ],
)
def test_a_share_is_never_rounded_to_nothing(share: Share, text: str) -> None:
    assert share_text(share) == text


def test_large_numbers() -> None:
    assert large_number(999) == "999"
    assert large_number(1_840_000) == "1.8 million"
    assert large_number(184_000_000) == "184 million"


def test_the_time_of_a_trial_is_extrapolated(search_file: Path, monkeypatch) -> None:
    spec = load_search(search_file)
    monkeypatch.setattr(trial_time, "_timed", lambda _base, train: 3.0 + 0.5 * train.num_steps)
    found = measured_time(spec)
    assert found.seconds == pytest.approx(3.0 + 0.5 * spec.train.num_steps)
    assert "2 and 6 of 10 steps" in found.source


def test_the_time_of_a_trial_is_that_of_a_run(search_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    start_search(
        load_search(search_file), out,
        objective=lambda spec, seed: Outcome(value=len(spec.name) + seed / 10, metrics={},
                                             seconds=1.5),
    )  # fmt: skip
    assert stored_time(out).seconds == 1.5


def test_sides_of_a_budget_reject_apart(search_file: Path) -> None:
    text = search_file.read_text()
    start = text.index("budgets:")
    end = text.index("\n", start)
    search_file.write_text(text[:start] + "budgets: {num_params: [0.1x, 1x]}" + text[end:])
    upper, lower = dry_run(load_search(search_file)).budgets
    assert (upper.side, lower.side) == ("max", "min")
    assert upper.rejected > 0
    assert lower.rejected == 0


def test_a_law_is_refused_beyond_its_range(search_file: Path, capsys) -> None:
    text = search_file.read_text()
    start = text.index("vary:")
    search_file.write_text(
        text[:start] + "vary: {blocks.ffn.hidden_dim: [16, 32]}\n"
        "objective: {kind: predicted, law: moe, train: train.yaml}\n"
    )
    base = search_file.parent / "model.yaml"
    places = base.read_text()
    base.write_text(places[: places.index("layers:")] + "layers: {num_layers: 4, default: ffn}\n")
    assert main(["search", str(search_file), "--dry-run"]) == 2
    assert "was fitted for num_active_params (N) of 79.0 M to 2.70 B" in capsys.readouterr().err


def test_the_command(search_file: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(trial_time, "_timed", lambda _base, train: 1.0 * train.num_steps)
    assert main(["search", str(search_file), "--dry-run"]) == 0
    assert "different designs" in capsys.readouterr().out
    assert main(["search", str(search_file), "--dry-run", "--json", "--trials", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == 3
    assert found["share"]["exact"]
    assert main(["search", "--dry-run"]) == 2
    assert "--dry-run needs SEARCH or --resume DIR" in capsys.readouterr().err


def test_a_run_under_a_plan_is_read_back(tmp_path: Path) -> None:
    spec = load_search(UNDER_PLAN)
    out = tmp_path / "run"
    start_search(
        spec, out,
        objective=lambda model, seed: Outcome(
            value=len(model.layers) + seed / 10, metrics={}, seconds=0.1
        ),
    )  # fmt: skip
    copy = load_search(out / "search.yaml")
    for one, other in zip(copy.variants, spec.variants, strict=True):
        hardware = {"hardware": other.plan.hardware}  # the run has a copy of its own
        same = dataclasses.replace(one, plan=one.plan.model_copy(update=hardware))
        assert same == other
    assert copy.hardware == spec.hardware
    assert FeasibleSpace.of(copy).bounds == FeasibleSpace.of(spec).bounds
