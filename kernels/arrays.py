"""Tensors as numpy arrays over the same memory, for compiled CPU kernels.

``Tensor.numpy`` marks the memory as never to be resized. FSDP frees and fills parameters by
resizing, so a parameter that a kernel once read that way could not be sharded again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return a contiguous CPU tensor as an array; both keep the memory alive.

    Raises:
        TypeError: numpy has no such element type.
    """
    if tensor.numel() == 0:
        return np.empty(tuple(tensor.shape), _numpy_dtype(tensor.dtype))
    assert tensor.is_contiguous(), f"a tensor of strides {tensor.stride()} is not contiguous"
    return np.asarray(_Memory(tensor))


class _Memory:
    """What numpy asks for: the address and how to read it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.__array_interface__ = {
            "version": 3,
            "data": (tensor.data_ptr(), False),
            "shape": tuple(tensor.shape),
            "typestr": _numpy_dtype(tensor.dtype).str,
        }


@cache
def _numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    return torch.empty(0, dtype=dtype).numpy().dtype
