from pathlib import Path

import pytest

from archspec.errors import DivergedError
from archspec.search.objective import Outcome
from archspec.search.study import resume_search, start_search
from archspec.search.sweep import SweptObjective, noted_rates, rates_text
from archspec.spec.dump import spec_hash
from archspec.spec.family import family_of
from archspec.spec.load import load_search
from archspec.testing.spaces import small_model, space_over

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


class Memory(dict):
    """Notes in a dict."""

    def set(self, key, value) -> None:
        self[key] = value


class Rated:
    """Best at another rate in each family; remembers what it was asked."""

    def __init__(self, *, interrupt_at: int = 0, diverging: str = "") -> None:
        self.asked: list[tuple[str, str, int, float | None, int | None]] = []
        self.interrupt_at = interrupt_at
        self.diverging = diverging

    def __call__(self, spec, seed, *, fidelity=None) -> Outcome:
        family = family_of(spec)
        lr, tokens = fidelity.lr, fidelity.tokens
        self.asked.append((family, spec_hash(spec), seed, lr, tokens))
        if len(self.asked) == self.interrupt_at:
            raise KeyboardInterrupt
        if family == self.diverging or (lr > 0.0045 and family == "moe"):
            raise DivergedError("diverged")
        value = (
            abs(lr - (0.002 if family == "dense" else 0.004)) + int(spec_hash(spec)[:4], 16) / 1e9
        )
        return Outcome(value=value, metrics={"facts.nll": value}, seconds=1.0)


@pytest.fixture
def swept_file(search_file: Path) -> Path:
    text = search_file.read_text()
    text = text.replace("metric: facts.nll", "metric: facts.nll, sweep: [0.5, 1, 2]")
    search_file.write_text(text)
    train = search_file.with_name("train.yaml")
    train.write_text(train.read_text() + "optimizer: {lr: 0.002}\n")
    return search_file


def spec_of(*labels: str):
    space = space_over(small_model(2), ["ffn", "experts", "private"], {})
    names = ["ffn", "experts", "private"]
    return space.model(space.normal([names.index(label) for label in labels], []))


def test_a_family_is_swept_once_and_keeps_its_rate(swept_file: Path) -> None:
    judge, notes = Rated(), Memory()
    swept = SweptObjective(judge, load_search(swept_file), notes)
    for labels in (("ffn", "ffn"), ("ffn", "experts"), ("experts", "ffn"), ("experts", "ffn")):
        swept(spec_of(*labels), 0)
    assert [(family, seed, lr) for family, _, seed, lr, _ in judge.asked] == [
        ("dense", 500, 0.001), ("dense", 500, 0.002), ("dense", 500, 0.004), ("dense", 0, 0.002),
        ("dense+moe", 500, 0.001), ("dense+moe", 500, 0.002), ("dense+moe", 500, 0.004),
        ("dense+moe", 0, 0.004), ("dense+moe", 0, 0.004), ("dense+moe", 0, 0.004),
    ]  # fmt: skip
    rates = noted_rates(notes)
    assert rates_text(rates) == "dense 0.002, dense+moe 0.004 (edge of the grid)"
    assert [run.value is not None for run in rates[0].runs] == [True] * 3


def test_workers_share_rates_and_representatives(swept_file: Path) -> None:
    judge, notes = Rated(), Memory()
    spec = load_search(swept_file)
    SweptObjective(judge, spec, notes)(spec_of("ffn", "experts"), 0)
    begun = len(judge.asked)
    SweptObjective(judge, spec, notes)(spec_of("experts", "ffn"), 0)
    assert len(judge.asked) == begun + 1
    # One that was cut short in its sweep leaves the representative to whoever goes on.
    cut, notes = Rated(interrupt_at=2), Memory()
    with pytest.raises(KeyboardInterrupt):
        SweptObjective(cut, spec, notes)(spec_of("ffn", "experts"), 0)
    SweptObjective(judge, spec, notes)(spec_of("experts", "ffn"), 0)
    assert {key for _, key, seed, *_ in judge.asked[begun + 1 :] if seed == 500} == {
        spec_hash(spec_of("ffn", "experts"))
    }


def test_a_representative_that_always_diverges_makes_room(swept_file: Path) -> None:
    judge, notes = Rated(diverging="dense"), Memory()
    swept = SweptObjective(judge, load_search(swept_file), notes)
    with pytest.raises(DivergedError, match="dense: training diverged with every learning rate"):
        swept(spec_of("ffn", "ffn"), 0)
    assert noted_rates(notes) == ()
    judge.diverging = ""
    assert swept(spec_of("ffn", "ffn"), 0).value < 1e-3


@pytest.mark.parametrize("interrupt_at", [2, 4, 9, 17])
def test_a_search_sweeps_once_whatever_happens(
    interrupt_at: int, swept_file: Path, tmp_path: Path
) -> None:
    judge, out = Rated(interrupt_at=interrupt_at), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start_search(load_search(swept_file), out, objective=judge)
    judge.asked.pop()
    judge.interrupt_at = 0
    results = resume_search(out, objective=judge)
    assert len(judge.asked) == len(set(judge.asked))
    families = {family for family, *_ in judge.asked}
    assert {choice.group for choice in results.learning_rates} == families
    for choice in results.learning_rates:
        asked = {(seed, lr) for family, _, seed, lr, _ in judge.asked if family == choice.group}
        rates = {lr for seed, lr in asked if seed != 500}
        assert rates <= {choice.lr}


def test_sweeps_run_on_the_first_rung(swept_file: Path, tmp_path: Path) -> None:
    text = swept_file.read_text().replace(
        "finalists: 2\n", "rungs: [{tokens: 320, keep: 3}, {tokens: 640, keep: 2}]\n"
    )
    swept_file.write_text(text)
    judge = Rated()
    start_search(load_search(swept_file), tmp_path / "run", objective=judge)
    assert {tokens for _, _, seed, _, tokens in judge.asked if seed == 500} == {320}
    assert {tokens for _, _, seed, _, tokens in judge.asked if seed >= 1000} == {640}
