"""Which implementation of an op runs here, and why.

Four words name them: ``triton`` (GPU kernels), ``numba`` (CPU kernels), ``torch`` (stock ops, any
device) and ``reference`` (the definition). Each op has a row, best first, and takes the first that
does not refuse the tensors. ``ARCHSPEC_KERNELS`` is read at every call: ``auto`` (the default)
means that, any other word demands one implementation, and a demand that cannot be met raises.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from archspec.errors import KernelError

VARIABLE = "ARCHSPEC_KERNELS"
CHOICES = ("auto", "reference", "torch", "numba", "triton")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a choice looks at.

    Args:
        device: Type of device, as ``cuda``.
        dtype: Of the op's main operand: the table, the queries, the rows.
        width: Elements in a row of it.
        deterministic: Whether ``torch.use_deterministic_algorithms`` is on.
    """

    device: str
    dtype: torch.dtype
    width: int
    deterministic: bool = False

    def __str__(self) -> str:
        return f"{self.device} with {self.dtype}, width {self.width}"


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """One way to carry out an op, and what it takes.

    Args:
        word: Its name in ``ARCHSPEC_KERNELS``.
        module: Below ``archspec.kernels``; holds a function with the op's name.
        devices: Types of device it runs on; None for all.
        dtypes: What it takes.
        package: What must be installed besides torch.
        max_width: Elements of the widest row it takes; None for any.
        unordered_on: Types of device where its sums have no fixed order.
    """

    word: str
    module: str
    devices: tuple[str, ...] | None = None
    dtypes: tuple[torch.dtype, ...] = DTYPES
    package: str | None = None
    max_width: int | None = None
    unordered_on: tuple[str, ...] = ()

    def refusal(self, call: Call) -> str | None:
        """Say why it does not take this call, or None if it does."""
        if self.package is not None and not _is_installed(self.package):
            return f"{self.package} is not installed"
        if self.devices is not None and call.device not in self._devices():
            return f"it runs on {' and '.join(self.devices)}"
        if call.dtype not in self.dtypes:
            return f"it takes {', '.join(map(str, self.dtypes))}"
        if self.max_width is not None and call.width > self.max_width:
            return f"it takes rows of at most {self.max_width} elements"
        if call.deterministic and call.device in self.unordered_on:
            return "its sums have no fixed order, and deterministic algorithms are asked for"
        return None

    def _devices(self) -> tuple[str, ...]:
        interpreted = self.word == "triton" and is_interpreted()
        return (*(self.devices or ()), *(("cpu",) if interpreted else ()))


@dataclass(frozen=True)
class Choice:
    """The implementation that runs, the reason, and what was passed over for which reasons."""

    implementation: Implementation
    reason: str
    passed_over: Mapping[str, str]


def _triton(module: str, *, max_width: int | None = None) -> Implementation:
    return Implementation(
        word="triton",
        module=module,
        devices=("cuda",),
        dtypes=(torch.float32, torch.bfloat16, torch.float16),
        package="triton",
        max_width=max_width,
    )


def _numba(module: str, *dtypes: torch.dtype) -> Implementation:
    return Implementation(
        word="numba", module=module, devices=("cpu",), dtypes=dtypes, package="numba"
    )


def _stock(module: str, *, unordered_on: tuple[str, ...] = ()) -> Implementation:
    return Implementation(word="torch", module=module, unordered_on=unordered_on)


def _reference(module: str) -> Implementation:
    return Implementation(word="reference", module=module)


_BAG = (_stock("embedding_bag.stock"), _reference("embedding_bag.reference"))
_BAG_ADJOINTS = (_numba("embedding_bag.cpu", torch.float32), *_BAG)
_TOPK_NUMBA = _numba("product_key_topk.cpu", torch.float32, torch.bfloat16, torch.float16)
_TOPK = (
    _TOPK_NUMBA,
    _stock("product_key_topk.stock"),
    _reference("product_key_topk.reference"),
)
_GROUPED = (_stock("grouped_matmul.stock"), _reference("grouped_matmul.reference"))
_ROW_SUMS = (
    _numba("row_optimizer.cpu", torch.float32, torch.bfloat16, torch.float16),
    _stock("row_optimizer.stock"),
    _reference("row_optimizer.reference"),
)
_ROW_UPDATES = (
    _numba("row_optimizer.cpu", torch.float32, torch.bfloat16),
    _stock("row_optimizer.stock"),
    _reference("row_optimizer.reference"),
)

# Op -> implementations, best first.
IMPLEMENTATIONS: Mapping[str, tuple[Implementation, ...]] = {
    "embedding_bag": _BAG,
    "gather_dot": _BAG_ADJOINTS,
    "scatter_rows": _BAG_ADJOINTS,
    "product_key_topk": _TOPK,
    "product_key_topk_backward": (
        _TOPK_NUMBA,
        _stock("product_key_topk.stock", unordered_on=("cuda",)),
        _reference("product_key_topk.reference"),
    ),
    "grouped_matmul": _GROUPED,
    "grouped_outer": _GROUPED,
    "sum_rows": _ROW_SUMS,
    "row_square_norms": _ROW_SUMS,
    "row_adam_": _ROW_UPDATES,
    "row_adagrad_": _ROW_UPDATES,
    "row_sgd_": _ROW_UPDATES,
}


def is_interpreted() -> bool:
    """Say whether Triton kernels run in its interpreter, on CPU tensors, in this process."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def explain(op_name: str, call: Call) -> Choice:
    """Choose the implementation for a call, and say why.

    Raises:
        KernelError: The dtype has no implementation, ``ARCHSPEC_KERNELS`` is not one of its words,
            or it demands an implementation that cannot run.
    """
    built = IMPLEMENTATIONS[op_name]
    word = os.environ.get(VARIABLE, "auto")
    if word not in CHOICES:
        raise KernelError(
            f"{op_name}: {VARIABLE}={word} is not a choice; use one of {', '.join(CHOICES)}"
        )
    refusals = {candidate.word: candidate.refusal(call) for candidate in built}
    if word != "auto":
        return _demanded(op_name, call, word, refusals)
    if is_interpreted():
        # The interpreter is for tests, and thousands of times slower: only a demand runs it.
        refusals = {**refusals, "triton": f"only {VARIABLE}=triton runs the interpreter"}
    for candidate in built:
        if refusals[candidate.word] is None:
            passed_over = {name: why for name, why in refusals.items() if why is not None}
            return Choice(candidate, f"the best one built for {call.device}", passed_over)
    raise KernelError(
        f"{op_name}: no implementation takes {call.dtype} on {call.device}; use one of "
        f"{', '.join(map(str, DTYPES))}"
    )


def implementation(op_name: str, tensor: torch.Tensor) -> Callable[..., Any]:
    """Return the function that carries out ``op_name`` for tensors like this one."""
    call = Call(
        device=tensor.device.type,
        dtype=tensor.dtype,
        width=tensor.shape[-1],
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    return load(op_name, explain(op_name, call).implementation)


@cache
def load(op_name: str, implementation: Implementation) -> Callable[..., Any]:
    """Import the function of an implementation."""
    module = importlib.import_module(f"archspec.kernels.{implementation.module}")
    function: Callable[..., Any] = getattr(module, op_name)
    return function


def _demanded(op_name: str, call: Call, word: str, refusals: Mapping[str, str | None]) -> Choice:
    by_word = {candidate.word: candidate for candidate in IMPLEMENTATIONS[op_name]}
    why = refusals[word] if word in by_word else "not built for this op"
    if why is not None:
        able = [name for name, refusal in refusals.items() if refusal is None]
        raise KernelError(
            f"{op_name}: {VARIABLE}={word} cannot run on {call}: {why}; use one of "
            f"{', '.join(['auto', *able])}"
        )
    return Choice(by_word[word], f"demanded by {VARIABLE}={word}", {})


@cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
