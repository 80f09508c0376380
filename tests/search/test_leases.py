import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from archspec.search.leases import (
    LEASE,
    WORKER,
    Heart,
    Lease,
    LeaseLostError,
    Observer,
    Worker,
    beat,
)

HERE = Worker.here()
ELSEWHERE = Worker(host="far", machine="other", pid=1, started=2, session="x")


def trial(worker: Worker | None, number: int, seconds: float = 10.0) -> FrozenTrial:
    made = create_trial(state=TrialState.RUNNING)
    if worker is not None:
        attributes = {WORKER: worker.as_attribute(), LEASE: beat(number, seconds)}
        made.user_attrs = attributes
    return made


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def looks(observer: Observer, clock: Clock, seen: FrozenTrial, *, until: float) -> float | None:
    """When a trial that never changes counts as lost, looked at every second."""
    while clock.now < until:
        if observer.lost([seen]):
            return clock.now
        clock.now += 1.0
    return None


def test_a_lease_that_does_not_move_is_lost_after_its_seconds() -> None:
    clock = Clock()
    observer = Observer(HERE, seconds=60, clock=clock)
    assert looks(observer, clock, trial(ELSEWHERE, 3), until=100) == 11


def test_a_lease_that_moves_is_not() -> None:
    clock = Clock()
    observer = Observer(HERE, seconds=60, clock=clock)
    for number in range(50):
        assert looks(observer, clock, trial(ELSEWHERE, number), until=clock.now + 9) is None


def test_clocks_of_workers_do_not_matter() -> None:
    seen = trial(ELSEWHERE, 0)
    seen.user_attrs[LEASE]["at"] = "1970-01-01T00:00:00+00:00"
    clock = Clock()
    assert looks(Observer(HERE, seconds=60, clock=clock), clock, seen, until=9) is None


def test_time_in_which_nobody_could_look_does_not_count() -> None:
    """The storage was away for an hour; everybody's beats are late, and nobody is dead."""
    clock = Clock()
    observer = Observer(HERE, seconds=60, clock=clock)
    assert looks(observer, clock, trial(ELSEWHERE, 1), until=3) is None
    clock.now += 3600
    assert not observer.lost([trial(ELSEWHERE, 1)])
    clock.now += 1
    assert not observer.lost([trial(ELSEWHERE, 2)])
    assert looks(observer, clock, trial(ELSEWHERE, 2), until=clock.now + 30) is not None


def test_who_died_before_the_first_beat_is_lost_too() -> None:
    clock = Clock()
    assert looks(Observer(HERE, seconds=20, clock=clock), clock, trial(None, 0), until=60) == 21


def test_a_neighbour_that_died_is_lost_at_once() -> None:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    status = Path(f"/proc/{child.pid}/stat").read_text()
    started = int(status.rpartition(")")[2].split()[19])
    neighbour = dataclasses.replace(HERE, pid=child.pid, started=started)
    observer = Observer(HERE, seconds=60)
    assert not observer.lost([trial(neighbour, 0)])
    os.kill(child.pid, signal.SIGKILL)
    while not observer.lost([trial(neighbour, 0)]):  # a zombie, as its parent has not looked
        time.sleep(0.01)
    child.join()
    assert observer.lost([trial(neighbour, 0)])


def test_an_earlier_search_of_this_process_is_lost_and_this_one_is_not() -> None:
    observer = Observer(HERE, seconds=60)
    assert observer.lost([trial(Worker.here(), 0)])
    assert not observer.lost([trial(HERE, 0)])


def test_a_process_of_another_container_is_not_judged_by_its_pid() -> None:
    there = dataclasses.replace(HERE, machine="another", pid=2**22)
    assert not Observer(HERE, seconds=60).lost([trial(there, 0)])


@pytest.mark.parametrize(
    "attributes", [{}, {WORKER: "x", LEASE: 3}, {WORKER: {"pid": 1}, LEASE: {"beat": "a"}}]
)
def test_attributes_of_somebody_elses_are_none(attributes) -> None:
    made = create_trial(state=TrialState.RUNNING, user_attrs=attributes)
    assert Worker.of(made) is None
    assert Lease.of(made) is None


def heart(renew, look=lambda: None) -> Heart:
    return Heart(renew, look, seconds=0.3)


def test_beats_go_up_while_a_trial_is_held() -> None:
    seen: list[tuple[int, int]] = []

    def renew(number: int, attribute: dict) -> bool:
        seen.append((number, attribute["beat"]))
        return True

    with heart(renew) as beating:
        assert beating.hold(7)["beat"] == 0
        time.sleep(0.5)
        beating.let_go()
        count = len(seen)
        time.sleep(0.3)
    assert count >= 2
    assert len(seen) <= count + 1
    assert {number for number, _ in seen} == {7}
    assert [beat for _, beat in seen] == sorted({beat for _, beat in seen})


def test_a_training_is_interrupted_once_its_trial_is_lost() -> None:
    with heart(lambda *_: False) as beating:
        beating.hold(1)
        with pytest.raises(KeyboardInterrupt), beating.interrupting():
            time.sleep(30)
        with pytest.raises(LeaseLostError):
            beating.explain()
        beating.explain()  # said once, the worker goes on


def test_a_trial_that_ends_while_its_beat_is_written_is_not_lost() -> None:
    writing, ended = threading.Event(), threading.Event()

    def renew(*_) -> bool:
        writing.set()
        return not ended.wait(5)  # "it has ended" is the answer that arrives

    with heart(renew) as beating:
        beating.hold(1)
        writing.wait()
        ended.set()  # the worker tells
        time.sleep(0.2)
        beating.let_go()
        beating.explain()


def test_a_failure_of_the_thread_is_raised_by_the_worker() -> None:
    def fail(*_):
        raise OSError("gone")

    with heart(lambda *_: True, fail) as beating:
        with pytest.raises(KeyboardInterrupt), beating.interrupting():
            time.sleep(30)
        with pytest.raises(OSError, match="gone"):
            beating.explain()


def test_nothing_but_a_training_is_interrupted() -> None:
    with heart(lambda *_: True, lambda: "somebody asked") as beating:
        time.sleep(0.4)
        assert beating.ending == "somebody asked"
        with pytest.raises(KeyboardInterrupt), beating.interrupting():
            time.sleep(30)
        beating.explain()
