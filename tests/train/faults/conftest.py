"""Training in processes of its own, as small as a model can be: most of a second is imports."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

MODEL = """\
archspec: 1
kind: model
vocab_size: 320
max_seq_len: 16
d_model: 32
attention: {num_heads: 2}
blocks:
  ffn: {type: dense, hidden_dim: 32}
  private: {type: memory, num_keys: 8, value_dim: 32, num_heads: 2, top_k: 4, key_dim: 8}
layers: [ffn, private]
"""
# 12 rows a batch: for one, two and three ranks.
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 192
tokens: TOKENS
data: [{task: facts, num_facts: 32, num_objects: 16}]
optimizer: {lr: 1e-3, weight_decay: DECAY}
checkpoint: {every_steps: EVERY, keep: 3}
"""
# In float64 the order of sums is all that differs between numbers of ranks, and that by little.
PLAN = """\
archspec: 1
kind: plan
mesh: {dp_shard: auto}
precision: {params: float64, compute: float64, tables: float64, gradients: float64}
"""


class Job:
    """A run of `archspec train`, over and over."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.out = folder / "run"
        self.process: subprocess.Popen[str] | None = None

    def write(self, *, steps=100, every=20, decay=0.1, plan=PLAN):
        (self.folder / "model.yaml").write_text(MODEL)
        values = {"TOKENS": 192 * steps, "DECAY": decay, "EVERY": every}
        text = TRAIN
        for name, value in values.items():
            text = text.replace(name, str(value))
        (self.folder / "train.yaml").write_text(text)
        (self.folder / "plan.yaml").write_text(plan)
        return self

    def words(self, *, ranks=1, plan=True):
        """The command line that starts the run or goes on with it."""
        if self.out.exists():
            words = ["train", "--resume", "run"]
        else:
            words = ["train", "model.yaml", "--train", "train.yaml", "--out", "run"]
        words += ["--plan", "plan.yaml"] if plan else []
        return [*words, "--nproc", str(ranks)] if ranks > 1 else words

    def start(self, *words, program=(sys.executable, "-m", "archspec"), **options):
        self.process = subprocess.Popen(
            [*program, *(words or self.words(**options))],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that all of it can be killed at once
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return self

    def wait(self, seconds=240):
        """Wait for the end: exit status, standard output, standard error."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def run(self, *words, **options):
        return self.start(*words, **options).wait()

    def finish(self, **options):
        """Run to the end and return the losses."""
        status, out, err = self.run(**options)
        assert status == 0, err
        assert out.count("loss  ") == 1, "one rank reports"
        return self.losses()

    def kill(self):
        """Kill every process of the job."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=60)

    def until_step(self, step):
        """Wait until a step is in the log."""
        while len(self.losses()) < step:
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)
        return self

    def rank_pid(self, rank):
        """The process of a rank that the launcher started."""
        launcher = self.process.pid
        children = pathlib.Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        for child in children:
            environment = pathlib.Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            if f"RANK={rank}".encode() in environment:
                return int(child)
        raise AssertionError(f"no rank {rank} among {children}")

    def losses(self):
        path = self.out / "metrics.jsonl"
        if not path.exists():
            return []
        *whole, _ = path.read_text().split("\n")
        return [line["loss"] for line in map(json.loads, whole) if "loss" in line]

    def saved(self):
        return sorted(path.name for path in (self.out / "checkpoints").glob("step_*"))


@pytest.fixture
def job(tmp_path):
    job = Job(tmp_path)
    yield job
    if job.process is not None and job.process.poll() is None:
        job.kill()


@pytest.fixture
def jobs(tmp_path):
    """A factory of jobs by name."""
    made = []

    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        made.append(Job(folder))
        return made[-1]

    yield make
    for job in made:
        if job.process is not None and job.process.poll() is None:
            job.kill()
