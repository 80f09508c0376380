"""Which of several workers that came upon the same design may train it.

Storages offer no way to claim a design at once, only trials whose attributes everybody sees in one
order. So a worker first writes which design its trial is about (it proposes), then reads all
trials, then decides; an undecided trial gives way to any with a lower number, and waits for
undecided ones with a higher number. Of two trials with one design the one that proposes later sees
the other. If that has decided, it withdraws. If not and the other's number is lower, it withdraws;
if higher, it waits for a decision that was made with or without knowing of it, and follows. Waiting
points upwards only, so nobody waits in a circle. The same holds for the last free places of a
search, so that no worker trains one design too many.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Sequence

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

CLAIMED = "claimed"
DONE = (TrialState.COMPLETE, TrialState.PRUNED)  # trained, or diverged


class Verdict(enum.Enum):
    """What a trial that proposed may do."""

    OURS = enum.auto()
    WAIT = enum.auto()
    TAKEN = enum.auto()
    SURPLUS = enum.auto()


def judge(
    number: int, trials: Sequence[FrozenTrial], *, key: str, limit: int | None = None
) -> Verdict:
    """Decide about one trial, given all trials as they were read after it proposed.

    Args:
        number: Of the trial.
        trials: All of its study.
        key: The attribute that says what a trial is about.
        limit: How many trials may be done in all.
    """
    about = next(trial.user_attrs[key] for trial in trials if trial.number == number)
    done = [trial for trial in trials if trial.state in DONE]
    rivals = [
        trial
        for trial in trials
        if trial.state == TrialState.RUNNING and trial.number != number and key in trial.user_attrs
    ]
    before = [t for t in rivals if t.user_attrs.get(CLAIMED) or t.number < number]
    if any(trial.user_attrs.get(key) == about for trial in [*done, *before]):
        return Verdict.TAKEN
    if limit is not None and len(done) + len(before) >= limit:
        return Verdict.SURPLUS
    if any(trial.user_attrs[key] == about for trial in rivals):
        return Verdict.WAIT
    crowded = limit is not None and len(done) + len(rivals) >= limit
    return Verdict.WAIT if crowded else Verdict.OURS


def claim(
    storage: BaseStorage,
    study_id: int,
    trial_id: int,
    *,
    key: str,
    limit: int | None = None,
    waiting: Callable[[], None],
) -> Verdict:
    """Return whether a trial that proposed may be trained; once it is OURS, everybody sees so.

    Args:
        storage: Of the study.
        study_id: The study.
        trial_id: The trial.
        key: As for ``judge``.
        limit: As for ``judge``.
        waiting: Called now and then while others are undecided; it fails those that are dead.

    Raises:
        UpdateFinishedTrialError: The trial was taken from its worker meanwhile.
    """
    number = storage.get_trial_number_from_id(trial_id)
    while True:
        trials = storage.get_all_trials(study_id, deepcopy=False)
        verdict = judge(number, trials, key=key, limit=limit)
        if verdict is Verdict.OURS:
            storage.set_trial_user_attr(trial_id, CLAIMED, True)
        if verdict is not Verdict.WAIT:
            return verdict
        waiting()
        time.sleep(0.05)
