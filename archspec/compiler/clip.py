"""The norm of all gradients, and clipping by it, whatever meshes the parameters lie on.

torch's own ``clip_grad_norm_`` refuses parameters of two meshes. Every element counts once: the
square of a rank's part is divided by the number of ranks that hold the same, and one sum over all
ranks follows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import torch
import torch.distributed as dist
from torch import Tensor, nn

from archspec.compiler.boxes import held
from archspec.kernels.row_gradient import RowGradient


@torch.no_grad()
def clip_gradients(
    parameters: Iterable[nn.Parameter],
    max_norm: float = math.inf,
    row_gradients: Mapping[nn.Parameter, RowGradient] = MappingProxyType({}),
) -> Tensor:
    """Scale gradients down so that their norm is at most ``max_norm``.

    Dense gradients are scaled in place. Of collected look-ups only the scale is changed. A
    collective call where the parameters are laid over ranks: all of them make it.

    Args:
        parameters: Those without a gradient are left out.
        max_norm: Infinity only measures.
        row_gradients: The gradients of tables that collect look-ups; see ``blocks.table``.

    Returns:
        The norm before, a scalar in at least fp32, the same on every rank.
    """
    found = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [held(p.grad).detach() for p in found if p.grad is not None]
    collected = {p: rows for p, rows in row_gradients.items() if not rows.is_empty}
    norm = _norm(found, gradients, collected)
    if math.isfinite(max_norm):
        # torch's own formula, so that one rank repeats what it did before: at most 1.
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for group in _alike(gradients):
            torch._foreach_mul_(group, factor.to(group[0].dtype))
        for rows in collected.values():
            rows.scale_(factor.to(rows.scale))
    return norm


def _norm(
    parameters: list[nn.Parameter],
    gradients: list[Tensor],
    collected: Mapping[nn.Parameter, RowGradient],
) -> Tensor:
    """Return the norm of all gradients over all ranks."""
    copies = [_copies(p) for p in parameters if p.grad is not None]
    rows = [(p, gradient.square_norm()) for p, gradient in collected.items()]
    values = [*gradients, *(square for _, square in rows)]
    device = values[0].device if values else torch.device("cpu")
    total = torch.zeros((), dtype=torch.float64, device=device)
    for count in sorted(set(copies)):
        same = [g for g, c in zip(gradients, copies, strict=True) if c == count and g.numel()]
        for group in _alike(same):
            norms = torch.stack(torch._foreach_norm(group)).to(torch.float64)
            total += norms.square().sum() / count
    for parameter, square in rows:
        total += square.to(total) / _copies(parameter)
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(total)
    dtypes = {torch.promote_types(value.dtype, torch.float32) for value in values}
    return total.sqrt().to(torch.float64 if torch.float64 in dtypes else torch.float32)


def _alike(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Group tensors by device and dtype, as torch's fused loops want them."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return list(groups.values())


def _copies(parameter: nn.Parameter) -> int:
    """Return how many ranks hold the same part of a parameter as this one does."""
    if not dist.is_initialized():
        return 1
    ranks = dist.get_world_size()
    if type(parameter) is nn.Parameter:
        return ranks
    from torch.distributed.tensor import DTensor

    if not isinstance(parameter, DTensor):
        return ranks
    for axis, placement in enumerate(parameter.placements):
        # Not only Shard: torch's strided shard is no subclass of it.
        if not placement.is_replicate():
            ranks //= parameter.device_mesh.size(axis)
    return ranks
