import signal
import threading

import pytest

from archspec.train import interrupt
from archspec.train.interrupt import stop_on_signals


@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_a_request_that_several_pass_on_is_one(number):
    with stop_on_signals() as stop:
        assert not stop.asked
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)
        assert stop.asked


@pytest.mark.usefixtures("ctrl_c")
def test_a_later_one_acts_as_it_always_does(monkeypatch):
    monkeypatch.setattr(interrupt, "SAME_REQUEST", 0.0)
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop.asked


def test_what_signals_did_before_they_do_after():
    before = [signal.getsignal(number) for number in interrupt.SIGNALS]
    with stop_on_signals():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in interrupt.SIGNALS] == before


def test_another_thread_leaves_signals_alone():
    seen = []

    def work():
        with stop_on_signals() as stop:
            seen.append((stop.asked, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, signal.getsignal(signal.SIGINT))]
