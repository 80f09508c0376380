import errno
import threading
import time

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import PendingRollbackError

from archspec.errors import RunError
from archspec.search import patience
from archspec.search.patience import Patience, PatientStorage
from archspec.search.storage import open_url


@pytest.fixture(autouse=True)
def hurry(monkeypatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE", 0.2)


class Flaky:
    """An operation that fails some times before it works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def io_error() -> OSError:
    return OSError(errno.EIO, "Input/output error")


def test_what_comes_back_is_waited_for_and_said_once() -> None:
    notes: list[str] = []
    operation = Flaky(*(io_error() for _ in range(4)))
    assert Patience("disk", notes.append).call(operation) == "done"
    assert notes[0] == "disk: input/output error; trying again for 10 min 0 s"
    assert notes[1].startswith("disk: is back after ")
    assert len(notes) == 2


def test_what_passes_at_once_is_not_worth_a_word() -> None:
    notes: list[str] = []
    assert Patience("disk", notes.append).call(Flaky(io_error())) == "done"
    assert notes == []


def test_what_stays_away_ends_with_the_way_out() -> None:
    operation = Flaky(*(io_error() for _ in range(1000)))
    with pytest.raises(RunError, match=r"was away for .*go on by --resume when it is back"):
        Patience("disk", lambda _: None, seconds=0.3).call(operation)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_waited_for(number: int) -> None:
    notes: list[str] = []
    operation = Flaky(*(OSError(number, "No space left on device") for _ in range(3)))
    assert Patience("disk", notes.append).call(operation) == "done"
    assert notes[0] == "disk: no space left on device, free some; trying again for 10 min 0 s"


def test_a_file_whose_directory_is_away_is_waited_for() -> None:
    notes: list[str] = []
    errors = [FileNotFoundError(errno.ENOENT, "No such file or directory") for _ in range(3)]

    def write() -> str:
        if errors:
            raise RunError("designs/x.json: cannot be written") from errors.pop()
        return "done"

    assert Patience("designs", notes.append).call(write) == "done"
    assert notes[0].startswith("designs: no such file or directory; trying again")


def test_a_limit_of_this_process_is_not_waited_for() -> None:
    operation = Flaky(OSError(errno.EFBIG, "File too large"))
    with pytest.raises(RunError, match=r"file too large.*raise it .*go on by --resume"):
        Patience("disk", lambda _: None).call(operation)


@pytest.mark.parametrize(
    "error",
    [UpdateFinishedTrialError(), optuna.exceptions.DuplicatedStudyError(), KeyError("x")],
)
def test_answers_are_passed_on(error: Exception) -> None:
    with pytest.raises(type(error)):
        Patience("disk", lambda _: None).call(Flaky(error))


def test_a_connection_that_is_lost_within_a_transaction_is_waited_for() -> None:
    """Optuna asks again on the connection that it just lost, and hears only of that."""
    errors = [PendingRollbackError("Can't reconnect until invalid transaction is rolled back.")] * 3

    def read() -> str:
        if errors:
            raise StorageInternalError from errors.pop()
        return "done"

    notes: list[str] = []
    assert Patience("database", notes.append).call(read) == "done"
    assert notes[0].startswith("database: Can't reconnect")


def test_it_is_a_storage_like_any_other() -> None:
    storage = PatientStorage(optuna.storages.InMemoryStorage(), Patience("memory", lambda _: None))
    study = optuna.create_study(storage=storage, study_name="s")
    study.enqueue_trial({"x": 0.5})
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert study.best_value <= 0.5
    assert optuna.load_study(study_name="s", storage=storage).trials == study.trials


@pytest.mark.slow
def test_a_server_that_goes_down_and_comes_back_loses_nothing(postgres, request) -> None:
    notes: list[str] = []
    storage = open_url(postgres.url("outage"), notify=notes.append)
    request.addfinalizer(storage.close)
    study = optuna.create_study(storage=storage, study_name="s")

    def work() -> None:
        for number in range(100):
            study.set_user_attr(f"a{number}", number)  # Optuna waits a while for new trials itself
            time.sleep(0.02)

    worker = threading.Thread(target=work)
    worker.start()
    time.sleep(0.5)
    postgres.stop()
    time.sleep(2.0)
    postgres.start()
    worker.join()
    assert study.user_attrs == {f"a{number}": number for number in range(100)}
    assert any("trying again" in note for note in notes)
    assert "is back after" in notes[-1]
