"""What goes wrong below a search: it is said, waited for or repaired, and nothing is lost."""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archspec.errors import RunError
from archspec.search.export import trial_rows
from archspec.search.objective import Outcome
from archspec.search.status import study_status
from archspec.search.study import start_search
from archspec.search.workspace import read_workspace
from archspec.spec.load import load_search
from archspec.spec.model import ModelSpec
from archspec.testing.searches import SearchProcess

PROGRAM = Path(__file__).with_name("synthetic_search.py")
TRIALS = 24


@pytest.fixture
def search(search_file: Path, storage_url: str | None, tmp_path: Path) -> SearchProcess:
    search_file.write_text(search_file.read_text().replace("trials: 12", f"trials: {TRIALS}"))
    return SearchProcess(PROGRAM, search_file, tmp_path, storage_url)


class Errors:
    """What a process says on standard error, as it says it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.text = ""
        self._process = process
        self._threads = [
            threading.Thread(target=read, daemon=True) for read in (self._read, process.stdout.read)
        ]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        for line in self._process.stderr:
            self.text += line

    def wait_for(self, words: str, seconds: float = 90.0) -> None:
        until = time.monotonic() + seconds
        while words not in self.text:
            assert self._process.poll() is None, self.text
            assert time.monotonic() < until, self.text
            time.sleep(0.05)

    def end(self) -> int:
        status = self._process.wait(timeout=300)
        for thread in self._threads:
            thread.join()
        return status

    def close(self) -> None:
        if self._process.poll() is None:  # the test has failed
            os.killpg(self._process.pid, signal.SIGKILL)
        self.end()
        self._process.stdout.close()
        self._process.stderr.close()


@pytest.fixture
def listen() -> Iterator[Callable[[subprocess.Popen[str]], Errors]]:
    with contextlib.ExitStack() as open_ends:

        def start(process: subprocess.Popen[str]) -> Errors:
            return open_ends.enter_context(contextlib.closing(Errors(process)))

        yield start


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Limit the files of processes started inside."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def check_nothing_was_lost(search: SearchProcess) -> None:
    """Each design has one outcome, and none was trained twice, whoever was killed."""
    search.check_end(TRIALS)
    finished = [line for line in search.log.read_text().splitlines() if line.startswith("end")]
    assert len({line.rsplit(" ", 1)[0] for line in finished}) == len(finished)


@pytest.mark.slow
@pytest.mark.parametrize("away", [12.0, 60.0])
def test_a_database_that_goes_away_is_waited_for(
    postgres, listen, search_file: Path, tmp_path: Path, away: float
) -> None:
    search_file.write_text(search_file.read_text().replace("trials: 12", f"trials: {TRIALS}"))
    url = postgres.url(f"away_{int(away)}")
    search = SearchProcess(PROGRAM, search_file, tmp_path, url)
    process = search.start("slow:0.5", "--workers", "3", "--lease", "4")
    errors = listen(process)
    search.await_begun(6, process)
    with postgres.stopped():
        errors.wait_for("trying again for 10 min")
        time.sleep(away)
    assert errors.end() == 0, errors.text
    assert "is back after" in errors.text
    assert "is gone" not in errors.text  # nobody is taken for dead because nobody could be heard
    check_nothing_was_lost(search)


@pytest.mark.slow
def test_a_shared_disk_that_goes_away_is_waited_for(search: SearchProcess, listen) -> None:
    process = search.start("slow:0.5", "--workers", "3")
    errors = listen(process)
    search.await_begun(6, process)
    aside = search.out.with_name("aside")
    search.out.rename(aside)
    errors.wait_for("no such file or directory; trying again for 10 min")
    time.sleep(5.0)
    assert not search.out.exists()
    aside.rename(search.out)
    assert errors.end() == 0, errors.text
    assert "study.journal: is back after" in errors.text
    check_nothing_was_lost(search)


def test_a_journal_that_may_not_grow_ends_the_search_and_is_gone_on_with(
    search: SearchProcess, listen
) -> None:
    with file_size_limit(60_000):
        process = search.start("never")
    errors = listen(process)
    assert errors.end() == 2
    assert "study.journal: cannot be written: file too large" in errors.text
    assert "raise it (ulimit -f) and go on by --resume" in errors.text
    assert "Traceback" not in errors.text
    before = search.complete()
    assert 0 < len(before) < TRIALS
    result = search.run("never")
    assert result.returncode == 0, result.stderr
    assert "of a record whose writer had died" in result.stderr
    assert search.complete().items() >= before.items()
    check_nothing_was_lost(search)


@pytest.mark.slow
def test_a_journal_that_may_not_grow_ends_all_workers(search: SearchProcess, listen) -> None:
    with file_size_limit(60_000):
        process = search.start("never", "--workers", "3")
    errors = listen(process)
    assert errors.end() == 2
    assert errors.text.count("file too large") == 1
    assert "Traceback" not in errors.text
    result = search.run("never", "--workers", "3")
    assert result.returncode == 0, result.stderr
    check_nothing_was_lost(search)


@pytest.mark.slow
def test_a_full_disk_is_waited_for_and_goes_on_once_there_is_space(
    search: SearchProcess, listen, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        search.out = disk / "run"
        process = search.start("slow:0.3", "--workers", "2")
        errors = listen(process)
        search.await_begun(6, process)
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        errors.wait_for("no space left on device, free some; trying again for 10 min")
        time.sleep(3.0)
        ballast.unlink()
        assert errors.end() == 0, errors.text
        assert "is back after" in errors.text
        check_nothing_was_lost(search)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def cut_off_the_last_line(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-20])


@pytest.mark.slow
def test_a_line_that_was_cut_off_is_repaired(search: SearchProcess) -> None:
    process = search.start("training:12")
    process.communicate()
    search.killed.add(process.pid)
    before = search.complete()
    cut_off_the_last_line(search.out / "study.journal")
    result = search.run("never")
    assert result.returncode == 0, result.stderr
    assert "blanked" in result.stderr
    assert search.complete().items() >= before.items()
    check_nothing_was_lost(search)


@pytest.mark.slow
def test_a_damaged_line_is_named_and_designs_are_not_trained_again(search: SearchProcess) -> None:
    process = search.start("training:12")
    process.communicate()
    search.killed.add(process.pid)
    finished, before = search.finished(), search.complete()
    journal, copy = search.out / "study.journal", search.out / "copy"
    shutil.copy(journal, copy)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[20] = b"\0" * (len(lines[20]) - 1) + b"\n"
    journal.write_bytes(b"".join(lines))
    result = search.run("never")
    assert result.returncode == 2
    assert "study.journal:21: is no record of a study" in result.stderr
    assert "Traceback" not in result.stderr
    assert journal.read_bytes() == b"".join(lines)

    copy.rename(journal)  # what the message advises first
    result = search.run("never")
    assert result.returncode == 0, result.stderr
    assert search.complete().items() >= before.items()
    check_nothing_was_lost(search)
    assert finished <= search.finished()


@pytest.mark.slow
def test_a_journal_that_is_beyond_repair_is_begun_again_without_its_trainings(
    search: SearchProcess,
) -> None:
    process = search.start("training:12")
    process.communicate()
    search.killed.add(process.pid)
    finished, begun = search.finished(), len(search.begun())
    (search.out / "study.journal").rename(search.out / "damaged")
    result = search.run("never")
    assert result.returncode == 0, result.stderr
    assert not set(search.begun()[begun:]) & finished
    check_nothing_was_lost(search)


def judge(spec: ModelSpec, seed: int) -> Outcome:
    value = float(len(spec.layers[1].blocks[0].type)) + seed / 1e5
    return Outcome(value=value, metrics={"facts.nll": value}, seconds=1.0)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Change a journal as a bad disk or a bad hand may."""
    lines = content.splitlines(keepends=True)
    where = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:  # any byte
            at = rng.randrange(len(content))
            return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
        case 1:
            del lines[where]
        case 2:
            lines.insert(where, lines[rng.randrange(len(lines))])
        case 3:
            rng.shuffle(lines)
        case 4:
            record = json.loads(lines[where])
            record[rng.choice(sorted(record))] = rng.choice([None, -1, 10**9, "x", [], {}])
            lines[where] = json.dumps(record).encode() + b"\n"
        case 5:
            record = json.loads(lines[where])
            del record[rng.choice(sorted(record))]
            lines[where] = json.dumps(record).encode() + b"\n"
    return b"".join(lines)


def test_whatever_is_in_a_journal_is_read_or_refused(search_file: Path, tmp_path: Path) -> None:
    out, rng = tmp_path / "run", random.Random(0)
    start_search(load_search(search_file), out, objective=judge)
    journal = out / "study.journal"
    content = journal.read_bytes()
    refused = 0
    for _ in range(150):
        journal.write_bytes(damaged(content, rng))
        try:
            with contextlib.closing(read_workspace(out)) as workspace:
                study_status(workspace)
                trial_rows(workspace)
        except RunError:
            refused += 1
    assert 10 < refused < 140
