"""Which implementation of an op runs here, and why.

Four words name them: ``triton`` (GPU kernels), ``numba`` (CPU kernels), ``torch`` (stock ops, any
device) and ``reference`` (the definition). Each op has a row, best first, and takes the first that
does not refuse the tensors. ``ARCHSPEC_KERNELS`` is read at every call: ``auto`` (the default)
means that, any other word demands one implementation of every op that has it, and a demand that
cannot be met raises.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, wraps
from typing import Any

import torch

from archspec.errors import KernelError
from archspec.kernels.autocast import is_autocast, outside_autocast

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
        sizes: Other sizes that may decide, by the name of the op's argument, as ``top_k``.
    """

    device: str
    dtype: torch.dtype
    width: int
    deterministic: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        sizes = "".join(f", {name} {size}" for name, size in self.sizes.items())
        return f"{self.device} with {self.dtype}, width {self.width}{sizes}"


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
        max_sizes: The largest of other sizes that it takes, by name; any where none is given.
        avx512: Whether it keeps sums in as many registers as only AVX-512 has.
    """

    word: str
    module: str
    devices: tuple[str, ...] | None = None
    dtypes: tuple[torch.dtype, ...] = DTYPES
    package: str | None = None
    max_width: int | None = None
    unordered_on: tuple[str, ...] = ()
    max_sizes: Mapping[str, int] = field(default_factory=dict, hash=False)
    avx512: bool = False

    def refusal(self, call: Call) -> str | None:
        """Say why it does not take this call, or None if it does."""
        if self.package is not None and not is_installed(self.package):
            return f"{self.package} is not installed"
        if self.devices is not None and call.device not in self._devices():
            return f"it runs on {' and '.join(self.devices)}"
        if self.avx512 and torch.backends.cpu.get_cpu_capability() != "AVX512":
            return "it is for processors with AVX-512"
        if call.dtype not in self.dtypes:
            return f"it takes {', '.join(map(str, self.dtypes))}"
        if self.max_width is not None and call.width > self.max_width:
            return f"it takes rows of at most {self.max_width} elements"
        for name, most in self.max_sizes.items():
            if call.sizes.get(name, 0) > most:
                return f"it takes a {name} of at most {most}"
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


def _triton(module: str, *, max_width: int | None = None, **max_sizes: int) -> Implementation:
    return Implementation(
        word="triton",
        module=module,
        devices=("cuda",),
        dtypes=(torch.float32, torch.bfloat16, torch.float16),
        package="triton",
        max_width=max_width,
        max_sizes=max_sizes,
    )


def _numba(module: str, *dtypes: torch.dtype, avx512: bool = False) -> Implementation:
    return Implementation(
        word="numba",
        module=module,
        devices=("cpu",),
        dtypes=dtypes,
        package="numba",
        avx512=avx512,
    )


def _stock(module: str, *, unordered_on: tuple[str, ...] = ()) -> Implementation:
    return Implementation(word="torch", module=module, unordered_on=unordered_on)


def _reference(module: str) -> Implementation:
    return Implementation(word="reference", module=module)


_BAG_STOCK = (_stock("embedding_bag.stock"), _reference("embedding_bag.reference"))
_BAG_NUMBA = _numba("embedding_bag.cpu", torch.float32)
# Sums of look-ups keep a whole row in registers.
_BAG_SUMS = (_triton("embedding_bag.gpu", max_width=8192), _BAG_NUMBA, *_BAG_STOCK)
# Sorted in the registers of a warp; slots of 32,768 keys fit 31 bits.
_TOPK_SIZES = {"top_k": 64, "num_keys": 32_768}
_TOPK = (
    _triton("product_key_topk.gpu", **_TOPK_SIZES),
    _numba("product_key_topk.cpu", torch.float32, torch.bfloat16, torch.float16),
    _stock("product_key_topk.stock"),
    _reference("product_key_topk.reference"),
)
_GROUPED = (
    _numba("grouped_matmul.cpu", torch.float32, avx512=True),
    _stock("grouped_matmul.stock"),
    _reference("grouped_matmul.reference"),
)
_ROWS_TRITON = _triton("row_optimizer.gpu", max_width=8192)
_ROWS_STOCK = (_stock("row_optimizer.stock"), _reference("row_optimizer.reference"))
_ROW_SUMS = (
    _ROWS_TRITON,
    _numba("row_optimizer.cpu", torch.float32, torch.bfloat16, torch.float16),
    *_ROWS_STOCK,
)
_ROW_UPDATES = (
    _ROWS_TRITON,
    _numba("row_optimizer.cpu", torch.float32, torch.bfloat16),
    *_ROWS_STOCK,
)

# Op -> implementations, best first.
IMPLEMENTATIONS: Mapping[str, tuple[Implementation, ...]] = {
    # On CPU the stock bag is as fast as memory.
    "embedding_bag": (_triton("embedding_bag.gpu"), *_BAG_STOCK),
    "gather_dot": (_triton("embedding_bag.gpu"), _BAG_NUMBA, *_BAG_STOCK),
    "scatter_rows": _BAG_SUMS,
    "embedding_bag_backward": _BAG_SUMS,
    "product_key_topk": _TOPK,
    "product_key_topk_backward": (
        _triton("product_key_topk.gpu_backward", **_TOPK_SIZES),
        _numba("product_key_topk.cpu_backward", torch.float32, torch.bfloat16, torch.float16),
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


_PLAIN = (torch.Tensor, torch.nn.Parameter)
# Function by what its choice depends on, with the row, whose id is thereby its own.
_chosen: dict[
    tuple[object, ...],
    tuple[Implementation, Callable[..., Any], tuple[Implementation, ...]],
] = {}
_MOST_CHOSEN = 4096


def is_interpreted() -> bool:
    """Say whether Triton kernels run in its interpreter, on CPU tensors, in this process."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def is_plain(*tensors: torch.Tensor) -> bool:
    """Say whether nobody watches an op on these tensors and none of them wants a gradient.

    An implementation may then be called directly, past torch's dispatcher, whose Python side takes
    as long as a small look-up.
    """
    wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return not wants_gradient and is_unwatched(*tensors)


def is_unwatched(*tensors: torch.Tensor) -> bool:
    """Say whether nobody but autograd watches: no tracer, mode, transform or subclass."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_tracing_state() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or any(type(tensor) not in _PLAIN for tensor in tensors)
    )


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
    reason = f"the best one built for {call.device}"
    if word in refusals:
        return _demanded(op_name, call, word, refusals)
    if word != "auto":
        reason = f"{reason}; {VARIABLE}={word} is not built for this op"
    if is_interpreted():
        # The interpreter is for tests, and thousands of times slower: only a demand runs it.
        refusals = {**refusals, "triton": f"only {VARIABLE}=triton runs the interpreter"}
    for candidate in built:
        if refusals[candidate.word] is None:
            passed_over = {name: why for name, why in refusals.items() if why is not None}
            return Choice(candidate, reason, passed_over)
    raise KernelError(
        f"{op_name}: no implementation takes {call.dtype} on {call.device}; use one of "
        f"{', '.join(map(str, DTYPES))}"
    )


def implementation(op_name: str, tensor: torch.Tensor, **sizes: int) -> Callable[..., Any]:
    """Return the function that carries out ``op_name`` for tensors like this one.

    Under autocast it runs outside of it: an op has the dtypes of its arguments, and the matmuls of
    an implementation are not to be cast behind its back.

    Args:
        op_name: As registered.
        tensor: The op's main operand.
        sizes: See :class:`Call`.
    """
    _, function = _choose(op_name, tensor, sizes)
    device = tensor.device.type
    return _outside_autocast(function, device) if is_autocast(device) else function


def chosen_word(op_name: str, tensor: torch.Tensor, **sizes: int) -> str:
    """Return the word of what carries out ``op_name`` for tensors like this one."""
    return _choose(op_name, tensor, sizes)[0].word


def _choose(
    op_name: str, tensor: torch.Tensor, sizes: Mapping[str, int]
) -> tuple[Implementation, Callable[..., Any]]:
    """Return what carries out ``op_name``, and its function."""
    device = tensor.device.type
    deterministic = torch.are_deterministic_algorithms_enabled()
    row = IMPLEMENTATIONS[op_name]
    # Everything that a choice depends on; choosing anew takes longer than a small look-up.
    key = (
        op_name,
        device,
        tensor.dtype,
        tensor.shape[-1],
        deterministic,
        os.environ.get(VARIABLE),
        os.environ.get("TRITON_INTERPRET"),
        explain,
        id(row),
        *sizes.values(),
    )
    known = _chosen.get(key)
    if known is None:
        call = Call(
            device=device,
            dtype=tensor.dtype,
            width=tensor.shape[-1],
            deterministic=deterministic,
            sizes=sizes,
        )
        found = explain(op_name, call).implementation
        known = (found, load(op_name, found), row)
        if len(_chosen) >= _MOST_CHOSEN:
            _chosen.clear()
        _chosen[key] = known
    return known[0], known[1]


@cache
def load(op_name: str, implementation: Implementation) -> Callable[..., Any]:
    """Import the function of an implementation."""
    module = importlib.import_module(f"archspec.kernels.{implementation.module}")
    function: Callable[..., Any] = getattr(module, op_name)
    return function


def _outside_autocast(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with outside_autocast(device):
            return function(*arguments, **options)

    return run


def _demanded(op_name: str, call: Call, word: str, refusals: Mapping[str, str | None]) -> Choice:
    by_word = {candidate.word: candidate for candidate in IMPLEMENTATIONS[op_name]}
    why = refusals[word]
    if why is not None:
        able = [name for name, refusal in refusals.items() if refusal is None]
        raise KernelError(
            f"{op_name}: {VARIABLE}={word} cannot run on {call}: {why}; use one of "
            f"{', '.join(['auto', *able])}"
        )
    return Choice(by_word[word], f"demanded by {VARIABLE}={word}", {})


@cache
def is_installed(package: str) -> bool:
    """Say whether a package can be imported."""
    return importlib.util.find_spec(package) is not None
