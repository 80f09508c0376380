"""Where studies are kept: a journal file, a database by its SQLAlchemy URL, or a Redis journal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage

from archspec.errors import RunError
from archspec.search.journal import JournalFile
from archspec.search.patience import PATIENCE, Patience, PatientStorage
from archspec.search.redis_journal import RedisJournal

# What a URL needs installed besides Optuna: the module, and how it comes.
_DRIVERS = {
    "psycopg": "pip install 'archspec-lm[postgresql]'",
    "psycopg2": "write postgresql+psycopg://... and pip install 'archspec-lm[postgresql]'",
    "pymysql": "pip install 'archspec-lm[mysql]'",
    "MySQLdb": "write mysql+pymysql://... and pip install 'archspec-lm[mysql]'",
    "redis": "pip install 'archspec-lm[redis]'",
}
# So that a server which vanishes without a word counts as away, and is not waited for in silence.
_TIMEOUTS: dict[str, dict[str, Any]] = {
    "psycopg": {
        "connect_timeout": 10,
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    },
    "pymysql": {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60},
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
) -> PatientStorage:
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
        inner, close = again.call(_open, url, notify) if wait else _open(url, notify)
    except RunError:
        raise
    except ImportError as error:
        how = _DRIVERS.get((error.name or "").partition(".")[0], "install its driver")
        raise RunError(f"{name}: cannot be opened: {_reason(error)}; {how}") from None
    except Exception as error:  # noqa: BLE001 - each database driver has errors of its own
        raise RunError(f"{name}: cannot be opened: {_reason(error)}") from None
    return PatientStorage(inner, again, close)


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


def _open(url: str, notify: Callable[[str], None]) -> tuple[BaseStorage, Callable[[], None]]:
    """Return a storage, and what lets go of its connections."""
    if url.startswith(("redis://", "rediss://")):
        records = RedisJournal(url, without_password(url))
        return JournalStorage(records), records.close
    if "://" in url:
        database = _open_database(url)
        return get_storage(database), database.engine.dispose
    path = Path(url)
    if not path.parent.is_dir():
        raise RunError(f"{path}: cannot be made: there is no folder {path.parent}")
    return _open_journal(path, notify), lambda: None


def _open_journal(path: Path, notify: Callable[[str], None]) -> JournalStorage:
    file = JournalFile(path, notify)
    try:
        return JournalStorage(file)
    except (AssertionError, AttributeError, KeyError, LookupError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}:{file.last_line}: is JSON, but no record that fits those before it "
            f"({type(error).__name__}: {error}); put back a copy of the file"
        ) from None


def _open_database(url: str) -> RDBStorage:
    from sqlalchemy.exc import IntegrityError

    sqlite = url.startswith("sqlite")
    driver = urlsplit(url).scheme.partition("+")[2]
    options: dict[str, Any] = (
        {"connect_args": {"timeout": _SQLITE_SECONDS}}
        if sqlite
        else {"pool_pre_ping": True, "connect_args": _TIMEOUTS.get(driver, {})}
    )
    for attempt in range(_ATTEMPTS):
        try:
            storage = RDBStorage(url, engine_kwargs=options)
        except Exception as error:
            # Several processes may make the tables of a new database, and write the first row of
            # one, at the same time.
            theirs = isinstance(error, IntegrityError) or (
                "already exists" in f"{error} {error.__cause__}"
            )
            if attempt + 1 == _ATTEMPTS or not theirs:
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
