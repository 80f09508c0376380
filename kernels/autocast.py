"""What ``torch.autocast`` means for the ops.

An op runs in the dtypes of its arguments, whatever autocast says, so that no table is ever copied.
The public functions that are matmuls (scoring by product keys, grouped matmul) cast their arguments
beforehand, as autocast does for stock matmuls.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def is_autocast(device: str) -> bool:
    """Say whether autocast is on for a type of device; one that knows no autocast has it off."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def outside_autocast(device: str) -> AbstractContextManager[object]:
    """Return a context where matmuls run in the dtypes of their arguments."""
    return torch.autocast(device, enabled=False) if is_autocast(device) else nullcontext()


def cast_for_matmul(*matrices: Tensor) -> tuple[Tensor, ...]:
    """Cast to the dtype of autocast where that is on; as for stock matmuls, fp64 stays."""
    device = matrices[0].device.type
    if not is_autocast(device):
        return matrices
    dtype = torch.get_autocast_dtype(device)
    return tuple(m if m.dtype == torch.float64 else m.to(dtype) for m in matrices)
