"""A spec to a model that is ready to run."""

from __future__ import annotations

import os

import torch

from archspec.compiler.build import build
from archspec.compiler.initialise import find_initialisers, initialise
from archspec.errors import ArchspecError, suggest
from archspec.model.transformer import Transformer
from archspec.quantities import DTYPE_BYTES
from archspec.spec.load import load_model
from archspec.spec.model import ModelSpec


def compile(
    spec: ModelSpec | str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: str = "float32",
    seed: int = 0,
) -> Transformer:
    """Build the model that a spec declares and give it its first values.

    The values depend on the seed and on nothing else; they are the same on every device, and up to
    rounding in every dtype. On the device ``meta`` the model has shapes and no values.

    Args:
        spec: A spec, or the path of a model document.
        device: Where the parameters live.
        dtype: Of all parameters: float32, bfloat16, float16 or float64.
        seed: Seed of the first values.

    Raises:
        SpecError: The document breaks the language.
        ArchspecError: The dtype is unknown, or a parameter has no initialiser.

    Example:
        >>> model = archspec.compile("specs/models/tiny.yaml")
        >>> logits = model(torch.zeros(1, 16, dtype=torch.long))  # [1, 16, vocab_size]
    """
    if not isinstance(spec, ModelSpec):
        spec = load_model(spec)
    model = build(spec, dtype=_torch_dtype(dtype))
    find_initialisers(model)  # before any memory is taken
    if torch.device(device).type != "meta":
        model.to_empty(device=device)
        initialise(model, seed=seed)
    return model


def _torch_dtype(name: str) -> torch.dtype:
    if name not in DTYPE_BYTES:
        raise ArchspecError(f"unknown dtype {name!r}; {suggest(name, DTYPE_BYTES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype
