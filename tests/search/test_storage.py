"""Where studies are kept: opened on a user's word, run no code, and readable by others."""

import contextlib
import json
import multiprocessing
import os
import pickle
from multiprocessing.synchronize import Barrier
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from archspec.errors import RunError
from archspec.search.objective import Outcome
from archspec.search.storage import open_url, without_password
from archspec.search.study import resume_search, start_search
from archspec.spec.load import load_search
from archspec.spec.model import ModelSpec


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def judge(spec: ModelSpec, seed: int) -> Outcome:
    value = float(len(spec.layers[1].blocks[0].type)) + seed / 1e5
    return Outcome(value=value, metrics={"facts.nll": value}, seconds=1.0)


@pytest.mark.parametrize(
    "storage_url", ["journal", "sqlite", "postgresql", "mysql", "redis"], indirect=True
)
def test_a_study_is_what_a_dashboard_can_show(
    search_file: Path,
    tmp_path: Path,
    storage_url: str | None,
    request: pytest.FixtureRequest,
) -> None:
    out = tmp_path / "tiny"
    start_search(load_search(search_file), out, objective=judge, storage=storage_url)
    storage = open_url(storage_url or str(out / "study.journal"))
    request.addfinalizer(storage.close)
    summaries = optuna.get_all_study_summaries(storage)
    names = sorted(summary.study_name for summary in summaries if "tiny" in summary.study_name)
    assert len(names) == 2
    assert names[0].startswith("tiny-")
    assert names[1] == f"{names[0]}-reruns"
    study = optuna.load_study(study_name=names[0], storage=storage)
    assert study.best_trial.user_attrs["metrics"] == {"facts.nll": study.best_value}
    for trial in study.trials:
        assert set(trial.params) <= {f"layers.{i}" for i in range(1, 5)} | {"pools.big.num_keys"}
        assert json.loads(json.dumps([trial.user_attrs, trial.system_attrs]))
    done = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    for trial in done:
        assert set(trial.user_attrs) >= {
            "source", "spec_hash", "prices", "metrics", "seconds", "worker", "lease",
        }  # fmt: skip
    assert json.loads(json.dumps(study.user_attrs))


def begin_study(url: str, everybody: Barrier) -> None:
    everybody.wait()
    with contextlib.closing(open_url(url)) as storage:
        optuna.create_study(study_name="s", storage=storage, load_if_exists=True)


@pytest.mark.parametrize("storage_url", ["sqlite", "postgresql", "mysql"], indirect=True)
def test_several_begin_a_database_at_once(storage_url: str) -> None:
    context = multiprocessing.get_context("fork")
    everybody = context.Barrier(4)
    crowd = [context.Process(target=begin_study, args=(storage_url, everybody)) for _ in range(4)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join()
    assert [process.exitcode for process in crowd] == [0, 0, 0, 0]
    with contextlib.closing(open_url(storage_url)) as storage:
        assert [study.study_name for study in storage.get_all_studies()] == ["s"]


def test_a_pickle_in_redis_is_not_read(redis: str, search_file: Path, tmp_path: Path) -> None:
    """Optuna's own backend would unpickle it."""
    import redis as client

    url, out = f"{redis}/15", tmp_path / "run"
    results = start_search(load_search(search_file), out, objective=judge, storage=url)
    server = client.Redis.from_url(url)
    assert server.get(":snapshot") is None
    server.set(":snapshot", pickle.dumps(Bomb(tmp_path / "ran")))
    server.close()
    assert resume_search(out, objective=judge, storage=url) == results
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_a_journal_is_text(search_file: Path, tmp_path: Path) -> None:
    """What Optuna's CMA-ES would unpickle is an attribute that nobody here reads."""
    out = tmp_path / "run"
    results = start_search(load_search(search_file), out, objective=judge)
    storage = open_url(str(out / "study.journal"))
    (name, _) = sorted(summary.study_name for summary in optuna.get_all_study_summaries(storage))
    study_id = storage.get_study_id_from_name(name)
    bomb = pickle.dumps(Bomb(tmp_path / "ran")).hex()
    trial_id = storage.create_new_trial(study_id)
    storage.set_trial_system_attr(trial_id, "cma:optimizer:0", bomb)
    storage.set_trial_user_attr(trial_id, "worker", bomb)
    storage.set_study_system_attr(study_id, "cma:optimizer", bomb)
    assert resume_search(out, objective=judge) == results
    assert not (tmp_path / "ran").exists()


def test_databases_hold_no_pickles() -> None:
    from optuna.storages._rdb import models

    kinds = {
        type(column.type)
        for table in models.BaseModel.metadata.tables.values()
        for column in table.columns
    }
    assert not kinds & {sqlalchemy.PickleType, sqlalchemy.LargeBinary}


def test_a_run_directory_does_not_say_what_we_connect_to(search_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    start_search(load_search(search_file), out, objective=judge)
    info = json.loads((out / "run.json").read_text())
    target = f"sqlite:///{tmp_path / 'made.db'}"
    (out / "run.json").write_text(json.dumps({**info, "storage": target}))
    with pytest.raises(RunError, match="opened only where you name it"):
        resume_search(out, objective=judge)
    assert not (tmp_path / "made.db").exists()


def test_passwords_are_not_shown() -> None:
    assert without_password("mysql+pymysql://me:secret@h/db") == "mysql+pymysql://me:***@h/db"
    assert without_password("runs/a:b@c/study.journal") == "runs/a:b@c/study.journal"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://host/db", "cannot be opened: .*nosuch"),
        ("mysql+nosuch://me:secret@host/db", r"me:\*\*\*@host/db: cannot be opened"),
        ("sqlite:////no/such/folder/x.db", "cannot be opened: unable to open database file"),
        ("/no/such/folder/x.journal", "there is no folder /no/such/folder"),
        ("redis://127.0.0.1:1", "cannot be opened"),
        ("postgresql+psycopg://127.0.0.1:1/db", "cannot be opened"),
    ],
)
def test_what_cannot_be_opened_says_why(url: str, message: str) -> None:
    with pytest.raises(RunError, match=message) as error:
        open_url(url)
    assert "secret" not in str(error.value)


def test_a_study_of_another_search_is_not_joined(search_file: Path, tmp_path: Path) -> None:
    url, study = f"sqlite:///{tmp_path / 's.db'}", "shared"
    spec = load_search(search_file)
    first = start_search(spec, tmp_path / "a", objective=judge, storage=url, study=study)
    joined = start_search(spec, tmp_path / "b", objective=judge, storage=url, study=study)
    assert joined == first
    search_file.write_text(search_file.read_text().replace("1.02x", "1.03x"))
    with pytest.raises(RunError, match="the study shared is of another search"):
        start_search(
            load_search(search_file), tmp_path / "c", objective=judge, storage=url, study=study
        )
    assert not (tmp_path / "c").exists()
    with pytest.raises(RunError, match="give --storage URL"):
        start_search(spec, tmp_path / "c", objective=judge, study=study)
