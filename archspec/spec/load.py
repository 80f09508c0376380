"""Load documents: one function for each kind, and one for any kind."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from archspec.errors import ArchspecError, Path, SpecError, suggest
from archspec.spec.compose import compose
from archspec.spec.documents import DOCUMENTS
from archspec.spec.hardware import HardwareSpec, find_hardware, is_path
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec
from archspec.spec.resolve import resolve_model
from archspec.spec.search.document import SearchDocument
from archspec.spec.search.resolve import Documents, resolve_search
from archspec.spec.search.spec import SearchSpec
from archspec.spec.train import TrainSpec
from archspec.spec.tree import Node, describe
from archspec.spec.validate import Reporter

S = TypeVar("S")
G = TypeVar("G")
AnyPath = str | os.PathLike[str]
Spec = ModelSpec | PlanSpec | TrainSpec | SearchSpec | HardwareSpec


def load_model(path: AnyPath, overrides: Sequence[str] = ()) -> ModelSpec:
    """Load a model document, with what it extends, as a flat spec.

    Args:
        path: The document.
        overrides: Values set over it, each ``path=value``, as `--set` takes them.

    Raises:
        SpecError: With every problem of the file, each with its place and a way out.

    Example:
        >>> spec = load_model("specs/models/tiny.yaml", ["blocks.ffn.hidden_dim=512"])
    """
    return resolve_model(read_document(path, "model", overrides))


def load_plan(path: AnyPath, overrides: Sequence[str] = ()) -> PlanSpec:
    """Load a plan document. Raises SpecError."""
    return resolve_plan(read_document(path, "plan", overrides))


def load_train(path: AnyPath, overrides: Sequence[str] = ()) -> TrainSpec:
    """Load a train document. Raises SpecError."""
    return _resolve_train(read_document(path, "train", overrides))


def load_search(path: AnyPath, overrides: Sequence[str] = ()) -> SearchSpec:
    """Load a search document and the documents it names. Raises SpecError."""
    return _resolve_search(read_document(path, "search", overrides))


def load_hardware(name: AnyPath, overrides: Sequence[str] = ()) -> HardwareSpec:
    """Load a hardware document: a bundled device by its name, any other by its path.

    Raises:
        ArchspecError: If the name is no bundled device.
        SpecError: With every problem of the document.

    Example:
        >>> load_hardware("h100").memory_bandwidth
        3350000000000.0
    """
    path = find_hardware(os.fspath(name))
    return _resolve_hardware(read_document(path, "hardware", overrides))


def load(path: AnyPath, overrides: Sequence[str] = ()) -> Spec:
    """Load a document of any kind. Raises SpecError."""
    return resolve(read_document(path, None, overrides))


def resolve(root: Node) -> Spec:
    """Resolve a composed document of any kind. Raises SpecError."""
    kind = root.at(("kind",))
    if kind is not None and kind.value == "plan":
        return resolve_plan(root)
    if kind is not None and kind.value == "train":
        return _resolve_train(root)
    if kind is not None and kind.value == "search":
        return _resolve_search(root)
    if kind is not None and kind.value == "hardware":
        return _resolve_hardware(root)
    return resolve_model(root)


def read_document(path: AnyPath, wanted: str | None, overrides: Sequence[str] = ()) -> Node:
    """Compose a document and check its head, so that a wrong kind gives one error and not fifty.

    Args:
        path: The document.
        wanted: The kind it must have, None for any.
        overrides: Values set over it, each ``path=value``.

    Raises:
        SpecError: If it cannot be composed or is of another kind.
    """
    root = compose(path, overrides)
    reporter = Reporter(root)
    if not isinstance(root.value, dict):
        reporter.report((), f"a document must be a map, but this is {describe(root.plain())}")
        reporter.raise_problems()
    kind, version = root.at(("kind",)), root.at(("archspec",))
    if kind is None:
        reporter.report((), f"required key 'kind' is missing; {suggest('', DOCUMENTS)}")
    elif not isinstance(kind.value, str) or kind.value not in DOCUMENTS:
        message = f"unknown kind {describe(kind.plain())}; {suggest(kind.value, DOCUMENTS)}"
        reporter.report(("kind",), message)
    elif wanted is not None and kind.value != wanted:
        reporter.report(("kind",), f"expected a {wanted} document, but this is kind {kind.value!r}")
    if version is None:
        reporter.report((), "required key 'archspec' is missing; start the file with `archspec: 1`")
    elif version.value != 1 or isinstance(version.value, bool):
        message = f"this archspec reads version 1, but the file is {describe(version.plain())}"
        reporter.report(("archspec",), message)
    reporter.raise_problems()
    return root


def _resolve_train(root: Node) -> TrainSpec:
    reporter = Reporter(root)
    fields = reporter.validate_fields(TrainSpec)
    reporter.raise_problems()
    spec = TrainSpec(**fields)
    for fault in spec.check():
        reporter.report(fault.path, fault.message)
    reporter.raise_problems()
    sample = ("watch", "sample", "tokenizer")
    return spec.located(_folder(root, ("data",)), watch=_folder(root, sample))


def resolve_plan(root: Node) -> PlanSpec:
    """Resolve a composed plan document. Raises SpecError."""
    reporter = Reporter(root)
    fields = reporter.validate_fields(PlanSpec)
    reporter.raise_problems()
    spec = PlanSpec(**fields)
    for fault in spec.check():
        reporter.report(fault.path, fault.message)
    folder = _folder(root, ("hardware",))
    if spec.hardware is not None:
        _check_device(spec.hardware, folder, reporter)
    reporter.raise_problems()
    return spec.located(folder)


def _check_device(name: str, folder: pathlib.Path, reporter: Reporter) -> None:
    file = folder / name
    if is_path(name) and not file.is_file():
        message = f"no such file: {file}; paths start from this document"
        reporter.report(("hardware",), message)
        return
    try:
        load_hardware(file if is_path(name) else name)
    except SpecError as error:
        reporter.problems.extend(error.problems)
    except ArchspecError as error:
        reporter.report(("hardware",), str(error))


def _resolve_hardware(root: Node) -> HardwareSpec:
    reporter = Reporter(root)
    fields = reporter.validate_fields(HardwareSpec)
    reporter.raise_problems()
    spec = HardwareSpec(**fields)
    for fault in spec.check():
        reporter.report(fault.path, fault.message)
    reporter.raise_problems()
    return spec


def _folder(root: Node, path: Path) -> pathlib.Path:
    """Return the folder that a path written at ``path`` starts from: that of its own file."""
    node = root.at(path)
    file = pathlib.Path((node or root).place.file)
    return file.parent if file.is_file() else pathlib.Path()  # `--set` starts from here


def _resolve_search(root: Node) -> SearchSpec:
    reporter = Reporter(root)
    fields = reporter.validate_fields(SearchDocument)
    objective = fields.get("objective")
    train_path = objective.train if objective else None
    base = _named(fields.get("base"), "model", root, reporter, ("base",))
    train = _named(train_path, "train", root, reporter, ("objective", "train"))
    plan_root = _named(fields.get("plan"), "plan", root, reporter, ("plan",))
    plan = _resolved(plan_root, resolve_plan, reporter)
    documents = Documents(
        base=_resolved(base, resolve_model, reporter),
        base_root=base,
        train=_resolved(train, _resolve_train, reporter),
        plan=plan,
        plan_root=plan_root,
        hardware=_device_of(fields.get("hardware"), plan, root, reporter),
        resolve_plan=resolve_plan,
    )
    return resolve_search(fields, documents, reporter)


def _device_of(
    name: str | None, plan: PlanSpec | None, root: Node, reporter: Reporter
) -> HardwareSpec | None:
    """Return the device of a search, or else that of its plan, which was checked with it."""
    if name is None:
        given = None if plan is None else plan.hardware
        return None if given is None else load_hardware(given)
    folder = _folder(root, ("hardware",))
    before = len(reporter.problems)
    _check_device(name, folder, reporter)
    if len(reporter.problems) > before:
        return None
    return load_hardware(folder / name if is_path(name) else name)


def _named(
    name: str | None, kind: str, root: Node, reporter: Reporter, path: tuple[str, ...]
) -> Node | None:
    """Read a document that another one names, with what it extends.

    Its own problems are passed on with their places.
    """
    if name is None:
        return None
    file = _folder(root, path) / name
    if not file.is_file():
        reporter.report(path, f"no such file: {file}; paths start from this document")
        return None
    return _resolved(file, lambda file: read_document(file, kind), reporter)


def _resolved(given: G | None, resolve: Callable[[G], S], reporter: Reporter) -> S | None:
    """Resolve what was read; its problems are passed on with their places."""
    if given is None:
        return None
    try:
        return resolve(given)
    except SpecError as error:
        reporter.problems.extend(error.problems)
        return None
