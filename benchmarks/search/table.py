"""The table of trained models: every design of a small space, trained with two seeds."""

from __future__ import annotations

import csv
import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from archspec.errors import BenchmarkError, DivergedError
from archspec.search.feasible import FeasibleSpace
from archspec.search.features import Floats
from archspec.search.params import from_params, to_params
from archspec.search.space import Design
from archspec.spec.load import load_search
from archspec.spec.search.spec import SearchSpec
from benchmarks.search.problems import Target
from benchmarks.search.report import TableFacts

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "specs" / "search" / "table.yaml"
FILE = ROOT / "benchmarks" / "results" / "search_table.csv"
COMMAND = "python -m benchmarks search_table"
SEEDS = (0, 1)
_SEED, _SECONDS = "seed", "seconds"


@functools.cache
def table_search() -> tuple[SearchSpec, FeasibleSpace]:
    """Return the search document of the table, and its designs that fit."""
    spec = load_search(DOCUMENT)
    return spec, FeasibleSpace.of(spec)


class Table:
    """Losses of all designs of a space.

    Attributes:
        allowed: The designs.
        losses: Of each listed design with each seed, [N, 2]; nan where it was not trained.
        seconds: Of all trainings.
    """

    def __init__(self, allowed: FeasibleSpace, losses: Floats, seconds: Sequence[float]) -> None:
        assert allowed.listed is not None, "the space of a table is small"
        self.allowed = allowed
        self.losses = losses
        self.seconds = tuple(seconds)
        self._rows = {design: row for row, design in enumerate(allowed.listed)}

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a table.

        Raises:
            BenchmarkError: A line is none of a design of the space.
        """
        spec, allowed = table_search()
        assert allowed.listed is not None, "the space of a table is small"
        losses: Floats = np.full((len(allowed.listed), len(SEEDS)), np.nan)
        seconds = []
        for row in read_rows(path):
            design = _design_of(allowed, row)
            if design not in allowed:
                raise BenchmarkError(
                    f"{path}: {row} is no design of {DOCUMENT}; the space was changed: remove "
                    f"the file and run {COMMAND}"
                )
            place = allowed.listed.index(design), SEEDS.index(int(row[_SEED]))
            losses[place] = float(row[spec.metric])
            seconds.append(float(row[_SECONDS]))
        return cls(allowed, losses, seconds)

    @property
    def missing(self) -> int:
        """How many trainings it lacks."""
        return int(np.isnan(self.losses).sum())

    @property
    def noise(self) -> float:
        """The standard deviation of one training, what its seed does to all designs aside.

        Two-way analysis of variance without replication: the residual of design and seed.
        """
        differences = np.diff(self.losses, axis=1)
        return float(differences.std(ddof=1)) / 2**0.5

    def facts(self) -> TableFacts:
        """Return what there is to know of it."""
        means = self.losses.mean(axis=1)
        within = float(self.losses.var(axis=0, ddof=1).mean())
        return TableFacts(
            designs=len(means),
            noise=self.noise,
            noise_share=self.noise**2 / within,
            seed_effect=float(np.diff(self.losses.mean(axis=0))[0]),
            near=int((means <= means.min() + self.noise).sum()),
            spread=float(means.std(ddof=1)),
            best=float(means.min()),
            metric=table_search()[0].metric,
            seconds=float(np.median(self.seconds)),
        )

    def target(self, seed: int) -> Target:
        """Return the table as something to search.

        A search trains all designs with one seed, and so does this: every other search sees the
        trainings of the first seed, the rest those of the second. The truth is the mean.
        """
        seen = self.losses[:, seed % len(SEEDS)]
        means = self.losses.mean(axis=1)

        def truth(design: Design) -> float:
            return float(means[self._rows[design]])

        def observe(design: Design) -> float:
            return float(seen[self._rows[design]])

        return Target(self.allowed, truth, observe, float(means.min()))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the lines of a table; one that was cut off in writing is dropped."""
    if not path.exists():
        return []
    text = path.read_text()
    lines = [line for line in text[: text.rfind("\n") + 1].splitlines() if line[:1] != "#"]
    return list(csv.DictReader(lines))


def _design_of(allowed: FeasibleSpace, row: Mapping[str, str]) -> Design:
    params = {}
    for name in to_params(allowed.space, (allowed.listed or ())[0]):
        value = row[name]
        params[name] = int(value) if value.isdigit() else value
    design = from_params(allowed.space, params)
    if design is None:
        raise BenchmarkError(f"{row} is no design of {DOCUMENT}; run {COMMAND} again")
    return design


def train_table(path: Path, *, processes: int, most: int | None = None) -> Iterator[str]:
    """Train what a table lacks, and write each training as it is done; yield a line about each.

    Args:
        path: The table; one that exists is gone on with.
        processes: Trainings at a time, each on one core.
        most: Train no more than so many.
    """
    spec, allowed = table_search()
    assert allowed.listed is not None, "the space of a table is small"
    rows = read_rows(path)
    done = {(_design_of(allowed, row), int(row[_SEED])) for row in rows}
    wanted = [(design, seed) for design in allowed.listed for seed in SEEDS]
    jobs = [job for job in wanted if job not in done][:most]
    yield f"{len(allowed.listed)} designs fit, {len(done)} trainings are done, {len(jobs)} to do"
    # Before torch is loaded in the processes: one thread each, which does not spin.
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        found = pool.map(_train, jobs)
        for number, ((design, seed), metrics) in enumerate(zip(jobs, found, strict=True), 1):
            params = {name: str(v) for name, v in to_params(allowed.space, design).items()}
            row = params | {_SEED: str(seed)} | {name: f"{v:.6g}" for name, v in metrics.items()}
            rows.append(row)
            _write(path, rows)
            yield f"{number}/{len(jobs)}: {spec.metric} {row[spec.metric]}, {row[_SECONDS]} s"


def _train(job: tuple[Design, int]) -> dict[str, float]:
    """Train one design; a training that diverges is as bad as knowing nothing."""
    from archspec.train.loop import train

    design, seed = job
    spec, allowed = table_search()
    began = time.perf_counter()
    try:
        metrics = dict(train(allowed.space.model(design), spec.train, out=None, seed=seed).metrics)
    except DivergedError:
        metrics = {spec.metric: float("inf")}
    return {**metrics, _SECONDS: time.perf_counter() - began}


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write a table whole, so that no reader meets half a line."""
    names = dict.fromkeys(name for row in rows for name in row)
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        file.write(f"# {COMMAND}: each design of {DOCUMENT.relative_to(ROOT)} with two seeds\n")
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)
