"""A search's directory: what was asked, as resolved copies, and everything that came of it.

``search.yaml``, ``base.yaml``, ``train.yaml`` and, if there are any, ``plan.yaml`` and
``hardware.yaml`` are what a resumed search reads; ``run.json`` says which Optuna study it is;
``study.journal`` is that study unless a storage was named; ``designs/`` has a file per training;
the rest are results.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
import yaml
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import (
    JournalFileBackend,
    JournalFileSymlinkLock,
    JournalRedisBackend,
)

from archspec import __version__
from archspec.errors import RunError
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
_LOCK_SECONDS = 5  # a journal is locked for milliseconds; after so long its owner is dead


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Where the study of a run is.

    Attributes:
        study: Its name.
        storage: A database URL, ``redis://``, or the path of a journal file; None for the journal
            in the run directory.
        needs_storage: Whether the URL held a password and was therefore not written down.
    """

    study: str
    storage: str | None
    needs_storage: bool = False


def create_run(out: Path, spec: SearchSpec, storage: str | None) -> None:
    """Make a run directory, complete or not at all. Raises RunError if ``out`` exists."""
    if out.exists():
        raise RunError(
            f"{out}: already exists; go on with it by --resume {out}, or choose another --out"
        )
    secret = storage is not None and urlsplit(storage).password is not None
    info = {
        "archspec": __version__,
        "study": f"{out.name}-{secrets.token_hex(4)}",
        "storage": None if secret else storage,
        "needs_storage": secret,
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
        info = RunInfo(content["study"], content["storage"], content["needs_storage"])
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


def open_storage(out: Path, info: RunInfo, storage: str | None) -> BaseStorage:
    """Open the storage of a run; ``storage`` is only needed where a password was left out.

    Raises:
        RunError: The storage is needed or cannot be opened.
    """
    url = storage or info.storage
    if url is None and info.needs_storage:
        raise RunError(
            f"{out}: its storage URL has a password, which is not written down; give --storage URL"
        )
    return _journal(out / JOURNAL) if url is None else open_url(url)


def open_url(url: str) -> BaseStorage:
    """Open an Optuna storage by its URL, or a journal by its path. Raises RunError."""
    try:
        if url.startswith(("redis://", "rediss://")):
            return JournalStorage(JournalRedisBackend(url))
        return RDBStorage(url) if "://" in url else _journal(Path(url))
    except Exception as error:  # noqa: BLE001 - each database driver has errors of its own
        raise RunError(f"{_without_password(url)}: cannot be opened: {error}") from None


def _journal(path: Path) -> JournalStorage:
    _drop_partial_line(path)
    lock = JournalFileSymlinkLock(str(path), grace_period=_LOCK_SECONDS)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def open_study(
    storage: BaseStorage, info: RunInfo, spec: SearchSpec, sampler: optuna.samplers.BaseSampler
) -> optuna.Study:
    """Open the study of a run, or begin it."""
    return optuna.create_study(
        study_name=info.study,
        storage=storage,
        sampler=sampler,
        direction=spec.direction,
        load_if_exists=True,
    )


def _drop_partial_line(journal: Path) -> None:
    """Cut off what a process that died left of its last line, or the next line would join it."""
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _without_password(url: str) -> str:
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@") if password else url


def _documents(spec: SearchSpec) -> dict[str, dict[str, Any]]:
    """Return the documents of a search, as plain values that refer to each other by file name."""
    search = spec.document.model_dump()
    search["base"] = BASE
    search["objective"]["train"] = TRAIN
    found = {SEARCH: search, BASE: dict(spec.base_document), TRAIN: spec.train.model_dump()}
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
