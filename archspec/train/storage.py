"""Sharded tensors on disk: a safetensors file for each rank, and an index of them all in JSON.

This is the storage below ``torch.distributed.checkpoint``, which plans who writes and reads what:
every value once, whatever the mesh it is written from or read into. Its own storage keeps the index
as a pickle, which a stranger's file could run code from; this one holds tensors and plain text.

``index.json`` holds each tensor's dtype, shape and chunks: file, key in the file, offsets, shape.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    LoadPlanner,
    SavePlan,
    SavePlanner,
    WriteItem,
)
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from archspec.errors import RunError
from archspec.train.files import UNFINISHED, read_json, sync

INDEX = "index.json"

# Element types by the name that safetensors has for them.
DTYPE_NAMES: Mapping[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A box of a tensor, and where it lies.

    Attributes:
        file: Name of the safetensors file.
        key: Name of the chunk in it.
        offsets: First index of the box in each dimension.
        shape: Its extent.
    """

    file: str
    key: str
    offsets: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A whole tensor: the chunks cover it, each element once."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    chunks: tuple[Chunk, ...]


def read_index(folder: Path) -> dict[str, StoredTensor]:
    """Read which tensors a folder holds. Raises RunError."""
    path = folder / INDEX
    content = read_json(path)
    try:
        return {name: _stored(entry) for name, entry in content.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path}: is damaged: {error!r}") from None


def check_files(folder: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Check that the files hold what the index says; values themselves are not read.

    Raises:
        RunError: A file is missing, cut short or damaged, or has another tensor than the index
            says, or chunks do not add up to their tensor.
    """
    by_file: dict[str, list[tuple[Chunk, torch.dtype]]] = {}
    for name, tensor in tensors.items():
        held = sum(math.prod(chunk.shape) for chunk in tensor.chunks)
        if held != math.prod(tensor.shape):
            raise RunError(
                f"{folder / INDEX}: is damaged: the chunks of {name} have {held} elements, and "
                f"the whole {math.prod(tensor.shape)}"
            )
        for chunk in tensor.chunks:
            by_file.setdefault(chunk.file, []).append((chunk, tensor.dtype))
    for file, chunks in sorted(by_file.items()):
        with _opened(folder / file) as content:
            for chunk, dtype in chunks:
                found = content.get_slice(chunk.key)
                form = (tuple(found.get_shape()), found.get_dtype())
                if form != (chunk.shape, DTYPE_NAMES[dtype]):
                    raise RunError(
                        f"{folder / file}: is damaged: {chunk.key} is {form[1]}{list(form[0])} and "
                        f"not {DTYPE_NAMES[dtype]}{list(chunk.shape)}"
                    )


def read_box(folder: Path, chunk: Chunk, offsets: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """Read a box of a chunk, its offsets counted within the chunk. Raises RunError."""
    box = tuple(slice(o, o + n) for o, n in zip(offsets, lengths, strict=True))
    with _opened(folder / chunk.file) as content:
        found: Tensor = content.get_slice(chunk.key)[box] if box else content.get_tensor(chunk.key)
        return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as content:
            yield content
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing") from None
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: is damaged: {error}") from None


class ShardWriter(StorageWriter):
    """Writes a folder that gets its name once every rank has its part on disk.

    Args:
        path: The folder to make; nothing of that name may be there.
        notes: Texts to put beside the tensors, by file name.
    """

    def __init__(self, path: Path, notes: Mapping[str, str]) -> None:
        self._path = path
        self._notes = notes
        self._folder = path.with_name(f"{UNFINISHED}{path.name}")  # the same for all ranks

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:  # noqa: ARG003
        """Take no other place than the folder given."""
        return False

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Hold nothing that a new checkpoint must forget."""

    def set_up_storage_writer(self, is_coordinator: bool, *_: Any, **__: Any) -> None:
        """Make the folder; no rank writes before the coordinator has joined the planning."""
        if is_coordinator:
            self.discard()
            self._folder.mkdir(parents=True)

    def discard(self) -> None:
        """Remove what an earlier attempt, or this one, left unfinished."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Give each rank the name of its file."""
        return [
            replace(plan, storage_data=f"shard_{rank:05d}.safetensors")
            for rank, plan in enumerate(plans)
        ]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's part to disk, and say where each box went."""
        tensors: dict[str, Tensor] = {}
        results = []
        for item in plan.items:
            key = item.index.fqn
            if key in tensors:
                key = f"{key}#{len(tensors)}"
            value = planner.resolve_data(item)
            assert isinstance(value, Tensor), f"{item.index.fqn} is no tensor"
            tensors[key] = _owned(value)
            chunk = _written(item, plan.storage_data, key)
            results.append(
                WriteResult(index=item.index, size_in_bytes=value.nbytes, storage_data=chunk)
            )
        if tensors:
            path = self._folder / plan.storage_data
            save_file(tensors, path)
            sync(path)
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write the index and give the folder its name, when all ranks have written their part."""
        tensors: dict[str, Any] = {}
        for result in (result for each in results for result in each):
            whole = metadata.state_dict_metadata[result.index.fqn]
            assert isinstance(whole, TensorStorageMetadata), f"{result.index.fqn} is no tensor"
            entry = tensors.setdefault(
                result.index.fqn,
                {
                    "dtype": DTYPE_NAMES[whole.properties.dtype],
                    "shape": list(whole.size),
                    "chunks": [],
                },
            )
            entry["chunks"].append(result.storage_data)
        index = json.dumps(dict(sorted(tensors.items())))
        for name, text in {**self._notes, INDEX: index}.items():
            (self._folder / name).write_text(text)
            sync(self._folder / name)
        sync(self._folder)
        self._folder.rename(self._path)
        sync(self._path.parent)


class ShardReader(StorageReader):
    """Reads boxes of what :class:`ShardWriter` wrote.

    Args:
        folder: The folder.
        tensors: What it holds, from :func:`read_index`.
    """

    def __init__(self, folder: Path, tensors: Mapping[str, StoredTensor]) -> None:
        self._folder = folder
        self._tensors = tensors

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:  # noqa: ARG003
        """Take no other place than the folder given."""
        return False

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Hold nothing that another checkpoint must forget."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        """Tell the planner what there is."""
        return Metadata(
            state_dict_metadata={
                name: TensorStorageMetadata(
                    properties=TensorProperties(dtype=tensor.dtype),
                    size=torch.Size(tensor.shape),
                    chunks=[
                        ChunkStorageMetadata(torch.Size(chunk.offsets), torch.Size(chunk.shape))
                        for chunk in tensor.chunks
                    ],
                )
                for name, tensor in self._tensors.items()
            },
            storage_data=dict(_by_place(self._tensors)),
        )

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *_: Any, **__: Any
    ) -> None:
        """Keep where each box lies."""
        self._places = metadata.storage_data

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Leave the plans as they are."""
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Copy every box that this rank needs into its place."""
        for item in plan.items:
            chunk: Chunk = self._places[item.storage_index]
            target = planner.resolve_tensor(item).detach()
            target.copy_(read_box(self._folder, chunk, item.storage_offsets, item.lengths))
            planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done


def _stored(entry: Mapping[str, Any]) -> StoredTensor:
    return StoredTensor(
        dtype=_DTYPES[entry["dtype"]],
        shape=_sizes(entry["shape"]),
        chunks=tuple(
            Chunk(
                file=Path(chunk["file"]).name,  # never outside of the folder
                key=chunk["key"],
                offsets=_sizes(chunk["offsets"]),
                shape=_sizes(chunk["shape"]),
            )
            for chunk in entry["chunks"]
        ),
    )


def _sizes(values: Any) -> tuple[int, ...]:
    sizes = tuple(int(value) for value in values)
    if any(size < 0 for size in sizes):
        raise ValueError(f"sizes cannot be negative, but are {sizes}")
    return sizes


def _owned(tensor: Tensor) -> Tensor:
    """Return the values in CPU memory of their own, copied only if they are not already."""
    tensor = tensor.detach().cpu().contiguous()
    whole = tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if whole else tensor.clone()


def _written(item: WriteItem, file: str, key: str) -> dict[str, Any]:
    data = item.tensor_data
    assert data is not None, f"{item.index.fqn} is no tensor"
    offsets, shape = list(data.chunk.offsets), list(data.chunk.sizes)
    return {"file": file, "key": key, "offsets": offsets, "shape": shape}


def _by_place(tensors: Mapping[str, StoredTensor]) -> Iterator[tuple[MetadataIndex, Chunk]]:
    for name, tensor in tensors.items():
        for chunk in tensor.chunks:
            yield MetadataIndex(name, torch.Size(chunk.offsets)), chunk
