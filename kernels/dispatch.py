"""Which implementation of an op runs here, and why.

``ARCHSPEC_KERNELS`` is read at every call: ``auto`` (the default) takes the first implementation
of an op's row, any other word demands that one, and a demand that cannot be met raises.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from archspec.errors import KernelError

VARIABLE = "ARCHSPEC_KERNELS"
CHOICES = ("auto", "reference", "torch", "triton")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

# Op -> implementation -> module below archspec.kernels, best first. The module's function has the
# op's name.
IMPLEMENTATIONS: Mapping[str, Mapping[str, str]] = {
    "embedding_bag": {"torch": "embedding_bag.cpu", "reference": "embedding_bag.reference"},
    "gather_dot": {"torch": "embedding_bag.cpu", "reference": "embedding_bag.reference"},
    "scatter_rows": {"torch": "embedding_bag.cpu", "reference": "embedding_bag.reference"},
    "product_key_topk": {
        "torch": "product_key_topk.cpu",
        "reference": "product_key_topk.reference",
    },
    "product_key_topk_backward": {
        "torch": "product_key_topk.cpu",
        "reference": "product_key_topk.reference",
    },
    "grouped_matmul": {"torch": "grouped_matmul.cpu", "reference": "grouped_matmul.reference"},
    "grouped_outer": {"torch": "grouped_matmul.cpu", "reference": "grouped_matmul.reference"},
}


def explain(op_name: str, device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    """Name the implementation that runs for these tensors, and say why.

    Raises:
        KernelError: The dtype has no implementation, ``ARCHSPEC_KERNELS`` is not one of its words,
            or it demands an implementation that cannot run.
    """
    built = IMPLEMENTATIONS[op_name]
    if dtype not in DTYPES:
        raise KernelError(
            f"{op_name}: no implementation takes {dtype}; use one of {', '.join(map(str, DTYPES))}"
        )
    choice = os.environ.get(VARIABLE, "auto")
    if choice not in CHOICES:
        raise KernelError(
            f"{op_name}: {VARIABLE}={choice} is not a choice; use one of {', '.join(CHOICES)}"
        )
    if choice == "auto":
        return next(iter(built)), f"the best one built for {device.type} and {dtype}"
    if choice not in built:
        raise KernelError(
            f"{op_name}: {VARIABLE}={choice} cannot run on {device.type} with {dtype}: "
            f"not built into this version; use auto or one of {', '.join(built)}"
        )
    return choice, f"demanded by {VARIABLE}={choice}"


def implementation(op_name: str, tensor: torch.Tensor) -> Callable[..., Any]:
    """Return the function that carries out ``op_name`` for tensors like this one."""
    name, _ = explain(op_name, tensor.device, tensor.dtype)
    return _load(op_name, name)


@cache
def _load(op_name: str, name: str) -> Callable[..., Any]:
    module = importlib.import_module(f"archspec.kernels.{IMPLEMENTATIONS[op_name][name]}")
    function: Callable[..., Any] = getattr(module, op_name)
    return function
