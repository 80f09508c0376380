"""Train in sessions that are killed at random moments, and check what each leaves behind.

Run by test_random_kills.py as `killed_sessions.py SEED KILLS` in a folder with the documents. A
session is a fork of this process, which has everything imported, so it begins training at once.
What it prints is JSON: how many kills found a checkpoint half written, and how many steps the
sessions had gone on from.
"""

import json
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import torch

from archspec.compiler.compile import compile
from archspec.spec.load import load_model, load_train
from archspec.train.checkpoint import State, load_checkpoint
from archspec.train.checkpoint_names import list_checkpoints
from archspec.train.files import UNFINISHED
from archspec.train.loop import train
from archspec.train.optimizer import build_optimizer
from archspec.train.run_directory import load_run
from archspec.train.tables import TableGradients

OUT = Path("run")
CONTEXT = multiprocessing.get_context("fork")


def run_session() -> None:
    if OUT.exists():
        run = load_run(OUT)
        train(run.spec, run.train, out=OUT, resume=True)
    else:
        train(load_model("model.yaml"), load_train("train.yaml"), out=OUT)


def check_checkpoints() -> None:
    """Load each checkpoint that has its name into a model of its own."""
    spec, settings = load_model("model.yaml"), load_train("train.yaml")
    for path in list_checkpoints(OUT / "checkpoints"):
        model = compile(spec)
        rows = TableGradients(model).rows
        state = State(spec, model, build_optimizer(model, settings.optimizer, rows, seed=0))
        assert load_checkpoint(path, state) > 0, path


def in_a_fork(action) -> None:
    process = CONTEXT.Process(target=action)
    process.start()
    process.join()
    assert process.exitcode == 0, f"{action.__name__} ended with {process.exitcode}"


def lines_written() -> int:
    log = OUT / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def wait_for_lines(session, count: int) -> None:
    """Wait until the session has written so many lines: fast machines get no further."""
    before = known = lines_written()
    while session.is_alive() and known < before + count:
        time.sleep(0.0005)
        now = lines_written()
        # A session cuts off what comes after its checkpoint.
        before, known = min(before, now), now


def main(seed: int, kills: int) -> None:
    torch.set_num_threads(1)
    rng = random.Random(seed)
    half_written, went_on_from = 0, []
    for _ in range(kills):
        session = CONTEXT.Process(target=run_session)
        session.start()
        wait_for_lines(session, rng.randint(1, 6))
        time.sleep(rng.random() * 0.02)  # some steps' time
        session.kill()
        session.join()
        assert session.exitcode == -9, "the run is too short for so many kills"
        half_written += any(OUT.rglob(f"{UNFINISHED}*"))
        in_a_fork(check_checkpoints)
        saved = list_checkpoints(OUT / "checkpoints")
        went_on_from.append(saved[-1].name if saved else "")
    in_a_fork(run_session)
    in_a_fork(check_checkpoints)
    json.dump({"half_written": half_written, "went_on_from": went_on_from}, sys.stdout)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main(int(sys.argv[1]), int(sys.argv[2]))
