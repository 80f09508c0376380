"""However a job ends, it ends soon, with the right status and one message."""

import json
import os
import signal
import sysconfig
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TORCHRUN = str(Path(sysconfig.get_path("scripts")) / "torchrun")


def said_once(error, *phrases):
    assert error.count("archspec train: error:") == 1, error
    assert "Traceback" not in error
    for phrase in phrases:
        assert error.count(phrase) == 1, (phrase, error)


def test_a_rank_that_is_killed_ends_the_job(job):
    job.write(steps=100_000).start(ranks=2).until_step(25)
    os.kill(job.rank_pid(1), signal.SIGKILL)
    began = time.monotonic()
    status, _, error = job.wait(60)
    assert time.monotonic() - began < 30
    assert status == 1
    said_once(error, "rank 1 of 2 on ", "killed by SIGKILL")
    assert "The last checkpoint is run/checkpoints/step_0000" in error
    assert "\n  archspec train --resume run" in error


@pytest.mark.parametrize("to", ["launcher", "rank", "all"])
def test_a_signal_saves_on_all_ranks_and_says_how_to_go_on(job, to):
    job.write(steps=100_000, every=50_000).start(ranks=2).until_step(3)
    if to == "launcher":
        job.process.send_signal(signal.SIGTERM)
    elif to == "rank":
        os.kill(job.rank_pid(1), signal.SIGTERM)
    else:  # as a terminal does it
        os.killpg(job.process.pid, signal.SIGINT)
    status, out, error = job.wait(60)
    assert status == 130, error
    steps = len(job.losses())
    assert f"Interrupted after step {steps} of 100000" in out
    assert out.count("archspec train --resume run") == 1
    assert "Traceback" not in error
    assert job.saved() == [f"step_{steps:06d}"]


def test_a_rank_that_hangs_is_given_up(job):
    job.write(steps=100_000).start(*job.words(ranks=2), "--rank-timeout", "5").until_step(25)
    os.kill(job.rank_pid(1), signal.SIGSTOP)
    status, _, error = job.wait(60)
    assert status == 1
    said_once(error, "rank 0 of 2 on ", "lost contact with another rank", "no answer from rank 1")


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(job, ranks):
    # Weights are multiplied by 1 - 1e-3 * 1e6 a step.
    status, out, error = job.write(steps=60, every=2, decay=1e6).run(ranks=ranks)
    assert status == 3, error
    assert not out
    said_once(error, "training diverged: the ", "the last good checkpoint is run/checkpoints/step_")
    good = error.partition("the last good checkpoint is ")[2].partition(";")[0]
    assert (job.folder / good / "state.json").is_file()
    assert "rank" not in error.partition("archspec train: error:")[2]  # of no rank's making


def test_what_every_rank_finds_is_said_once(job):
    text = (job.write().folder / "train.yaml").read_text()
    (job.folder / "train.yaml").write_text(text.replace("num_facts: 32", "num_facts: 50_000"))
    status, _, error = job.run(ranks=2)
    assert status == 2
    said_once(error, "vocab_size >= ")
    assert "rank" not in error
    assert not job.out.exists()


def test_torchrun_runs_it_and_one_rank_says_what_is_wrong(job):
    command = [TORCHRUN, "--nproc-per-node", "2", "-m", "archspec"]
    status, out, error = job.write(steps=30).run(program=command)
    assert status == 0, error
    assert out.count("30 steps") == 1
    assert len(job.losses()) == 30
    words = ["train", "model.yaml", "--train", "train.yaml", "--plan", "plan.yaml", "--out", "run"]
    status, _, error = job.start(*words, program=command).wait()
    assert status != 0
    assert error.count("archspec train: error:") == 1
    assert "of 2 on " in error
    assert "run: already exists" in error


def test_json_is_printed_once(job):
    status, out, error = job.write(steps=5).run(*job.words(ranks=2), "--json")
    assert status == 0, error
    assert json.loads(out)["steps"] == 5
