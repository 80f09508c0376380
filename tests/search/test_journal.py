import json
import threading
import time
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages.journal import JournalFileBackend

from archspec.errors import RunError
from archspec.search import journal
from archspec.search.journal import FileLock, JournalFile

RECORDS = [
    {"op_code": number % 10, "worker_id": f"w{number}", "text": "é\n"} for number in range(6)
]


class Notes(list):
    def __call__(self, text: str) -> None:
        self.append(text)


def lines(records: list[dict]) -> bytes:
    return "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in records).encode()


def read(path: Path, notes: Notes | None = None) -> list[dict]:
    return list(JournalFile(path, Notes() if notes is None else notes).read_logs(0))


def test_what_is_appended_is_read_from_any_number_on(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "j", Notes())
    for record in RECORDS:
        file.append_logs([record])
    assert list(file.read_logs(0)) == RECORDS
    assert list(file.read_logs(6)) == []
    assert list(file.read_logs(4)) == RECORDS[4:]
    assert read(tmp_path / "j") == RECORDS
    assert list(JournalFileBackend(str(tmp_path / "j")).read_logs(0)) == RECORDS


def test_a_reader_that_stopped_in_the_middle_goes_on(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(lines(RECORDS))
    file = JournalFile(tmp_path / "j", Notes())
    records = file.read_logs(0)
    assert [next(records), next(records)] == RECORDS[:2]
    records.close()
    assert list(file.read_logs(2)) == RECORDS[2:]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(lines(RECORDS))))
def test_wherever_a_writer_died_nothing_is_lost(cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path, whole, notes = Path(name) / "j", lines(RECORDS), Notes()
        path.write_bytes(whole[:cut])
        kept = RECORDS[: whole[:cut].count(b"\n")]
        assert read(path) == kept
        file = JournalFile(path, notes)
        file.append_logs([{"op_code": 1, "after": True}])
        expected = [*kept, {"op_code": 1, "after": True}]
        assert list(file.read_logs(0)) == expected
        assert list(JournalFileBackend(str(path)).read_logs(0)) == expected
        assert len(notes) == (not whole[:cut].endswith(b"\n") and cut > 0)


def test_a_record_behind_half_a_line_is_found_and_the_line_repaired(tmp_path: Path) -> None:
    path, notes = tmp_path / "j", Notes()
    half = b'{"op_code":4,"worker_id":"x","tri'
    path.write_bytes(lines(RECORDS[:2]) + half + lines(RECORDS[2:]))
    assert read(path, notes) == RECORDS
    assert notes == [f"{path}:3: blanked {len(half)} bytes before a record"]
    assert list(JournalFileBackend(str(path)).read_logs(0)) == RECORDS


@pytest.mark.parametrize("garbage", [b"\0\0\0\0\n", b"hello\n", b"[1]\n", b"\xff\xfe{}\n", b"\n"])
def test_garbage_in_the_middle_is_named_by_its_line(garbage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "j"
    content = lines(RECORDS[:2]) + garbage + lines(RECORDS[2:])
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"j:3: is no record of a study: .*put back a copy"):
        read(path)
    assert path.read_bytes() == content


def test_a_file_that_shrank_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(lines(RECORDS))
    file = JournalFile(tmp_path / "j", Notes())
    assert list(file.read_logs(0)) == RECORDS
    (tmp_path / "j").write_bytes(lines(RECORDS[:1]))
    with pytest.raises(RunError, match="shorter than it was"):
        list(file.read_logs(6))


def test_many_writers_lose_no_record(tmp_path: Path) -> None:
    files = [JournalFile(tmp_path / "j", Notes()) for _ in range(6)]

    def write(writer: int) -> None:
        for number in range(20):
            files[writer].append_logs([{"op_code": 0, "id": [writer, number]}])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [tuple(record["id"]) for record in read(tmp_path / "j")]
    assert len(found) == 120
    for writer in range(6):
        assert [n for w, n in found if w == writer] == list(range(20))
    assert not (tmp_path / "j.lock").exists()


def test_the_lock_of_a_dead_writer_is_broken(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(journal, "_GRACE", 0.2)
    lock = FileLock(tmp_path / "lock")
    lock.__enter__()
    began = time.monotonic()
    with FileLock(tmp_path / "lock"):
        assert time.monotonic() - began >= 0.2
        lock.__exit__()  # it comes back to life, and leaves the other's lock alone
        assert (tmp_path / "lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_optunas_own_writers_keep_to_the_lock(tmp_path: Path) -> None:
    """Such as optuna-dashboard, which stores notes."""
    path = tmp_path / "j"
    ours = optuna.storages.JournalStorage(JournalFile(path, Notes()))
    study_id = ours.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    theirs = optuna.storages.JournalStorage(JournalFileBackend(str(path)))

    def write(storage: optuna.storages.BaseStorage, name: str) -> None:
        for number in range(10):
            storage.set_study_user_attr(study_id, f"{name}{number}", number)

    threads = [threading.Thread(target=write, args=pair) for pair in ((ours, "a"), (theirs, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ours.get_study_user_attrs(study_id)) == 20
