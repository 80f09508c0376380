"""One thread interrupts another's training, whatever the process does about Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from archspec.search.interrupting import interruptible

# Started as a shell starts its background jobs: SIGINT is ignored from the first.
IN_THE_BACKGROUND = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c"]
LOSES_ITS_TRIAL = """
import os, signal, time
from archspec.search.leases import Heart, LeaseLostError

assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
with Heart(lambda *_: False, lambda: None, seconds=0.3) as heart:
    heart.hold(1)
    try:
        with heart.interrupting():
            os.kill(os.getpid(), signal.SIGINT)  # somebody's Ctrl-C is still ignored
            time.sleep(60)
    except KeyboardInterrupt:
        assert heart.lost
    else:
        raise SystemExit("was not interrupted")
    try:
        heart.explain()
    except LeaseLostError:
        print("lost")
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
"""


def later(action: Callable[[], object]) -> None:
    threading.Timer(0.1, action).start()


def wait_for(action: Callable[[], object]) -> None:
    later(action)
    time.sleep(60)


def test_a_background_job_drops_a_trial_that_it_lost() -> None:
    done = subprocess.run(
        [*IN_THE_BACKGROUND, LOSES_ITS_TRIAL],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "lost\n"), done.stderr


def test_a_call_that_waits_is_interrupted() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interruptible() as interrupt:
        wait_for(interrupt)
    assert time.monotonic() - began < 30


def test_the_signal_of_somebody_else_interrupts_nothing() -> None:
    with interruptible():
        later(lambda: os.kill(os.getpid(), signal.SIGURG))
        time.sleep(0.3)


def test_one_that_comes_too_late_does_nothing() -> None:
    before = signal.getsignal(signal.SIGURG)
    with interruptible() as interrupt:
        pass
    interrupt()
    time.sleep(0.1)
    assert signal.getsignal(signal.SIGURG) == before


def test_in_another_thread_the_main_one_is_left_alone() -> None:
    ended = threading.Event()

    def work() -> None:
        with interruptible() as interrupt:
            interrupt()
        ended.set()

    threading.Thread(target=work).start()
    assert ended.wait(30)
