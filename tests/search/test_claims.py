import threading
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from archspec.search.claims import CLAIMED, Verdict, claim, judge

STEPS = 10_000


class World:
    """Workers as generators that touch a storage once between two yields."""

    def __init__(self, waiting: int, limit: int | None) -> None:
        self.limit = limit
        self.trials = [
            SimpleNamespace(number=number, state=TrialState.WAITING, user_attrs={})
            for number in range(waiting)
        ]
        self.trained: list[str] = []
        self.surplus: list[str] = []

    def begin(self) -> SimpleNamespace:
        for trial in self.trials:
            if trial.state == TrialState.WAITING:
                trial.state = TrialState.RUNNING
                return trial
        trial = SimpleNamespace(number=len(self.trials), state=TrialState.RUNNING, user_attrs={})
        self.trials.append(trial)
        return trial

    def read(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(number=t.number, state=t.state, user_attrs=dict(t.user_attrs))
            for t in self.trials
        ]

    def worker(self, keys: list[str]) -> Iterator[None]:
        for key in keys:
            trial = self.begin()
            yield
            trial.user_attrs["key"] = key
            yield
            while True:
                seen = self.read()
                verdict = judge(trial.number, seen, key="key", limit=self.limit)
                yield
                if verdict is not Verdict.WAIT:
                    break
            if verdict is not Verdict.OURS:
                trial.state = TrialState.FAIL
                self.surplus += [key] if verdict is Verdict.SURPLUS else []
                yield
                continue
            trial.user_attrs[CLAIMED] = True
            self.trained.append(key)
            yield
            trial.state = TrialState.COMPLETE
            yield


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=4), min_size=1, max_size=5),
    st.integers(0, 6),
    st.none() | st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_whatever_the_order_each_key_is_trained_once(keys, waiting, limit, rng) -> None:
    world = World(waiting, limit)
    live = [world.worker(own) for own in keys]
    for _ in range(STEPS):
        if not live:
            break
        worker = rng.choice(live)
        try:
            next(worker)
        except StopIteration:
            live.remove(worker)
    assert not live, "workers wait for each other"
    wanted = {key for own in keys for key in own}
    assert max(Counter(world.trained).values(), default=0) <= 1
    if limit is None:
        assert set(world.trained) == wanted
    else:
        assert len(world.trained) <= limit
        assert set(world.trained) | set(world.surplus) == wanted


def test_threads_on_one_storage() -> None:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage)
    study_id = storage.get_study_id_from_name(study.study_name)
    found: list[Verdict] = []

    def work() -> None:
        template = create_trial(state=TrialState.RUNNING)
        trial_id = storage.create_new_trial(study_id, template)
        storage.set_trial_user_attr(trial_id, "key", "same")
        found.append(claim(storage, study_id, trial_id, key="key", waiting=lambda: None))
        if found[-1] is not Verdict.OURS:
            storage.set_trial_state_values(trial_id, TrialState.FAIL)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(found)[Verdict.OURS] == 1
    assert Counter(found)[Verdict.TAKEN] == 7
