"""The contract every op of ``archspec.kernels`` passes.

A test file inherits :class:`KernelContract` once per registered op and declares the op's name, its
reference and a sample of its arguments. Comparisons use the error ratio, the norm of the difference
over the norm of the reference: element-wise tolerances either pass everything near a large value
or fail on a zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

# Imported for registration, which the contract looks up by name.
import archspec.kernels.embedding_bag
import archspec.kernels.grouped_matmul
import archspec.kernels.product_key_topk  # noqa: F401

Args = tuple[Any, ...]
Outputs = tuple[Tensor, ...]

# Largest error ratio against the reference in fp64; a 16-bit result is rounded once, by 2^-9.
ERROR_RATIOS = {
    torch.float64: 1e-13,
    torch.float32: 1e-6,
    torch.bfloat16: 2**-8,
    torch.float16: 2**-8,
}


class KernelContract(ABC):
    """Inherit, declare ``op_name``, ``reference`` and ``sample``, and get the tests.

    Each test draws its own sample. Gradients are checked in every floating-point argument.
    """

    op_name: ClassVar[str]
    # Whether the reference is made of matmuls, so that its FLOPs can be counted.
    reference_is_matmuls: ClassVar[bool] = True

    @abstractmethod
    def reference(self, *args: Any) -> Any:
        """Carry out the op by its definition; takes fp64 and plain autograd."""

    @abstractmethod
    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        """Draw arguments for this many tokens, with odd sizes everywhere else."""

    def documented_flops(self, *args: Any) -> int:
        """Return the FLOPs that the op's documentation states; for references without matmuls."""
        raise NotImplementedError(f"{type(self).__name__} declares no documented_flops")

    @property
    def op(self) -> Any:
        """The registered op."""
        return getattr(torch.ops.archspec, self.op_name).default

    @pytest.fixture(autouse=True)
    def _seed(self) -> None:
        torch.manual_seed(0)

    @pytest.mark.parametrize("dtype", ERROR_RATIOS)
    def test_values_and_gradients_match_the_reference(self, dtype: torch.dtype) -> None:
        """Values and gradients equal those of the reference in fp64, within the error ratio."""
        args = with_grad(self.sample(dtype, 9))
        exact_args = with_grad(cast(args, torch.float64))
        outputs, exact = as_tuple(self.op(*args)), as_tuple(self.reference(*exact_args))
        for output, value in zip(outputs, exact, strict=True):
            assert_close(output, value, ERROR_RATIOS[dtype])
        cotangents = tuple(torch.randn_like(output) for output in differentiable(outputs))
        grads = gradients(outputs, args, cotangents)
        exact_grads = gradients(exact, exact_args, cast(cotangents, torch.float64))
        for grad, value in zip(grads, exact_grads, strict=True):
            assert_close(grad, value, ERROR_RATIOS[dtype])

    def test_gradcheck(self) -> None:
        """The backward is the derivative of the forward."""
        args = with_grad(self.sample(torch.float64, 3))
        assert torch.autograd.gradcheck(self.op, args)

    def test_gradgradcheck(self) -> None:
        """The derivative of the backward is right."""
        args = with_grad(self.sample(torch.float64, 3))
        assert torch.autograd.gradgradcheck(self.op, args)

    @pytest.mark.parametrize("dtype", ERROR_RATIOS)
    def test_meta_outputs_look_like_real_ones(self, dtype: torch.dtype) -> None:
        """The fake gives the shapes, strides and dtypes of the real op."""
        args = self.sample(dtype, 5)
        real, meta = as_tuple(self.op(*args)), as_tuple(self.op(*to_meta(args)))
        assert [describe(t) for t in meta] == [describe(t) for t in real]

    def test_opcheck(self) -> None:
        """Schema, autograd registration, fake and AOT dispatch with symbolic sizes agree."""
        torch.library.opcheck(self.op, with_grad(self.sample(torch.float32, 4)))

    def test_flops_equal_those_of_the_reference(self) -> None:
        """The formula equals a count of stock matmuls, on real and on meta tensors."""
        args = self.sample(torch.float32, 5)
        expected = (
            count_flops(self.reference, args)
            if self.reference_is_matmuls
            else self.documented_flops(*args)
        )
        assert expected > 0
        assert count_flops(self.op, args) == expected
        assert count_flops(self.op, to_meta(args)) == expected

    def test_is_bitwise_reproducible(self) -> None:
        """Two calls give the same bits."""
        args = self.sample(torch.float32, 64)
        first, second = as_tuple(self.op(*args)), as_tuple(self.op(*args))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_takes_zero_tokens(self) -> None:
        """An empty batch gives outputs of the right shape and zero gradients."""
        args = with_grad(self.sample(torch.float32, 0))
        outputs, exact = as_tuple(self.op(*args)), as_tuple(self.reference(*args))
        assert [(t.shape, t.dtype) for t in outputs] == [(t.shape, t.dtype) for t in exact]
        cotangents = tuple(torch.ones_like(output) for output in differentiable(outputs))
        for grad in gradients(outputs, args, cotangents):
            assert not grad.any()

    def test_reads_no_uninitialised_memory(self) -> None:
        """Outputs do not depend on what fresh memory holds."""
        args = self.sample(torch.float32, 9)
        clean = as_tuple(self.op(*args))
        with poisoned_memory():
            poisoned = as_tuple(self.op(*args))
        assert all(torch.equal(a, b) for a, b in zip(clean, poisoned, strict=True))

    def test_compiles_once_for_any_number_of_tokens(self) -> None:
        """One graph serves every number of tokens, without a break."""
        torch.compiler.reset()
        graphs = CountingBackend()
        compiled: Callable[..., Any] = torch.compile(
            self.op, fullgraph=True, dynamic=True, backend=graphs
        )
        # The first count differs from all other sizes, lest the tracer take two of them for one.
        for tokens in (19, 2, 5):
            args = self.sample(torch.float32, tokens)
            expected, outputs = as_tuple(self.op(*args)), as_tuple(compiled(*args))
            assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
        assert graphs.count == 1


class CountingBackend:
    """A compiler backend that runs graphs as they are and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        """Take a captured graph in place of compiling it."""
        self.count += 1
        return graph


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill memory that torch hands out uninitialised with NaN or the largest integer."""
    before = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic
    fill = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = fill


def error_ratio(actual: Tensor, exact: Tensor) -> float:
    """Return the norm of the difference over the norm of ``exact``, both taken in fp64."""
    actual, exact = actual.detach().double(), exact.detach().double()
    return float((actual - exact).norm() / exact.norm().clamp_min(torch.finfo(torch.float64).tiny))


def assert_close(actual: Tensor, exact: Tensor, ratio: float) -> None:
    """Demand equal integers, or floating-point values within the error ratio."""
    assert actual.shape == exact.shape
    if actual.is_floating_point():
        assert error_ratio(actual, exact) <= ratio
    else:
        assert torch.equal(actual, exact)


def as_tuple(result: Tensor | Outputs) -> Outputs:
    """Put a single output into a tuple."""
    return (result,) if isinstance(result, Tensor) else tuple(result)


def differentiable(values: Args) -> Outputs:
    """Pick the floating-point tensors."""
    return tuple(v for v in values if isinstance(v, Tensor) and v.is_floating_point())


def gradients(outputs: Outputs, args: Args, cotangents: Outputs) -> Outputs:
    """Return the gradients of all floating-point arguments."""
    return torch.autograd.grad(differentiable(outputs), differentiable(args), cotangents)


def cast(values: Args, dtype: torch.dtype) -> Args:
    """Copy the floating-point tensors in another dtype, detached."""
    return tuple(v.detach().to(dtype) if is_float(v) else v for v in values)


def with_grad(values: Args) -> Args:
    """Copy the floating-point tensors as leaves that want a gradient."""
    return tuple(v.detach().clone().requires_grad_() if is_float(v) else v for v in values)


def to_meta(values: Args) -> Args:
    """Move the tensors to the meta device."""
    return tuple(v.to("meta") if isinstance(v, Tensor) else v for v in values)


def is_float(value: object) -> bool:
    """Say whether this is a floating-point tensor."""
    return isinstance(value, Tensor) and value.is_floating_point()


def describe(tensor: Tensor) -> tuple[torch.Size, tuple[int, ...], torch.dtype]:
    """Name what a fake has to get right."""
    return tensor.shape, tensor.stride(), tensor.dtype


def count_flops(function: Callable[..., Any], args: Args) -> int:
    """Count the FLOPs of one call."""
    with FlopCounterMode(display=False) as counter:
        function(*args)
    total: int = counter.get_total_flops()
    return total
