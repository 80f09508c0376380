"""What several workers do to one trial at the same time happens once."""

import contextlib
import dataclasses
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from archspec.search.claims import CLAIMED, Verdict
from archspec.search.holder import AGAIN, DEATHS, DIVERGED, INTERRUPTED, Holder
from archspec.search.leases import LEASE, WORKER, Heart, Worker, beat
from archspec.search.storage import open_url

DEAD = dataclasses.replace(Worker.here(), pid=2**22 + 1, started=1)  # no process has the number
CROWD = 6


opened = contextlib.ExitStack()


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    with opened:
        yield


@pytest.fixture
def url(storage_url: str | None, tmp_path: Path) -> str:
    return storage_url or str(tmp_path / "study.journal")


def holder(url: str, notes: list[str], lease: float = 60.0, machine: str | None = None) -> Holder:
    """One worker's own connection to the study."""
    here = Worker.here()
    storage = opened.enter_context(contextlib.closing(open_url(url)))
    study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True)

    def queue_again(trial: optuna.trial.FrozenTrial, deaths: int) -> None:
        attributes = {AGAIN: trial.number, DEATHS: deaths}
        study.enqueue_trial({"x": trial.params["x"]}, user_attrs=attributes)

    return Holder(
        storage,
        study,
        key="key",
        worker=here if machine is None else dataclasses.replace(here, machine=machine),
        heart=Heart(lambda *_: True, lambda: None, seconds=lease),
        lease=lease,
        queue_again=queue_again,
        notify=notes.append,
    )


def begin(held: Holder, worker: Worker | None = None, **attributes: object) -> int:
    trial = held.study.ask()
    trial.suggest_categorical("x", [1, 2, 3])
    held.begin(trial.number)
    trial.set_user_attr("key", "a design")
    if worker is not None:
        trial.set_user_attr(WORKER, worker.as_attribute())
        trial.set_user_attr(LEASE, beat(0, 0.0))
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    return trial.number


def at_once(*actions: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(len(actions)) as pool:
        barrier = threading.Barrier(len(actions))

        def act(action: Callable[[], object]) -> object:
            barrier.wait()
            return action()

        return list(pool.map(act, actions))


STORAGES = pytest.mark.parametrize(
    "storage_url", ["journal", "sqlite", "postgresql", "mysql", "redis"], indirect=True
)


@STORAGES
def test_all_notice_a_death_and_its_design_is_queued_once(url: str) -> None:
    notes: list[str] = []
    crowd = [holder(url, notes) for _ in range(CROWD)]
    number = begin(crowd[0], DEAD)
    at_once(*(held.recover for held in crowd))
    trials = crowd[0].study.trials
    assert trials[number].state == TrialState.FAIL
    assert trials[number].user_attrs[INTERRUPTED] == "its worker died"
    assert [(t.state, t.user_attrs[AGAIN]) for t in trials[1:]] == [(TrialState.WAITING, number)]
    assert notes == [f"{DEAD} is gone; trial {number} is queued again"]


@STORAGES
def test_a_result_and_a_death_are_told_at_once_and_one_counts(url: str) -> None:
    first, second = holder(url, []), holder(url, [])
    for _ in range(5):
        number = begin(first)
        tell = functools.partial(first.tell, number, [1.0], {"metrics": {"a": 1.0}})
        give_back = functools.partial(second.give_back, number, "its worker died", deaths=1)
        told, given_back = at_once(tell, give_back)
        assert told != given_back
        trial = first.study.trials[number]
        assert trial.state == (TrialState.COMPLETE if told else TrialState.FAIL)


@STORAGES
def test_of_all_who_come_upon_one_design_one_may_train_it(url: str) -> None:
    """A read must show what others wrote before it, however the storage isolates transactions."""
    # A process works on one trial at a time: of its own machine, each takes the others for dead.
    crowd = [holder(url, [], machine=f"machine {number}") for number in range(CROWD)]

    def propose(held: Holder) -> Verdict:
        held.study.get_trials()  # a snapshot that is outdated soon
        number = begin(held)
        verdict = held.claim(number)
        if verdict is not Verdict.OURS:
            held.withdraw(number, "another trial has the design")
        return verdict

    verdicts = at_once(*(functools.partial(propose, held) for held in crowd))
    assert Counter(verdicts) == {Verdict.OURS: 1, Verdict.TAKEN: CROWD - 1}
    held = [trial for trial in crowd[0].study.trials if trial.state == TrialState.RUNNING]
    assert [trial.user_attrs[CLAIMED] for trial in held] == [True]


def test_a_result_whose_answer_was_lost_counts(url: str) -> None:
    held = holder(url, [])
    number = begin(held)
    assert held.tell(number, [1.0], {})
    assert held.tell(number, [1.0], {})
    other = holder(url, [])
    assert not other.tell(number, [1.0], {})


def test_a_design_that_kills_its_workers_is_given_up(url: str) -> None:
    notes: list[str] = []
    held = holder(url, notes)
    number = begin(held, DEAD, deaths=4)
    held.recover()
    held.recover()
    trial = held.study.trials[number]
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs[DIVERGED] == "5 workers died over it"
    assert len(held.study.trials) == 1
    assert notes == [f"{DEAD} is gone; trial {number} is given up: 5 workers died over it"]


def test_who_dies_between_failing_and_queueing_loses_no_design(url: str) -> None:
    held = holder(url, [], lease=0.0)
    number = begin(held)
    queue_again, held._queue_again = held._queue_again, lambda *_: None
    held.give_back(number, "its worker died")
    held._queue_again = queue_again
    assert len(held.study.trials) == 1
    for _ in range(3):
        held.recover()
    assert [t.user_attrs[AGAIN] for t in held.study.trials[1:]] == [number]
