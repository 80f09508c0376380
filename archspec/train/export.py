"""The weights of a checkpoint as one safetensors file, for other tools."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archspec.errors import RunError
from archspec.train.checkpoint import MODEL, read_head
from archspec.train.files import UNFINISHED, sync
from archspec.train.owed_decay import OwedDecay
from archspec.train.storage import DTYPE_NAMES, StoredTensor, check_files, read_box, read_index

_ALIGNMENT = 8  # bytes, of the header
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def export_weights(checkpoint: Path, out: Path) -> int:
    """Write the weights of a checkpoint into one file, and return its bytes.

    Values are copied chunk by chunk, so memory holds one chunk and never the model. Decay that rows
    of tables owe is applied. Names are those of the built model; the file's metadata have the spec,
    its hash and the step.

    Args:
        checkpoint: Its directory.
        out: File to make; it must not be there.

    Raises:
        RunError: The checkpoint is damaged, or the file exists or cannot be written.
    """
    if out.exists():
        raise RunError(f"{out}: exists already; name another file or remove it")
    head = read_head(checkpoint)
    everything = read_index(checkpoint)
    stored = {
        name.removeprefix(MODEL): tensor
        for name, tensor in everything.items()
        if name.startswith(MODEL)
    }
    check_files(checkpoint, stored)
    draft = out.with_name(f"{UNFINISHED}{out.name}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        size = _write(draft, checkpoint, stored, everything, _metadata(head))
        sync(draft)
        draft.rename(out)
        sync(out.parent)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error}; free space and try again") from None
    finally:
        draft.unlink(missing_ok=True)
    return size


def _metadata(head: Mapping[str, Any]) -> dict[str, str]:
    return {
        "format": "pt",
        "step": str(head["step"]),
        "spec_hash": str(head["spec_hash"]),
        "spec": json.dumps(head["spec"]),
    }


def _write(
    draft: Path,
    checkpoint: Path,
    stored: Mapping[str, StoredTensor],
    everything: Mapping[str, StoredTensor],
    metadata: Mapping[str, str],
) -> int:
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in stored.items():
        start, end = end, end + math.prod(tensor.shape) * tensor.dtype.itemsize
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    first = 8 + len(text)
    with draft.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        _reserve(file.fileno(), first + end)
    for name, tensor in stored.items():
        if math.prod(tensor.shape):
            owed = OwedDecay.find(checkpoint, everything, name)
            _copy(draft, first + header[name]["data_offsets"][0], checkpoint, tensor, owed)
    return first + end


def _reserve(descriptor: int, size: int) -> None:
    """Make a file so large; where it can be asked for, a full disk is an error now."""
    if sys.platform == "linux":
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _copy(
    draft: Path, start: int, checkpoint: Path, tensor: StoredTensor, owed: OwedDecay | None
) -> None:
    bits = _BITS[tensor.dtype.itemsize]
    numpy_bits = torch.empty(0, dtype=bits).numpy().dtype
    whole = np.memmap(draft, numpy_bits, mode="r+", offset=start, shape=tensor.shape or (1,))
    for chunk in tensor.chunks:
        values: Tensor = read_box(checkpoint, chunk, [0] * len(chunk.shape), chunk.shape)
        if owed is not None:
            owed.settle(values, chunk.offsets[0])
        box = tuple(slice(o, o + n) for o, n in zip(chunk.offsets, chunk.shape, strict=True))
        whole[box or ...] = values.contiguous().view(bits).numpy()
    whole.flush()
