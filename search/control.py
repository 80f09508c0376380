"""Asking the workers of a study to stop, wherever they run: a number in the study's attributes.

It only grows, so nothing has to be taken back: who starts later starts from the number that it
finds, and heeds what is asked afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from optuna.storages import BaseStorage

_STOP = "stop"


@dataclass(frozen=True, slots=True)
class Stop:
    """What the workers were asked last.

    Attributes:
        number: Of requests so far.
        now: Whether the last one was not to wait for the end of trials.
    """

    number: int = 0
    now: bool = False


def last_stop(storage: BaseStorage, study_id: int) -> Stop:
    """Return the last request to stop."""
    found = storage.get_study_user_attrs(study_id).get(_STOP)
    match found:
        case {"number": int(number), "now": bool(now)}:
            return Stop(number, now)
    return Stop()


def request_stop(storage: BaseStorage, study_id: int, *, now: bool) -> None:
    """Ask all workers to end, after their trials or at once."""
    number = last_stop(storage, study_id).number + 1
    storage.set_study_user_attr(study_id, _STOP, {"number": number, "now": now})
