"""The files a finished search leaves; each is there in full or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from archspec.errors import RunError
from archspec.search.pareto import pareto_csv, pareto_front
from archspec.search.results import DesignResult, SearchResults
from archspec.search.run_directory import BEST, FRONT, PARETO, RESULTS
from archspec.spec.dump import to_yaml
from archspec.spec.model import ModelSpec
from archspec.train.files import replace_text

ModelOf = Callable[[DesignResult], ModelSpec]


def write_results(out: Path, results: SearchResults, model_of: ModelOf) -> None:
    """Write the winner, the Pareto front, and last what says that the search is done.

    Args:
        out: The run directory.
        results: What was found.
        model_of: Writes a design out, at the size that was searched.
    """
    best = results.best
    replace_text(out / BEST, _document(results, best, model_of(best), "best"))
    names = _write_front(out / FRONT, results, model_of)
    replace_text(out / PARETO, pareto_csv(results, [f"{FRONT}/{name}" for name in names]))
    replace_text(out / RESULTS, results.model_dump_json(indent=1) + "\n")


def _write_front(folder: Path, results: SearchResults, model_of: ModelOf) -> list[str]:
    """Write every design of the front, best metric first, and remove those of an older front."""
    folder.mkdir(exist_ok=True)
    names = []
    for number, design in enumerate(pareto_front(results), 1):
        name = f"{number:02}_{_file_name(design)}"
        document = _document(results, design, model_of(design), name)
        replace_text(folder / f"{name}.yaml", document)
        names.append(f"{name}.yaml")
    for path in folder.glob("*.yaml"):
        if path.name not in names:
            path.unlink(missing_ok=True)  # another machine may end at the same time
    return names


def _file_name(design: DesignResult) -> str:
    """Name a hand design as people know it, another by its trial."""
    if not design.is_hand_design:
        return f"trial_{design.trial:03}"
    return re.sub(r"[^A-Za-z0-9]+", "_", design.source).strip("_") or f"trial_{design.trial:03}"


def _document(results: SearchResults, design: DesignResult, model: ModelSpec, name: str) -> str:
    named = model.replace(name=f"{results.name}-{name}" if results.name else name)
    return to_yaml(named, comment=_comment(results, design))


def read_results(out: Path) -> SearchResults | None:
    """Read the results of a search, None if it did not finish. Raises RunError."""
    path = out / RESULTS
    if not path.exists():
        return None
    try:
        return SearchResults.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: is damaged: {error}; remove the file to write it anew") from None


def _comment(results: SearchResults, design: DesignResult) -> str:
    lines = [
        f"Found by archspec search, trial {design.trial} ({design.source}).",
        f"{results.metric} {results.last_value(design):.4f} on the first run",
    ]
    if design.reruns:
        values = ", ".join(f"{value:.4f}" for value in design.reruns)
        lines[-1] += f", {values} with fresh seeds"
    return "\n".join([*lines, f"hash {design.spec_hash}"])
