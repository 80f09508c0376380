import os
import threading

import pytest
import scipy.optimize

from archspec.search import variant_program
from archspec.search.stdout import STDOUT
from archspec.testing.samplers import rare_designs


def test_what_the_solver_prints_is_no_result(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def chatty(*args, **options):
        os.write(1, b"HighsMipSolverData: a line that no option silences\n")
        return scipy.optimize.milp(*args, **options)

    monkeypatch.setattr(variant_program, "milp", chatty)
    program = rare_designs(5, 0.2).program
    assert program.best(program.quantity("flops_per_token")) is not None
    os.write(1, b"a result\n")
    out, err = capfd.readouterr()
    assert out == "a result\n"
    assert "HighsMipSolverData" in err


def test_stdout_is_there_again_after_an_error_and_after_many_threads(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(KeyError), STDOUT.kept_clean():
        raise KeyError
    together = threading.Barrier(8)

    def work() -> None:
        for _ in range(50):
            together.wait()
            with STDOUT.kept_clean():
                os.write(1, b"chatter")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(1, b"a result")
    out, err = capfd.readouterr()
    assert out == "a result"
    assert err == "chatter" * 400


def test_a_closed_stdout_is_left_alone() -> None:
    kept = os.dup(1)
    os.close(1)
    try:
        with STDOUT.kept_clean():
            pass
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(1)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
