"""A storage that may go away for a while: its operations are tried again until it is back.

Trying again is safe because an operation that did happen, though its answer was lost, does no harm
the second time: attributes are set to the same value; a trial made twice has no lease and is failed
by whoever watches leases; a trial that was finished refuses, and its worker looks whose result it
has.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Container, Sequence
from typing import Any, ParamSpec, TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import OptunaError, StorageInternalError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from archspec.errors import RunError
from archspec.units import format_seconds

PATIENCE = 600.0  # seconds that a storage may stay away
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_UNSAID = 1.0  # seconds that the first try may take before it is spoken of
_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
# What SQLite calls an OperationalError and what passes; anything else of that name is a fault.
_SQLITE_PASSES = ("locked", "busy", "disk i/o error", "unable to open", "is full")
_REDIS_PASSES = ("MISCONF", "MASTERDOWN")  # it cannot write its disk, or has no master right now
P = ParamSpec("P")
R = TypeVar("R")


class Patience:
    """Tries again what fails because the storage is away.

    Args:
        name: Of the storage, for messages; without password.
        notify: Hears that the storage is away, and that it is back.
        seconds: How long to try.
    """

    def __init__(
        self, name: str, notify: Callable[[str], None], *, seconds: float = PATIENCE
    ) -> None:
        self._name = name
        self._notify = notify
        self._seconds = seconds

    def call(self, operation: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what ``operation`` returns.

        Raises:
            RunError: The storage refuses, or stayed away or full for too long.
        """
        pause, since = _FIRST_PAUSE, time.monotonic()
        told = False
        while True:
            try:
                result = operation(*args, **kwargs)
            except Exception as error:
                reason = self._reason(error)
                if reason is None:
                    raise
                away = time.monotonic() - since
                if away > self._seconds:
                    raise RunError(
                        f"{self._name}: was away for {format_seconds(away)}: {reason}; nothing "
                        "that it had is lost: go on by --resume when it is back"
                    ) from None
                # A lock that passes is not worth a word.
                if not told and (pause > _FIRST_PAUSE or away > _UNSAID):
                    self._notify(
                        f"{self._name}: {reason}; trying again for {format_seconds(self._seconds)}"
                    )
                    told = True
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            if told:
                away = time.monotonic() - since
                self._notify(f"{self._name}: is back after {format_seconds(away)}")
            return result

    def _reason(self, error: Exception) -> str | None:
        """Say why the storage is away; None if ``error`` is none of that kind."""
        if isinstance(error, RunError) and isinstance(error.__cause__, OSError):
            return self._reason_of_system(error.__cause__)
        if isinstance(error, OSError):
            return self._reason_of_system(error)
        if isinstance(error, StorageInternalError) and error.__cause__ is not None:
            return self._reason_of_database(error.__cause__)
        if isinstance(error, OptunaError):
            return None
        module = type(error).__module__.partition(".")[0]
        if module == "sqlalchemy":
            return self._reason_of_database(error)
        if module == "redis":
            return self._reason_of_redis(error)
        return None

    def _reason_of_system(self, error: OSError) -> str:
        reason = (error.strerror or str(error)).lower()
        if error.errno == errno.EFBIG:
            raise RunError(
                f"{self._name}: cannot be written: {reason}, by a limit of this process; raise "
                "it (ulimit -f) and go on by --resume: nothing that was written is lost"
            ) from None
        if error.errno in _FULL:
            return f"{reason}, free some"
        if error.errno in _REFUSED:
            raise RunError(f"{self._name}: {reason}; make it writable") from None
        return reason

    def _reason_of_database(self, error: BaseException) -> str:
        from sqlalchemy import exc

        cause = getattr(error, "orig", None) or error
        reason = " ".join(str(cause).split())
        if isinstance(error, (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)):
            sqlite = type(cause).__module__.startswith("sqlite3")
            if not sqlite or any(words in reason.lower() for words in _SQLITE_PASSES):
                return reason
        if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
            return reason
        if isinstance(error, exc.PendingRollbackError):  # Optuna went on after the connection broke
            return reason
        raise RunError(f"{self._name}: refuses: {reason}") from None

    def _reason_of_redis(self, error: Exception) -> str:
        from redis import exceptions as exc

        passes = (exc.ConnectionError, exc.TimeoutError, exc.OutOfMemoryError, exc.ReadOnlyError)
        refused = (exc.AuthenticationError, exc.AuthorizationError)
        if isinstance(error, refused):
            raise RunError(f"{self._name}: refuses: {error}") from None
        if isinstance(error, passes) or any(word in str(error) for word in _REDIS_PASSES):
            return str(error)
        raise RunError(f"{self._name}: refuses: {error}") from None


class PatientStorage(BaseStorage):
    """An Optuna storage whose operations are tried again while it is away.

    Args:
        inner: The storage.
        patience: How long, and who hears of it.
        close: Lets go of the storage's connections.
    """

    def __init__(
        self, inner: BaseStorage, patience: Patience, close: Callable[[], None] = lambda: None
    ) -> None:
        self._inner = inner
        self._call = patience.call
        self._close = close

    def close(self) -> None:
        """Let go of its connections; it makes new ones if it is used again."""
        self._inner.remove_session()
        self._close()

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Begin a study."""
        return self._call(self._inner.create_new_study, directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Remove a study."""
        self._call(self._inner.delete_study, study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of a study."""
        self._call(self._inner.set_study_user_attr, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of a study that is Optuna's own."""
        self._call(self._inner.set_study_system_attr, study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Find a study."""
        return self._call(self._inner.get_study_id_from_name, study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Name a study."""
        return self._call(self._inner.get_study_name_from_id, study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return which values are better."""
        return self._call(self._inner.get_study_directions, study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes of a study."""
        return self._call(self._inner.get_study_user_attrs, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes of a study that are Optuna's own."""
        return self._call(self._inner.get_study_system_attrs, study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return every study of the storage."""
        return self._call(self._inner.get_all_studies)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Begin a trial."""
        return self._call(self._inner.create_new_trial, study_id, template_trial)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Note a parameter of a trial."""
        self._call(
            self._inner.set_trial_param, trial_id, param_name, param_value_internal, distribution
        )

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Find a trial."""
        find = self._inner.get_trial_id_from_study_id_trial_number
        return self._call(find, study_id, trial_number)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Move a trial to another state; of several who finish one, all but one get an error."""
        return self._call(self._inner.set_trial_state_values, trial_id, state, values)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Note a value along the way."""
        self._call(self._inner.set_trial_intermediate_value, trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of a trial."""
        self._call(self._inner.set_trial_user_attr, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of a trial that is Optuna's own."""
        self._call(self._inner.set_trial_system_attr, trial_id, key, value)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial as it is now."""
        return self._call(self._inner.get_trial, trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials of a study as they are now."""
        return self._call(self._inner.get_all_trials, study_id, deepcopy, states)

    def remove_session(self) -> None:
        """Let go of the database connection of this thread."""
        self._inner.remove_session()
