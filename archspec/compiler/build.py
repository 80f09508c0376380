"""A spec to a module without memory."""

from __future__ import annotations

import torch

from archspec.model.transformer import Transformer
from archspec.spec.model import ModelSpec


def build(spec: ModelSpec, *, dtype: torch.dtype = torch.float32) -> Transformer:
    """Build the model on the meta device: shapes and structure, no memory and no values."""
    with torch.device("meta"):
        return Transformer(spec).to(dtype)
