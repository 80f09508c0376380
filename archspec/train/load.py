"""A trained model from a run or a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from archspec.compiler.compile import compile
from archspec.errors import RunError
from archspec.model.transformer import Transformer
from archspec.spec.dump import spec_hash
from archspec.spec.model import ModelSpec
from archspec.spec.read import parse_tree
from archspec.spec.resolve import resolve_model
from archspec.train.checkpoint import HEAD, list_checkpoints, load_weights, read_head
from archspec.train.run_directory import CHECKPOINTS


def find_checkpoint(path: Path) -> Path:
    """Return a checkpoint as it is, or the newest one of a run. Raises RunError."""
    saved = list_checkpoints(path / CHECKPOINTS)
    if saved:
        return saved[-1]
    if not path.is_dir():
        raise RunError(f"{path}: there is no such directory; name a run or one of its checkpoints")
    return path


def load_model_from(path: Path, *, device: str = "cpu") -> tuple[ModelSpec, Transformer]:
    """Load a trained model in fp32, on one device, whatever plan it was trained with.

    Args:
        path: A run directory, of which the newest checkpoint is taken, or a checkpoint.
        device: Where the model goes.

    Returns:
        The spec that is in the checkpoint, and the model in training mode, as compiling leaves it.

    Raises:
        RunError: There is no checkpoint, or it is damaged.

    Example:
        >>> spec, model = load_model_from(Path("runs/first"))
    """
    checkpoint = find_checkpoint(path)
    spec = _read_spec(checkpoint)
    model = compile(spec, device="meta").to_empty(device=device)
    load_weights(checkpoint, model)
    return spec, model


def _read_spec(checkpoint: Path) -> ModelSpec:
    """Return the spec inside. Raises RunError, or SpecError if it breaks the language."""
    head = read_head(checkpoint)
    place = checkpoint / HEAD
    if not isinstance(head.get("spec"), dict):
        raise RunError(f"{place}: is damaged: no spec inside")
    spec = resolve_model(parse_tree(json.dumps(head["spec"]), str(place)))
    if spec_hash(spec) != head.get("spec_hash"):
        raise RunError(f"{place}: is damaged: the spec inside is not the one of its hash")
    return spec
