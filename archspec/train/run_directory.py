"""A run directory: what was asked, what was measured, and the checkpoints.

``spec.yaml``, ``train.yaml`` and, where there is one, ``plan.yaml`` are resolved copies; the plan
is that of the last session, which may have had other ranks than those before. ``metadata.json``
says what made the run, ``metrics.jsonl`` has a line per step and per evaluation, ``checkpoints/``
the saved states.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from archspec import __version__
from archspec.errors import RunError
from archspec.spec.dump import spec_hash, to_document, to_yaml
from archspec.spec.load import load_model, load_plan, load_train
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec
from archspec.spec.train import TrainSpec
from archspec.train.difference import describe_difference, inline_layers
from archspec.train.events import Evaluation, Step
from archspec.train.files import new_directory, read_json, replace_text, sync

SPEC, TRAIN, PLAN, METADATA = "spec.yaml", "train.yaml", "plan.yaml", "metadata.json"
METRICS, CHECKPOINTS = "metrics.jsonl", "checkpoints"


def check_absent(out: Path) -> None:
    """Check that nothing is there yet. Raises RunError."""
    if out.exists():
        raise RunError(
            f"{out}: already exists; go on with it by --resume {out}, or choose another --out"
        )


def create_run(
    out: Path,
    spec: ModelSpec,
    train: TrainSpec,
    *,
    device: str,
    hashes: Mapping[str, str],
    plan: PlanSpec | None = None,
) -> None:
    """Make a run directory, complete or not at all. Raises RunError if ``out`` exists."""
    check_absent(out)
    metadata = {
        "spec_hash": spec_hash(spec),
        "seed": train.seed,
        "device": device,
        "data_sha256": dict(hashes),
        "versions": {
            "archspec": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    try:
        with new_directory(out) as draft:
            (draft / SPEC).write_text(to_yaml(spec))
            (draft / TRAIN).write_text(train_to_yaml(train))
            if plan is not None:
                (draft / PLAN).write_text(plan_to_yaml(plan))
            (draft / METADATA).write_text(json.dumps(metadata, indent=1) + "\n")
            (draft / METRICS).touch()
    except OSError as error:
        raise RunError(f"{out}: the run directory cannot be made: {error}") from None


def note_plan(out: Path, plan: PlanSpec | None) -> None:
    """Write down the plan of this session, where it is another than that of the one before."""
    if plan is None:
        (out / PLAN).unlink(missing_ok=True)
    elif not (out / PLAN).exists() or (out / PLAN).read_text() != plan_to_yaml(plan):
        replace_text(out / PLAN, plan_to_yaml(plan))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What a run was asked to do, and on what data.

    Attributes:
        plan: Of the last session; None if it had none.
        hashes: The sha256 of each source's data by name.
    """

    spec: ModelSpec
    train: TrainSpec
    plan: PlanSpec | None
    device: str
    hashes: Mapping[str, str]


def load_run(out: Path) -> RunRecord:
    """Read back what a run is. Raises RunError if ``out`` is no run directory."""
    for name in (SPEC, TRAIN, METADATA):
        if not (out / name).is_file():
            raise RunError(
                f"{out}: not a run directory, it has no {name}; start a run with --out {out}"
            )
    metadata = read_json(out / METADATA)
    try:
        device, hashes = str(metadata["device"]), dict(metadata["data_sha256"])
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{out / METADATA}: is damaged: no device or no hashes inside") from None
    return RunRecord(
        spec=load_model(out / SPEC),
        train=load_train(out / TRAIN),
        plan=load_plan(out / PLAN) if (out / PLAN).is_file() else None,
        device=device,
        hashes=hashes,
    )


def check_same_run(out: Path, spec: ModelSpec, train: TrainSpec, hashes: Mapping[str, str]) -> None:
    """Check that a run directory was made for this spec, training and data. Raises RunError."""
    run = load_run(out)
    if spec_hash(run.spec) != spec_hash(spec):
        difference = describe_difference(
            inline_layers(to_document(spec, canonical=True)),
            inline_layers(to_document(run.spec, canonical=True)),
        )
        raise RunError(f"{out}: the run is of another spec: {difference}; resume it with its own")
    difference = describe_difference(train.model_dump(), run.train.model_dump())
    if difference:
        raise RunError(
            f"{out}: the run has other training settings: {difference}; resume it with its own"
        )
    changed = [name for name, digest in hashes.items() if run.hashes.get(name) != digest]
    if changed:
        raise RunError(
            f"{out}: the data of {', '.join(changed)} changed since the run began, so it cannot go "
            "on as it would have; restore the data (pydoc differs by Python version) or start a "
            "new run"
        )


class MetricsLog:
    """``metrics.jsonl``: a JSON object per step, and one with ``evaluation`` per evaluation.

    Args:
        path: The file.
        step: Lines of later steps are cut off, as these steps will run again.
    """

    def __init__(self, path: Path, *, step: int) -> None:
        self.steps: list[Step] = []
        self.evaluation: Evaluation | None = None
        kept = [line for line in _whole_lines(path) if line["step"] <= step]
        for line in kept:
            if "evaluation" in line:
                self.evaluation = Evaluation(step=line["step"], metrics=line["evaluation"])
            else:
                self.steps.append(Step(**line))
        replace_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._path = path
        self._file = path.open("a", buffering=1)

    def write_step(self, step: Step) -> None:
        """Append a step."""
        self.steps.append(step)
        self._file.write(json.dumps(dataclasses.asdict(step)) + "\n")

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """Append an evaluation."""
        self.evaluation = evaluation
        line = {"step": evaluation.step, "evaluation": dict(evaluation.metrics)}
        self._file.write(json.dumps(line) + "\n")

    def sync(self) -> None:
        """Put every line on the disk, before a checkpoint says that these steps are done."""
        sync(self._path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def train_to_yaml(train: TrainSpec) -> str:
    """Write a train document with every default filled in; it loads again to the same value."""
    return yaml.safe_dump(train.model_dump(), sort_keys=False, allow_unicode=True)


def plan_to_yaml(plan: PlanSpec) -> str:
    """Write a plan document with every default filled in; it loads again to the same value."""
    return yaml.safe_dump(plan.model_dump(), sort_keys=False, allow_unicode=True)


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read lines up to the first that is not whole, which a process that died may have left."""
    if not path.exists():
        return
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            return
        if not isinstance(entry, dict) or "step" not in entry:
            return
        yield entry
