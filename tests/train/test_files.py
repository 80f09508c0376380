import pytest

from archspec.errors import RunError
from archspec.train.files import (
    new_directory,
    read_json,
    remove_directory,
    replace_text,
    sweep,
)


def test_a_directory_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "run"
    with new_directory(path) as draft:
        (draft / "file").write_text("content")
        assert not path.exists()
    assert [file.name for file in path.parent.iterdir()] == ["run"]
    assert (path / "file").read_text() == "content"


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        with new_directory(tmp_path / "run") as draft:
            (draft / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_dead_processes_left_is_swept(tmp_path):
    (tmp_path / ".unfinished-step_3-abc").mkdir()
    (tmp_path / "step_2").mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step_2"]


def test_removing_and_replacing_leave_no_halves(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").touch()
    remove_directory(tmp_path / "old")
    replace_text(tmp_path / "log", "one")
    replace_text(tmp_path / "log", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert (tmp_path / "log").read_text() == "two"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is damaged"), (b"[1]", "a list and not a map"), (b"\xff\xfe", "is damaged")],
)
def test_damaged_json_is_refused(tmp_path, content, message):
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=message):
        read_json(path)


def test_missing_json_is_refused(tmp_path):
    with pytest.raises(RunError, match="cannot be read: no such file"):
        read_json(tmp_path / "state.json")
