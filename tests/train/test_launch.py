"""The launcher, over ranks that are too small to import torch."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from archspec.train import launch as launching
from archspec.train.interrupt import SAME_REQUEST
from archspec.train.launch import launch, threads_per_rank

PRELUDE = """
import json, os, signal, sys, time
from archspec.errors import *
from archspec.train.failure import *
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
def fail(error):
    failure = Failure.of_exception(error, rank=rank, size=size)
    failure.write(error_file())
    sys.exit(failure.exit_status)
"""
CLOSED = 'RuntimeError("Connection closed by peer")'


def start(code, nproc=2):
    return launch([sys.executable, "-c", PRELUDE + code], nproc=nproc)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(launching, "GRACE", 1.0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_every_rank_knows_who_it_is(tmp_path):
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS")
    code = f"""
json.dump([os.environ[name] for name in {names}], open({str(tmp_path)!r} + f"/{{rank}}", "w"))
assert os.environ["MASTER_ADDR"] == "127.0.0.1" and int(os.environ["MASTER_PORT"])
assert ("ARCHSPEC_LISTENER" in os.environ) == (rank == 0)
"""
    end = start(code, nproc=3)
    assert (end.exit_status, end.fault, end.statuses) == (0, None, (0, 0, 0))
    threads = str(threads_per_rank(3))
    for rank in range(3):
        known = json.loads((tmp_path / str(rank)).read_text())
        assert known == [str(rank), str(rank), "3", "3", threads]


def test_the_processors_are_divided():
    alone = threads_per_rank(1)
    assert alone >= threads_per_rank(2) >= 1
    assert threads_per_rank(10_000) == 1


def test_only_the_first_rank_is_heard(capfd):
    assert start("print('from', rank); print('error', rank, file=sys.stderr)").exit_status == 0
    assert capfd.readouterr() == ("from 0\n", "error 0\n")


def test_what_all_find_is_said_once():
    end = start("fail(DataError('tokens.bin: too short'))")
    assert (end.exit_status, end.fault) == (2, "tokens.bin: too short")
    assert start("fail(DivergedError('the loss is nan'))").exit_status == 3


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [
        ("fail(DataError('bad')) if rank == 1 else (time.sleep(0.3), fail(CLOSED))", 2, ": bad"),
        ("fail(1 / 0) if rank == 1 else time.sleep(60)", 1, ": ended with exit status 1; its last"),
        ("os.kill(os.getpid(), 9) if rank == 1 else time.sleep(60)", 1, ": killed by SIGKILL"),
        ("os.kill(os.getpid(), 9) if rank == 1 else fail(CLOSED)", 1, ": killed by SIGKILL"),
        ("os.abort() if rank == 1 else time.sleep(60)", 1, ": killed by SIGABRT"),
        ("fail(RunError('x')) if rank == 1 else fail(OtherRankError('x'))", 2, ": x"),
        ("fail(CLOSED) if rank == 1 else time.sleep(60)", 1, "peer; no answer from rank 0"),
    ],
)
def test_the_rank_that_failed_first_is_named_and_the_others_end(code, status, fault):
    began = time.monotonic()
    end = start(code.replace("CLOSED", CLOSED))
    assert time.monotonic() - began < 20
    assert end.exit_status == status
    assert end.fault.startswith("rank 1 of 2 on ")
    assert fault in end.fault


def test_the_last_words_of_a_rank_are_shown():
    code = "print('about to die', file=sys.stderr, flush=True); os.abort()"
    assert (
        "its last output:\nabout to die" in start(f"if rank == 1:\n  {code}\ntime.sleep(60)").fault
    )


@pytest.fixture
def when_ready(tmp_path):
    """Do something once both ranks have called ``ready()``."""

    def schedule(*actions):
        def wait():
            while len(list(tmp_path.glob("ready*"))) < 2:
                time.sleep(0.02)
            for action in actions:
                action()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()

    return schedule


@pytest.fixture
def waits(tmp_path):
    """Code of a rank that says that it is ready and waits for SIGTERM, which runs ``END``."""
    return (
        "signal.signal(signal.SIGTERM, lambda *_: END)\n"
        f"open({str(tmp_path)!r} + f'/ready{{rank}}', 'w')\n"
        "time.sleep(60)"
    )


def interrupt(number=signal.SIGINT):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_ranks_end_by_themselves(number, waits, when_ready):
    when_ready(lambda: interrupt(number))
    end = start(waits.replace("END", "sys.exit(130)"))
    assert (end.exit_status, end.statuses, end.fault) == (130, (130, 130), None)


def test_ranks_that_do_not_listen_yet_die_of_the_signal(waits, when_ready):
    when_ready(interrupt)
    deaf = "signal.signal = lambda *_: None\n"
    end = start(f"if rank: {deaf}" + waits.replace("END", "sys.exit(130)"))
    assert (end.exit_status, end.statuses) == (130, (130, -signal.SIGTERM))


def test_a_later_signal_ends_ranks_at_once(waits, when_ready):
    when_ready(interrupt, lambda: time.sleep(SAME_REQUEST + 0.5), interrupt)
    began = time.monotonic()
    end = start(waits.replace("END", "None") + "\ntime.sleep(60)")
    assert time.monotonic() - began < 30
    assert (end.exit_status, end.statuses) == (130, (-signal.SIGKILL, -signal.SIGKILL))


def test_a_failure_while_stopping_is_told(waits, when_ready):
    when_ready(interrupt)
    end = start(waits.replace("END", "fail(RunError('disk full'))"))
    assert (end.exit_status, end.fault) == (2, "disk full")


def test_ranks_do_not_outlive_their_launcher(waits, when_ready, tmp_path):
    code = (
        "from archspec.train.launch import outlive_no_launcher\noutlive_no_launcher()\n"
        + waits.replace("END", f"open({str(tmp_path)!r} + f'/ended{{rank}}', 'w')")
    )
    launcher = "import sys; from archspec.train.launch import launch; launch(sys.argv[1:], nproc=2)"
    command = [sys.executable, "-c", PRELUDE + code]
    process = subprocess.Popen([sys.executable, "-c", launcher, *command])
    when_ready(process.kill)
    process.wait(60)
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("ended*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
