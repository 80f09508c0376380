"""A search's directory: what was asked, as resolved copies, and everything that came of it.

``search.yaml``, ``base.yaml``, ``train.yaml`` and, if there are any, ``plan.yaml`` and
``hardware.yaml`` are what a resumed search reads; ``run.json`` says which Optuna study it is;
``study.journal`` is that study unless a storage was named; ``designs/`` has a file per training;
the rest are results.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archspec import __version__
from archspec.errors import RunError
from archspec.search.storage import without_password
from archspec.spec.dump import to_document
from archspec.spec.load import load_search
from archspec.spec.model import ModelSpec
from archspec.spec.search.spec import SearchSpec
from archspec.train.difference import describe_difference
from archspec.train.files import new_directory, read_json, replace_text

SEARCH, BASE, TRAIN, RUN = "search.yaml", "base.yaml", "train.yaml", "run.json"
PLAN, HARDWARE = "plan.yaml", "hardware.yaml"
JOURNAL, DESIGNS = "study.journal", "designs"
RESULTS, BEST, PARETO, REPORT = "results.json", "best.yaml", "pareto.csv", "report.txt"
FRONT = "pareto"  # a folder of model documents
BEST_PROXY = "best_proxy.yaml"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Where the study of a run is.

    Attributes:
        study: Its name.
        storage: Where it is, a password left out; None for the journal in the run directory. It is
            shown and never opened: a directory from a stranger must not say what we connect to.
    """

    study: str
    storage: str | None


def create_run(
    out: Path, spec: SearchSpec, storage: str | None, *, study: str | None = None
) -> None:
    """Make a run directory, complete or not at all.

    Args:
        out: The directory.
        spec: What is searched.
        storage: Where the study is; by default a journal in the directory.
        study: Its name; by default one that no other study has.

    Raises:
        RunError: ``out`` exists, or cannot be made.
    """
    if out.exists():
        raise RunError(
            f"{out}: already exists; go on with it by --resume {out}, or choose another --out"
        )
    info = {
        "archspec": __version__,
        "study": study or f"{out.name}-{secrets.token_hex(4)}",
        "storage": None if storage is None else without_password(storage),
    }
    try:
        with new_directory(out) as draft:
            for name, document in _documents(spec).items():
                (draft / name).write_text(_yaml(document))
            (draft / RUN).write_text(json.dumps(info, indent=1) + "\n")
            (draft / DESIGNS).mkdir()
    except OSError as error:
        raise RunError(f"{out}: the run directory cannot be made: {error}") from None


def load_run(out: Path) -> tuple[SearchSpec, RunInfo]:
    """Read back what a run was asked to do. Raises RunError if ``out`` is none."""
    for name in (SEARCH, BASE, TRAIN, RUN):
        if not (out / name).is_file():
            raise RunError(
                f"{out}: not a search's directory, it has no {name}; start one with --out {out}"
            )
    content = read_json(out / RUN)
    try:
        info = RunInfo(str(content["study"]), content["storage"])
    except KeyError as error:
        raise RunError(f"{out / RUN}: is damaged: {error} is missing") from None
    return load_search(out / SEARCH), info


def set_trials(out: Path, spec: SearchSpec, trials: int) -> None:
    """Change how many trials a run has in all."""
    document = _documents(spec)[SEARCH]
    replace_text(out / SEARCH, _yaml({**document, "trials": trials}))


def check_same_run(out: Path, given: SearchSpec, stored: SearchSpec) -> None:
    """Check that a run is of this search, the number of trials aside. Raises RunError."""
    ours, theirs = _compared(given), _compared(stored)
    for documents in (ours, theirs):
        del documents[SEARCH]["trials"]
    difference = describe_difference(ours, theirs)
    if difference:
        raise RunError(
            f"{out}: the run is of another search: {difference}; start this one with another "
            "--out, or go on with that one by --resume alone"
        )


def fingerprint(spec: SearchSpec) -> str:
    """Return a short hash of a search's documents, the number of trials aside."""
    documents = _documents(spec)
    del documents[SEARCH]["trials"]
    text = json.dumps(documents, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _documents(spec: SearchSpec) -> dict[str, dict[str, Any]]:
    """Return the documents of a search, as plain values that refer to each other by file name."""
    search = spec.document.model_dump()
    search["base"] = BASE
    search["objective"]["train"] = TRAIN
    found: dict[str, dict[str, Any]] = {SEARCH: search, TRAIN: spec.train.model_dump()}
    found[BASE] = {str(key): value for key, value in spec.base_document.items()}
    if spec.plan is not None:
        search["plan"] = PLAN
        hardware = None if spec.hardware is None else HARDWARE
        found[PLAN] = {**spec.plan.model_dump(), "hardware": hardware}
    if spec.hardware is not None:
        search["hardware"] = HARDWARE
        found[HARDWARE] = spec.hardware.model_dump()
    return found


def _compared(spec: SearchSpec) -> dict[str, dict[str, Any]]:
    """Return the documents of a search with what they mean for the base, however it is written."""
    found = {**_documents(spec), BASE: _meaning(spec.base)}
    for index, variant in enumerate(spec.variants):
        found[f"{BASE}, variant {index}"] = _meaning(variant.base)
    return found


def _meaning(base: ModelSpec) -> dict[str, Any]:
    """Return a base and all that a search may choose among, used or not, in one form."""
    templates = {
        "blocks": base.templates,
        "attention": base.attention_templates,
        "pools": base.template_pools,
    }
    plain = {
        key: {name: config.model_dump() for name, config in named.items()}
        for key, named in templates.items()
    }
    return {"model": to_document(base), "templates": plain}


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=None)
