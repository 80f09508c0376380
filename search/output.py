"""The files a finished search leaves; each is there in full or not at all."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from archspec.errors import RunError
from archspec.search.pareto import pareto_csv
from archspec.search.results import SearchResults
from archspec.search.run_directory import BEST, PARETO, RESULTS
from archspec.spec.dump import to_yaml
from archspec.spec.model import ModelSpec
from archspec.train.files import replace_text


def write_results(out: Path, results: SearchResults, best: ModelSpec) -> None:
    """Write the winner, the Pareto front, and last what says that the search is done."""
    named = best.replace(name=f"{results.name}-best" if results.name else "best")
    replace_text(out / BEST, to_yaml(named, comment=_comment(results)))
    replace_text(out / PARETO, pareto_csv(results.designs, results.direction, results.goals))
    replace_text(out / RESULTS, results.model_dump_json(indent=1) + "\n")


def read_results(out: Path) -> SearchResults | None:
    """Read the results of a search, None if it did not finish. Raises RunError."""
    path = out / RESULTS
    if not path.exists():
        return None
    try:
        return SearchResults.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: is damaged: {error}; remove the file to write it anew") from None


def _comment(results: SearchResults) -> str:
    best = results.best
    lines = [
        f"Found by archspec search, trial {best.trial} ({best.source}).",
        f"{results.metric} {best.value:.4f} on the first run",
    ]
    if best.reruns:
        values = ", ".join(f"{value:.4f}" for value in best.reruns)
        lines[-1] += f", {values} with fresh seeds"
    return "\n".join([*lines, f"hash {best.spec_hash}"])
