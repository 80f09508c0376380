import dataclasses
import json
from pathlib import Path

import pytest

from archspec.errors import DivergedError
from archspec.search.agreement import rank_agreement, rung_agreements
from archspec.search.events import Finished, Listener
from archspec.search.fidelity import Fidelity, rescaled
from archspec.search.objective import AveragedObjective, Outcome
from archspec.search.results import DesignResult, rank
from archspec.search.rungs import Ladder, num_later
from archspec.search.study import resume_search, start_search
from archspec.search.verdict import judge as judge_verdict
from archspec.spec.dump import spec_hash
from archspec.spec.load import load_search, load_train
from archspec.spec.train import Schedule
from archspec.testing.spaces import small_model

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

RUNGS = "rungs: [{tokens: 320, keep: 5}, {tokens: 640, keep: 3}, {tokens: 1k, keep: 2}]\n"


@pytest.fixture
def rung_file(search_file: Path) -> Path:
    text = search_file.read_text().replace("finalists: 2\n", RUNGS)
    search_file.write_text(text)
    return search_file


class Logged:
    """Judges by a hash, another one on each rung, and remembers what it was asked."""

    def __init__(self, *, interrupt_at: int = 0, diverging_tokens: int = -1) -> None:
        self.asked: list[tuple[str, int, int | None]] = []
        self.interrupt_at = interrupt_at
        self.diverging_tokens = diverging_tokens

    def __call__(self, spec, seed, *, fidelity=None) -> Outcome:
        tokens = None if fidelity is None else fidelity.tokens
        self.asked.append((spec_hash(spec), seed, tokens))
        if len(self.asked) == self.interrupt_at:
            raise KeyboardInterrupt
        value = worth(spec_hash(spec), tokens) + seed / 1e9
        if tokens == self.diverging_tokens and value > 0.5:
            raise DivergedError("diverged")
        metrics = {"facts.nll": value, "facts.accuracy": 0.5, "facts.chance": 0.1}
        return Outcome(value=value, metrics=metrics, seconds=1.0)


def worth(key: str, tokens: int | None) -> float:
    """Early values are on another scale than late ones, and rank otherwise."""
    start = {320: 0, 640: 4, 1000: 8, None: 12}[tokens]
    return int(key[start : start + 4], 16) / 65536 + (0 if tokens is None else 1000 / tokens)


class LoggedInFile:
    """Judges as ``Logged`` does, in any process, and writes down what it was asked."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self, spec, seed, *, fidelity=None) -> Outcome:
        with self.log.open("a") as file:
            file.write(f"{spec_hash(spec)} {seed} {fidelity.tokens}\n")
        value = worth(spec_hash(spec), fidelity.tokens) + seed / 1e9
        return Outcome(value=value, metrics={"facts.nll": value}, seconds=1.0)


@pytest.mark.slow
def test_workers_share_the_rungs(rung_file: Path, tmp_path: Path) -> None:
    judge = LoggedInFile(tmp_path / "log.txt")
    results = start_search(load_search(rung_file), tmp_path / "run", objective=judge, workers=2)
    asked = judge.log.read_text().splitlines()
    assert len(asked) == len(set(asked))
    assert len(results.rungs[0].entries) == 12
    assert len(results.rungs) == 3
    last = {entry.spec_hash for entry in results.rungs[2].kept}
    assert {design.spec_hash for design in results.finalists} == last
    assert all(len(design.reruns) == 2 for design in results.finalists)


def test_survivors_climb_and_are_trained_equally_long(rung_file: Path, tmp_path: Path) -> None:
    judge = Logged()
    results = start_search(load_search(rung_file), tmp_path / "run", objective=judge)
    assert len(judge.asked) == len(set(judge.asked))
    by_tokens = {
        tokens: [(key, seed) for key, seed, found in judge.asked if found == tokens]
        for tokens in (320, 640, 1000)
    }
    first, second, third = results.rungs
    assert [rung.tokens for rung in results.rungs] == [320, 640, 1000]
    assert {key for key, _ in by_tokens[320]} == {entry.spec_hash for entry in first.entries}
    assert [key for key, _ in by_tokens[640]] == [entry.spec_hash for entry in first.kept]
    firsts = [key for key, seed in by_tokens[1000] if seed == 0]
    assert firsts == [entry.spec_hash for entry in second.kept]
    again = {key for key, seed in by_tokens[1000] if seed}
    assert again == {entry.spec_hash for entry in third.kept}
    assert {seed for _, seed in by_tokens[1000]} == {0, 1000, 2000}
    for rung, keep in zip(results.rungs, (5, 3, 2), strict=True):
        best = sorted(rung.entries, key=lambda entry: worth(entry.spec_hash, rung.tokens))
        hand = next((entry for entry in best if entry.is_hand_design), None)
        assert list(rung.entries) == best
        expected = {entry.spec_hash for entry in [*best[:keep], *([hand] if hand else [])]}
        assert {entry.spec_hash for entry in rung.kept} == expected
    assert results.best.spec_hash in again
    assert len(results.finalists) == len(again)


def test_as_many_hand_designs_go_along_as_are_asked_for(rung_file: Path, tmp_path: Path) -> None:
    rung_file.write_text(rung_file.read_text() + "hand_finalists: 9\n")
    spec, judge = load_search(rung_file), Logged()
    results = start_search(spec, tmp_path / "run", objective=judge)
    assert len(results.hand_designs) > 2
    assert all(len(design.reruns) == 2 for design in results.hand_designs)
    assert {design.trial for design in results.hand_designs} <= {d.trial for d in results.top}
    assert judge_verdict(results).status in ("beats all", "not all", "hand wins")
    assert len(judge.asked) <= spec.trials + num_later(spec)


def test_what_is_left_counts_the_tokens_of_later_rungs(rung_file: Path, tmp_path: Path) -> None:
    heard: list[Finished] = []

    class Ears(Listener):
        def on_finish(self, event: Finished) -> None:
            heard.append(event)

    start_search(load_search(rung_file), tmp_path / "run", objective=Logged(), listener=Ears())
    trials = [event for event in heard if event.started.stage == "trial"]
    later = 6 * 2 + 4 * 1000 / 320 + 2 * 3 * 1000 / 320  # in trials of one second, at most
    assert trials[-1].seconds_left == pytest.approx(later)
    assert [event.seconds_left for event in heard] == sorted(
        (event.seconds_left for event in heard), reverse=True
    )


def test_designs_are_ranked_by_how_far_they_got(rung_file: Path, tmp_path: Path) -> None:
    results = start_search(load_search(rung_file), tmp_path / "run", objective=Logged())
    reached = {e.spec_hash: rung.rung for rung in results.rungs for e in rung.entries}
    others = [design for design in results.designs if not design.was_rerun]
    order = [reached[design.spec_hash] for design in others]
    assert order == sorted(order, reverse=True)
    first_only = [d.value for d in others if reached[d.spec_hash] == 0]
    assert first_only == sorted(first_only)


@pytest.mark.parametrize("interrupt_at", [3, 12, 14, 18, 20, 23])
def test_nothing_is_repeated_after_an_end_on_any_rung(
    interrupt_at: int, rung_file: Path, tmp_path: Path
) -> None:
    whole = Logged()
    expected = start_search(load_search(rung_file), tmp_path / "whole", objective=whole)
    judge, out = Logged(interrupt_at=interrupt_at), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start_search(load_search(rung_file), out, objective=judge)
    cut, judge.interrupt_at = judge.asked.pop(), 0
    results = resume_search(out, objective=judge)
    assert len(judge.asked) == len(set(judge.asked))
    assert cut in judge.asked
    assert results.rungs[0].tokens == expected.rungs[0].tokens
    assert len(results.rungs) == 3
    if interrupt_at > 12:  # the trials were over, so all that follows is the same
        assert results == expected.model_copy(update={"name": results.name})


def test_a_survivor_that_diverges_goes_no_further(rung_file: Path, tmp_path: Path) -> None:
    judge = Logged(diverging_tokens=640)
    results = start_search(load_search(rung_file), tmp_path / "run", objective=judge)
    second = results.rungs[1]
    assert any(entry.values is None for entry in second.entries)
    assert all(entry.values is not None for entry in second.kept)


def test_the_last_rung_says_how_many_are_finalists(rung_file: Path) -> None:
    spec = load_search(rung_file)
    assert spec.finalists == spec.document.finalists == 2
    rung_file.write_text(rung_file.read_text().replace("1k, keep: 2", "1k"))
    assert load_search(rung_file).finalists == 3


def test_planned_trainings_are_an_upper_bound(rung_file: Path, tmp_path: Path) -> None:
    spec, judge = load_search(rung_file), Logged()
    start_search(spec, tmp_path / "run", objective=judge)
    assert len(judge.asked) <= spec.trials + num_later(spec)


def design(number: int, value: float, **changes) -> DesignResult:
    return DesignResult(
        trial=number, placement="", pools="", source="search", spec_hash=f"h{number}",
        value=value, metrics={}, prices={}, seconds=1.0, **changes,
    )  # fmt: skip


def test_one_rung_ranks_as_without_rungs(search_file: Path) -> None:
    designs = [design(0, 3.0), design(1, 1.0, reruns=(2.0, 2.5)), design(2, 2.0), design(3, 1.5)]
    ladder = Ladder(load_search(search_file), designs)
    assert ladder.order(designs, ladder.rungs({})) == rank(designs, "minimize")
    assert [due.design for due in ladder.due({})] == ["h1", "h1", "h3", "h3"]
    known = dict.fromkeys(ladder.due({}))
    assert ladder.due(known) == []
    assert set(ladder.reruns(known)) == {"h1", "h3"}


def test_ranks_of_rungs_are_compared_and_values_never(rung_file: Path, tmp_path: Path) -> None:
    results = start_search(load_search(rung_file), tmp_path / "run", objective=Logged())
    assert [found.of for found in results.rung_agreements] == [
        ("rung 0", "rung 1"),
        ("rung 1", "rung 2"),
    ]
    assert results.rung_agreements == rung_agreements(results.rungs)
    assert results.rung_agreements[0].designs == len(results.rungs[1].entries)


def test_agreement_is_that_of_ranks() -> None:
    same = rank_agreement(("a", "b"), [(1, 10), (2, 20), (3, 1000)])
    assert same.spearman == pytest.approx(1.0)
    assert not same.is_low
    assert rank_agreement(("a", "b"), [(1, 3), (2, 2), (3, 1)]).is_low
    assert rank_agreement(("a", "b"), [(1, 3), (2, 2)]).spearman is None
    assert rank_agreement(("a", "b"), [(1, 3), (1, 2), (1, 1)]).spearman is None


def test_a_schedule_keeps_its_shape(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(
        "archspec: 1\nkind: train\nseq_len: 16\nbatch_tokens: 64\ntokens: 64000\n"
        "data: [{task: facts, num_facts: 64, num_objects: 8}]\n"
        "optimizer: {lr: 1.0e-3, tables: {schedule: {kind: wsd, decay_tokens: 6400}}}\n"
        "schedule: {kind: cosine, warmup_tokens: 3200}\n"
    )
    train = load_train(tmp_path / "train.yaml")
    short = Fidelity(tokens=6400, lr=0.5).apply(train)
    assert (short.tokens, short.schedule.warmup_tokens, short.optimizer.lr) == (6400, 320, 0.5)
    assert short.optimizer.tables.schedule.decay_tokens == 640
    assert not list(short.check())
    assert Fidelity().apply(train) == train
    assert rescaled(Schedule(warmup_tokens=10), 100, 100) == Schedule(warmup_tokens=10)


def test_values_of_seeds_are_kept_and_averaged(search_file: Path, tmp_path: Path) -> None:
    text = search_file.read_text().replace("metric: facts.nll", "metric: facts.nll, seeds: 3")
    search_file.write_text(text)
    judge, out = Logged(interrupt_at=5), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start_search(load_search(search_file), out, objective=judge)
    judge.asked.pop()
    judge.interrupt_at = 0
    results = resume_search(out, objective=judge)
    assert len(judge.asked) == len(set(judge.asked))  # single seeds are remembered too
    for found in results.designs:
        base = worth(found.spec_hash, None)
        assert found.seed_values == pytest.approx([base, base + 1e-9, base + 2e-9], abs=1e-12)
        assert found.value == pytest.approx(base + 1e-9, abs=1e-12)
    files = [json.loads(path.read_text()) for path in (out / "designs").glob("*.json")]
    assert [content for content in files if content.get("values") != []] == []


def test_a_seed_that_diverges_fails_all() -> None:
    class Second(Logged):
        def __call__(self, spec, seed, *, fidelity=None) -> Outcome:
            if seed == 1:
                raise DivergedError("diverged")
            return super().__call__(spec, seed, fidelity=fidelity)

    with pytest.raises(DivergedError):
        AveragedObjective(Second(), 2)(small_model(), 0)


def test_due_trainings_are_plain_values(search_file: Path) -> None:
    (first, *_) = Ladder(load_search(search_file), [design(0, 1.0)]).due({})
    assert dataclasses.asdict(first) == {
        "stage": "re-run", "rung": 0, "design": "h0", "seed": 1000, "fidelity": None
    }  # fmt: skip
