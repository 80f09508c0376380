"""Checkpoints: ``step_000120/`` with tensors in shards, an index and ``state.json``; never pickle.

Any number of ranks writes one and any other number reads it. There is no other state: data and
first values follow from the seed, and nothing is drawn while training. A checkpoint that has its
name is complete; an older one goes only after a newer is there.
"""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save, save

from archspec.errors import RunError
from archspec.spec.dump import spec_hash, to_document
from archspec.spec.model import ModelSpec
from archspec.train.difference import describe_difference, inline_layers
from archspec.train.files import read_json, remove_directory
from archspec.train.optimizer_state import StateToFill, kept_state
from archspec.train.owed_decay import OwedDecay
from archspec.train.storage import (
    ShardReader,
    ShardWriter,
    StoredTensor,
    check_files,
    read_index,
)

FORMAT = 2
HEAD = "state.json"
MODEL = "model/"  # what the names of weights begin with in the index
_NO_GROUP = "torch.distributed is disabled"  # how torch warns of a single process
_NAME = re.compile(r"step_([0-9]+)")


@dataclass(frozen=True, slots=True)
class State:
    """What is saved: the objects that hold it, or that it is loaded into.

    Attributes:
        extra: Numbers beside the tensors, by name, changed in place; the first rank's are saved.
    """

    spec: ModelSpec
    model: nn.Module
    optimizer: torch.optim.Optimizer
    extra: dict[str, float | list[float]] = field(default_factory=dict)


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
    """Write a checkpoint, then remove all but the newest ``keep``.

    Every rank of the process group calls it, and each writes a part.

    Raises:
        RunError: A rank cannot write; what was there before is intact.
    """
    path = folder / f"step_{step:06d}"
    writer = _writer(path, state, step)
    with _reported(path, writer), _single_process_is_fine():
        save(_held(state), storage_writer=writer)
    _prune(folder, keep)
    return path


class BackgroundSaver:
    """Saves checkpoints while training goes on: it waits for a copy of the state, not for the disk.

    One save is under way at a time. Its collectives run in another thread, so they have a process
    group of their own.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder = folder
        self._keep = keep
        self._group = dist.new_group(backend="gloo") if dist.is_initialized() else None
        if self._group is None:  # for good: filters are the process's, and it writes in a thread
            warnings.filterwarnings("ignore", message=_NO_GROUP)
        self._running: tuple[Path, ShardWriter, Future[Any]] | None = None

    def save(self, state: State, *, step: int) -> Path:
        """Start writing a checkpoint, after the one before. Raises RunError as that one fails."""
        self.wait()
        path = self._folder / f"step_{step:06d}"
        writer = _writer(path, state, step)
        with _single_process_is_fine():
            future = async_save(_held(state), storage_writer=writer, process_group=self._group)
        assert isinstance(future, Future), "staging is asked to be synchronous"
        self._running = (path, writer, future)
        return path

    @property
    def is_done(self) -> bool:
        """Whether there is a save to hear the end of, without waiting."""
        return self._running is not None and self._running[2].done()

    def wait(self) -> None:
        """Wait for the save under way. Raises RunError if it failed."""
        if self._running is None:
            return
        (path, writer, future), self._running = self._running, None
        with _reported(path, writer):
            future.result()
        _prune(self._folder, self._keep)


def load_checkpoint(path: Path, state: State) -> int:
    """Load a checkpoint into ``state`` and return its step; every rank of the group calls it.

    Nothing is changed unless all of it fits.

    Raises:
        RunError: It is damaged, of another spec, or its tensors are not the model's.
    """
    head = read_head(path)
    _check_spec(path, head, state.spec)
    stored = read_index(path)
    kept = StateToFill(state.model, state.optimizer, stored)
    wanted = {**_weights(state.model), **kept.tensors}
    _check_tensors(path, stored, wanted)
    _read(path, stored, wanted)
    kept.take()
    state.extra.clear()
    state.extra.update(head.get("extra", {}))
    step: int = head["step"]
    return step


def load_weights(path: Path, model: nn.Module) -> None:
    """Load the weights of a checkpoint, and nothing else, whatever dtype they were kept in.

    Decay that rows of tables owe is applied.

    Raises:
        RunError: It is damaged, or its weights are not the model's.
    """
    stored = read_index(path)
    weights = {name: tensor for name, tensor in stored.items() if name.startswith(MODEL)}
    wanted = _weights(model)
    _check_tensors(path, weights, wanted, with_dtype=False)
    _read(path, weights, wanted)
    for name, tensor in wanted.items():
        owed = OwedDecay.find(path, stored, name.removeprefix(MODEL))
        if owed is not None:
            owed.settle(tensor)


def _read(path: Path, stored: Mapping[str, StoredTensor], wanted: dict[str, Tensor]) -> None:
    _on_first_rank(lambda: check_files(path, stored))
    with _reported(path, None), _single_process_is_fine():
        load(wanted, storage_reader=ShardReader(path, stored))


def read_head(path: Path) -> dict[str, Any]:
    """Read a checkpoint's step, spec and hash of the spec. Raises RunError."""
    head = read_json(path / HEAD)
    if head.get("format") != FORMAT or not isinstance(head.get("step"), int):
        raise RunError(f"{path / HEAD}: this is no checkpoint of format {FORMAT}")
    return head


def _writer(path: Path, state: State, step: int) -> ShardWriter:
    head = {
        "format": FORMAT,
        "step": step,
        "spec_hash": spec_hash(state.spec),
        "spec": to_document(state.spec, canonical=True),
        "extra": state.extra,
    }
    return ShardWriter(path, {HEAD: json.dumps(head, indent=1)})


def _prune(folder: Path, keep: int) -> None:
    if not _is_first_rank():
        return
    for old in list_checkpoints(folder)[:-keep]:
        remove_directory(old)


@contextlib.contextmanager
def _reported(path: Path, writer: ShardWriter | None) -> Iterator[None]:
    """Turn the failure of any rank into one error that says what to do."""
    try:
        yield
    except CheckpointException as error:
        rank, (reason, _) = next(iter(error.failures.items()))
        if writer is not None and _is_first_rank():
            writer.discard()
        if not isinstance(reason, Exception):
            raise reason from None  # an interrupt is no failure
        if writer is None:
            raise RunError(f"{path}: rank {rank} cannot load the checkpoint: {reason}") from None
        raise RunError(
            f"{path}: rank {rank} cannot write the checkpoint: {reason}; earlier ones are intact, "
            "so free space and resume the run"
        ) from None


@contextlib.contextmanager
def _single_process_is_fine() -> Iterator[None]:
    """Silence the reminder that no process group is there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_NO_GROUP)
        yield


def _is_first_rank() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def _on_first_rank(check: Callable[[], None]) -> None:
    """Let one rank do a check for all: thousands would wear the file system down."""
    problem: list[str | None] = [None]
    if _is_first_rank():
        try:
            check()
        except RunError as error:
            problem = [str(error)]
    if dist.is_initialized():
        dist.broadcast_object_list(problem, src=0)
    if problem[0] is not None:
        raise RunError(problem[0])


def _held(state: State) -> dict[str, Tensor]:
    return {**_weights(state.model), **dict(kept_state(state.model, state.optimizer))}


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {f"{MODEL}{name}": value for name, value in model.state_dict().items()}


def _check_spec(path: Path, head: Mapping[str, Any], spec: ModelSpec) -> None:
    if head.get("spec_hash") == spec_hash(spec):
        return
    try:
        ours = inline_layers(to_document(spec, canonical=True))
        difference = describe_difference(ours, inline_layers(head["spec"]))
    except (KeyError, TypeError) as error:
        raise RunError(f"{path / HEAD}: is damaged: no spec inside ({error})") from None
    raise RunError(
        f"{path}: the checkpoint is of another spec: {difference or 'same values, another hash'}; "
        "give the spec it was written with"
    )


def _check_tensors(
    path: Path,
    found: Mapping[str, StoredTensor],
    wanted: Mapping[str, Tensor],
    *,
    with_dtype: bool = True,
) -> None:
    missing = sorted(wanted.keys() - found.keys())
    unexpected = sorted(found.keys() - wanted.keys())
    unlike = [
        f"{name} is {_form(found[name])} instead of {_form(wanted[name])}"
        for name in sorted(wanted.keys() & found.keys())
        if tuple(found[name].shape) != tuple(wanted[name].shape)
        or (with_dtype and found[name].dtype != wanted[name].dtype)
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


def _form(tensor: Tensor | StoredTensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
