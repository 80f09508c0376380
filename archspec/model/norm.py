"""Root-mean-square norm."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archspec.blocks.part import Part, local
from archspec.initialisers import Constant, Initialiser


class RMSNorm(Part):
    """``x / sqrt(mean(x ** 2) + eps) * weight`` (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start as a plain division by the root mean square."""
        return {"weight": Constant(1.0)}

    def forward(self, x: Tensor) -> Tensor:
        """Norm the last axis."""
        return F.rms_norm(x, self.weight.shape, local(self.weight), self.eps)
