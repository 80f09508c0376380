"""Checkpoints: ``step_000120/{model,optimizer}.safetensors`` and ``state.json``; never pickle.

There is no other state: data and first values follow from the seed, and nothing is drawn while
training. A checkpoint that has its name is complete; an older one goes only after a newer is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from archspec.errors import RunError
from archspec.spec.dump import spec_hash, to_document
from archspec.spec.model import ModelSpec
from archspec.train.difference import describe_difference, inline_layers
from archspec.train.files import new_directory, read_json, remove_directory

FORMAT = 1
_NAME = re.compile(r"step_([0-9]+)")
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, slots=True)
class State:
    """What is saved: the objects that hold it, or that it is loaded into."""

    spec: ModelSpec
    model: nn.Module
    optimizer: torch.optim.Optimizer


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def step_of(path: Path) -> int:
    """Return the step of a checkpoint from its name."""
    match = _NAME.fullmatch(path.name)
    assert match is not None, f"{path} is not named like a checkpoint"
    return int(match[1])


def save_checkpoint(folder: Path, state: State, *, step: int, keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest ``keep``. Raises RunError."""
    path = folder / f"step_{step:06d}"
    head = {
        "format": FORMAT,
        "step": step,
        "spec_hash": spec_hash(state.spec),
        "spec": to_document(state.spec, canonical=True),
    }
    try:
        with new_directory(path) as draft:
            save_file(_on_cpu(state.model.state_dict()), draft / "model.safetensors")
            save_file(_on_cpu(dict(_moments(state))), draft / "optimizer.safetensors")
            (draft / "state.json").write_text(json.dumps(head, indent=1))
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}: the checkpoint cannot be written: {error}; earlier ones are intact, so free "
            "space and resume the run"
        ) from None
    for old in list_checkpoints(folder)[:-keep]:
        remove_directory(old)
    return path


def load_checkpoint(path: Path, state: State) -> int:
    """Load a checkpoint into ``state`` and return its step.

    Nothing is changed unless all of it fits.

    Raises:
        RunError: It is damaged, of another spec, or its tensors are not the model's.
    """
    head = read_json(path / "state.json")
    if head.get("format") != FORMAT or not isinstance(head.get("step"), int):
        raise RunError(f"{path / 'state.json'}: this is no checkpoint of format {FORMAT}")
    _check_spec(path, head, state.spec)
    weights = _read_tensors(path / "model.safetensors")
    moments = _read_tensors(path / "optimizer.safetensors")
    _check_tensors(path / "model.safetensors", weights, state.model.state_dict())
    _check_tensors(path / "optimizer.safetensors", moments, dict(_expected_moments(state)))
    state.model.load_state_dict(weights)
    layout = state.optimizer.state_dict()["param_groups"]
    by_index = {
        index: {key: moments[f"{name}/{key}"] for key in _MOMENTS}
        for index, name in enumerate(_names(state))
    }
    state.optimizer.load_state_dict({"state": by_index, "param_groups": layout})
    step: int = head["step"]
    return step


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _names(state: State) -> list[str]:
    """Return the parameters' names in the optimizer's order."""
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    groups = state.optimizer.param_groups
    return [names[parameter] for group in groups for parameter in group["params"]]


def _moments(state: State) -> Iterator[tuple[str, Tensor]]:
    held = state.optimizer.state_dict()["state"]
    for index, name in enumerate(_names(state)):
        assert index in held, f"{name} has never had a gradient, so Adam holds nothing for it"
        yield from ((f"{name}/{key}", held[index][key]) for key in _MOMENTS)


def _expected_moments(state: State) -> Iterator[tuple[str, Tensor]]:
    parameters = dict(state.model.named_parameters())
    for name in _names(state):
        for key in _MOMENTS:
            scalar = key == "step"
            yield f"{name}/{key}", torch.zeros(()) if scalar else parameters[name]


def _check_spec(path: Path, head: Mapping[str, Any], spec: ModelSpec) -> None:
    if head.get("spec_hash") == spec_hash(spec):
        return
    try:
        ours = inline_layers(to_document(spec, canonical=True))
        difference = describe_difference(ours, inline_layers(head["spec"]))
    except (KeyError, TypeError) as error:
        raise RunError(f"{path / 'state.json'}: is damaged: no spec inside ({error})") from None
    raise RunError(
        f"{path}: the checkpoint is of another spec: {difference or 'same values, another hash'}; "
        "give the spec it was written with"
    )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}: the checkpoint is damaged: {error}; remove {path.parent} to go on from the "
            "one before"
        ) from None


def _check_tensors(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing = sorted(wanted.keys() - found.keys())
    unexpected = sorted(found.keys() - wanted.keys())
    unlike = [
        f"{name} is {_form(found[name])} instead of {_form(wanted[name])}"
        for name in sorted(wanted.keys() & found.keys())
        if _form(found[name]) != _form(wanted[name])
    ]
    faults = [f"missing: {', '.join(missing[:4])}"] if missing else []
    faults += [f"unexpected: {', '.join(unexpected[:4])}"] if unexpected else []
    faults += unlike[:4]
    if faults:
        total = len(missing) + len(unexpected) + len(unlike)
        raise RunError(
            f"{path}: {total} tensors do not fit the model: {'; '.join(faults)}; the checkpoint "
            "was changed, or written by another version of archspec"
        )


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
