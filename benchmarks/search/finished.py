"""What a benchmark run has finished, on disk, so that one that is stopped goes on."""

from __future__ import annotations

import functools
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from archspec.train.files import replace_text
from benchmarks.search.campaign import Done, Job
from benchmarks.search.report import result_from_json, result_json

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# What decides the outcome of a search; pages and plots may change without running it again.
_SAMPLERS = ("search/**/*.py", "archspec/cost/pricing/*.py")
_OWN = ("campaign", "exact", "losses", "problems", "rivals", "runs", "statistics", "table")
_LIBRARIES = ("numpy", "scipy", "optuna")


class Finished:
    """The outcomes of jobs, one file each, in a folder.

    An outcome counts for the job that it was of, with the code, the documents and the libraries
    that it came from; any other is as if it were not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, job: Job) -> Done | None:
        """Return the outcome of a job, None if there is none."""
        path = self._path(job)
        if not path.exists():
            return None
        content = json.loads(path.read_text())
        if content["origin"] != origin(job):
            return None
        return Done(tuple(map(result_from_json, content["results"])), content["seconds"])

    def put(self, job: Job, done: Done) -> None:
        """Keep the outcome of a job."""
        results = [result_json(result) for result in done.results]
        content = {"origin": origin(job), "seconds": done.seconds, "results": results}
        replace_text(self._path(job), json.dumps(content) + "\n")

    def _path(self, job: Job) -> Path:
        return self._folder / f"{job.name}.json"


def origin(job: Job) -> str:
    """Return a digest of all that decides the outcome of a job."""
    table = "" if job.table is None else hashlib.sha256(job.table.read_bytes()).hexdigest()
    text = f"{_code()} {job.problem} {job.seed} {job.evaluations} {table}"
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _code() -> str:
    files = [path for pattern in _SAMPLERS for path in sorted(ROOT.glob(pattern))]
    files += [HERE / f"{name}.py" for name in _OWN]
    files += sorted(HERE.glob("*.yaml"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    digest.update(" ".join(version(name) for name in _LIBRARIES).encode())
    return digest.hexdigest()
