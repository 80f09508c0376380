"""The norm of all gradients, and clipping by it, whatever meshes the parameters lie on.

torch's own ``clip_grad_norm_`` refuses parameters of two meshes. Every element counts once: the
square of a rank's part is divided by the number of ranks that hold the same, and one sum over all
ranks follows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from archspec.compiler.boxes import held


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float = math.inf) -> Tensor:
    """Scale gradients down in place so that their norm is at most ``max_norm``.

    A collective call where the parameters are laid over ranks: all of them make it.

    Args:
        parameters: Those without a gradient are left out.
        max_norm: Infinity only measures.

    Returns:
        The norm before, a scalar in at least fp32, the same on every rank.
    """
    found = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [held(p.grad).detach() for p in found if p.grad is not None]
    norm = _norm(found, gradients)
    if math.isfinite(max_norm) and gradients:
        # torch's own formula, so that one rank repeats what it did before: at most 1.
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for group in _alike(gradients):
            torch._foreach_mul_(group, factor.to(group[0].dtype))
    return norm


def _norm(parameters: list[nn.Parameter], gradients: list[Tensor]) -> Tensor:
    """Return the norm of all gradients over all ranks."""
    copies = [_copies(p) for p in parameters if p.grad is not None]
    device = gradients[0].device if gradients else torch.device("cpu")
    total = torch.zeros((), dtype=torch.float64, device=device)
    for count in sorted(set(copies)):
        same = [g for g, c in zip(gradients, copies, strict=True) if c == count and g.numel()]
        for group in _alike(same):
            norms = torch.stack(torch._foreach_norm(group)).to(torch.float64)
            total += norms.square().sum() / count
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(total)
    dtypes = {torch.promote_types(g.dtype, torch.float32) for g in gradients}
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
