"""Where studies are kept: a journal file, a database by its SQLAlchemy URL, or a Redis journal."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalRedisBackend
from optuna.storages.journal._base import BaseJournalBackend

from archspec.errors import RunError
from archspec.search.journal import JournalFile
from archspec.search.patience import PATIENCE, Patience, PatientStorage

# What a URL needs installed besides Optuna: the module, and how it comes.
_DRIVERS = {
    "psycopg": "pip install 'archspec-lm[postgresql]'",
    "redis": "pip install 'archspec-lm[redis]'",
}
_ATTEMPTS = 5  # to make the tables of a database, which somebody else may be doing as well
_SQLITE_SECONDS = 30  # that a statement waits for another process


def silent(_text: str) -> None:
    """Hear nothing; for storages opened where nobody would read about them."""


def open_url(
    url: str,
    *,
    notify: Callable[[str], None] = silent,
    patience: float = PATIENCE,
    wait: bool = False,
) -> BaseStorage:
    """Open a storage by its URL, or a journal by its path.

    A URL is opened only where a user gave it; no file of a study names one that is opened unasked.

    Args:
        url: ``postgresql+psycopg://...``, ``mysql+pymysql://...``, ``sqlite:///FILE``,
            ``redis://...``, or the path of a journal file.
        notify: Hears when the storage goes away and comes back.
        patience: Seconds that it may stay away once it is open.
        wait: Let it be away now, too.

    Raises:
        RunError: It cannot be opened.
    """
    name = without_password(url)
    again = Patience(name, notify, seconds=patience)
    try:
        inner = again.call(_open, url, notify) if wait else _open(url, notify)
    except RunError:
        raise
    except ImportError as error:
        how = _DRIVERS.get((error.name or "").partition(".")[0], "install its driver")
        raise RunError(f"{name}: cannot be opened: {_reason(error)}; {how}") from None
    except Exception as error:  # noqa: BLE001 - each database driver has errors of its own
        raise RunError(f"{name}: cannot be opened: {_reason(error)}") from None
    return PatientStorage(inner, again)


def without_password(url: str) -> str:
    """Write a URL so that it can be shown."""
    password = urlsplit(url).password if "://" in url else None
    return url.replace(f":{password}@", ":***@") if password else url


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's line per trial; listeners have their own."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


class _RedisRecords(BaseJournalBackend):
    """The records of a journal in Redis, without its snapshots.

    Optuna pickles a snapshot every hundred trials and unpickles what it finds, which would run the
    code of whoever can write there. Being no ``BaseJournalSnapshot``, this one does neither.
    """

    def __init__(self, url: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._records = JournalRedisBackend(url)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield the records from a number on."""
        return self._records.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add records."""
        self._records.append_logs(logs)


def _open(url: str, notify: Callable[[str], None]) -> BaseStorage:
    if url.startswith(("redis://", "rediss://")):
        return JournalStorage(_RedisRecords(url))
    if "://" in url:
        return get_storage(_open_database(url))
    path = Path(url)
    if not path.parent.is_dir():
        raise RunError(f"{path}: cannot be made: there is no folder {path.parent}")
    return JournalStorage(JournalFile(path, notify))


def _open_database(url: str) -> RDBStorage:
    sqlite = url.startswith("sqlite")
    options: dict[str, Any] = (
        {"connect_args": {"timeout": _SQLITE_SECONDS}} if sqlite else {"pool_pre_ping": True}
    )
    for attempt in range(_ATTEMPTS):
        try:
            storage = RDBStorage(url, engine_kwargs=options)
        except Exception as error:
            # Several processes may make the tables of a new database at the same time.
            if attempt + 1 == _ATTEMPTS or "already exists" not in f"{error} {error.__cause__}":
                raise
            time.sleep(0.2 * (attempt + 1))
        else:
            if sqlite:
                _lock_before_reading(storage)
            return storage
    raise AssertionError("the last attempt raises")


def _lock_before_reading(storage: RDBStorage) -> None:
    """Let a SQLite transaction lock the file at its start, as SELECT ... FOR UPDATE does elsewhere.

    By default Python begins one at the first change only, so that two processes which read that a
    trial is running may both finish it.
    """
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def by_hand(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(storage.engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()  # connections made before this


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    return " ".join(str(getattr(cause, "orig", None) or cause).split())
