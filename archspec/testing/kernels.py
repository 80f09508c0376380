"""The contracts that the ops of ``archspec.kernels`` pass, in every implementation that runs here.

A test file inherits :class:`KernelContract` once per differentiable op, or :class:`OpContract` for
an op without a gradient, and declares the op's name, its reference and samples of its arguments.
Comparisons use the error ratio, the norm of the difference over the norm of the reference:
element-wise tolerances either pass everything near a large value or fail on a zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._functorch._aot_autograd.utils import make_boxed_func
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

# Imported for registration, which the contract looks up by name.
import archspec.kernels.embedding_bag
import archspec.kernels.grouped_matmul
import archspec.kernels.product_key_topk  # noqa: F401
from archspec.kernels import dispatch
from archspec.testing.tensors import (
    Args,
    Outputs,
    as_tuple,
    assert_close,
    assert_same_bits,
    cast,
    cotangents_of,
    describe,
    error_ratio,
    gradients,
    poisoned_memory,
    to_device,
    with_grad,
)

__all__ = [
    "ERROR_RATIOS",
    "WIDTHS",
    "Args",
    "CountingBackend",
    "KernelContract",
    "OpContract",
    "assert_close",
    "count_flops",
    "error_ratio",
    "gradients",
    "over",
    "prefer",
]

# Largest error ratio against the reference in fp64; a 16-bit result is rounded once, by 2^-9.
ERROR_RATIOS = {
    torch.float64: 1e-13,
    torch.float32: 1e-6,
    torch.bfloat16: 2**-8,
    torch.float16: 2**-8,
}
WIDTHS = (1, 3, 96, 100, 768, 1000, 1536, 2048)

Test = Callable[..., None]


def over(*dtypes: torch.dtype, words: str = "every") -> Callable[[Test], Test]:
    """Run a test of a contract for these dtypes; without it a test runs for fp32.

    Args:
        dtypes: Those of them that an implementation takes.
        words: ``every`` implementation, the ``fast`` ones (the definition sums in any order), or
            ``chosen``, the one that runs by itself, for what is decided by registration.
    """

    def mark(test: Test) -> Test:
        test.dtypes, test.words = dtypes, words  # type: ignore[attr-defined]
        return test

    return mark


class OpContract(ABC):
    """Inherit, declare ``op_name``, ``reference`` and samples, and get the tests.

    Each test draws its own sample and runs once for each implementation that takes its dtype on a
    device of this machine. Arguments that the op mutates are copied first, and compared as outputs.
    """

    op_name: ClassVar[str]
    # Keyword arguments of every call.
    options: ClassVar[Mapping[str, Any]] = {}
    # By dtype of the sample; an op that rounds stochastically needs twice the usual.
    error_ratios: ClassVar[Mapping[torch.dtype, float]] = ERROR_RATIOS
    # Whether the reference is made of matmuls, so that its FLOPs can be counted.
    reference_is_matmuls: ClassVar[bool] = True

    @abstractmethod
    def reference(self, *args: Any, **options: Any) -> Any:
        """Carry out the op by its definition; takes fp64 and plain autograd."""

    @abstractmethod
    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        """Draw arguments for this many tokens, with odd sizes everywhere else."""

    @abstractmethod
    def sample_of_width(self, dtype: torch.dtype, width: int) -> Args:
        """Draw arguments for a few tokens, with rows of this many elements."""

    def hard_samples(self) -> Mapping[str, Callable[[torch.dtype], Args]]:
        """Name further samples that the op has to take, and draw them."""
        return {"one token": lambda dtype: self.sample(dtype, 1)}

    def documented_flops(self, *args: Any) -> int:
        """Return the FLOPs that the op's documentation states; for references without matmuls."""
        raise NotImplementedError(f"{type(self).__name__} declares no documented_flops")

    @property
    def op(self) -> Any:
        """The registered op."""
        return getattr(torch.ops.archspec, self.op_name).default

    def outputs(self, function: Callable[..., Any], args: Args) -> Outputs:
        """Call a function with copies of what the op mutates; return its results, then these."""
        written = [
            place
            for place, argument in enumerate(self.op._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        args = tuple(v.clone() if place in written else v for place, v in enumerate(args))
        results = as_tuple(function(*args, **self.options))
        return (*results, *(args[place] for place in written))

    def everything(self, function: Callable[..., Any], args: Args) -> Outputs:
        """Return all that a call of a function gives, gradients included where there are any."""
        return self.outputs(function, args)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test for the implementations and dtypes it is over, and each hard sample."""
        dtypes = getattr(metafunc.function, "dtypes", (torch.float32,))
        words = getattr(metafunc.function, "words", "every")
        metafunc.parametrize(("device", "word", "dtype"), list(self._runs(dtypes, words)))
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", list(self.hard_samples()))

    def _runs(self, dtypes: tuple[torch.dtype, ...], words: str) -> Iterator[Any]:
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            marks = [pytest.mark.gpu] if device == "cuda" else []
            for dtype in dtypes:
                able = self._able(dispatch.Call(device=device, dtype=dtype, width=1))
                for word in self._select(able, words):
                    name = f"{device}-{word}-{str(dtype).removeprefix('torch.')}"
                    yield pytest.param(device, word, dtype, marks=marks, id=name)

    @staticmethod
    def _select(able: list[str], words: str) -> list[str]:
        assert words in ("every", "fast", "chosen"), f"{words=} is no choice"
        if words == "fast":
            return [word for word in able if word != "reference"]
        return able if words == "every" else able[:1]

    def _able(self, call: dispatch.Call) -> list[str]:
        """Name the implementations that take a call, best first."""
        row = dispatch.IMPLEMENTATIONS[self.op_name]
        return [built.word for built in row if built.refusal(call) is None]

    @pytest.fixture(autouse=True)
    def _prepare(
        self, monkeypatch: pytest.MonkeyPatch, device: str, word: str, dtype: torch.dtype
    ) -> None:
        torch.manual_seed(0)
        self.device = device
        prefer(monkeypatch, word)
        call = dispatch.Call(device=device, dtype=dtype, width=1)
        assert dispatch.explain(self.op_name, call).implementation.word == word

    def draw(self, dtype: torch.dtype, tokens: int) -> Args:
        """Draw a sample on the device of the test."""
        return to_device(self.sample(dtype, tokens), self.device)

    def check(self, dtype: torch.dtype, args: Args) -> None:
        """Compare everything that the op gives with the reference in fp64."""
        args, ratio = to_device(args, self.device), self.error_ratios[dtype]
        exact = self.everything(self.reference, cast(args, torch.float64))
        for actual, value in zip(self.everything(self.op, args), exact, strict=True):
            assert_close(actual, value, ratio)

    @over(*ERROR_RATIOS)
    def test_matches_the_reference(self, dtype: torch.dtype) -> None:
        """Values (and gradients) equal those of the reference in fp64, within the error ratio."""
        self.check(dtype, self.sample(dtype, 9))

    @over(torch.float32, torch.bfloat16, torch.float16, words="fast")
    @pytest.mark.parametrize("width", WIDTHS)
    def test_matches_the_reference_at_any_width(self, dtype: torch.dtype, width: int) -> None:
        """Rows may have any number of elements."""
        self.check(dtype, self.sample_of_width(dtype, width))

    @over(torch.float32, torch.bfloat16, words="fast")
    def test_matches_the_reference_in_hard_cases(self, dtype: torch.dtype, case: str) -> None:
        """What an implementation may find hard to balance or to sum is exact too."""
        self.check(dtype, self.hard_samples()[case](dtype))

    @over(*ERROR_RATIOS)
    def test_meta_outputs_look_like_real_ones(self, dtype: torch.dtype) -> None:
        """The fake gives the shapes, strides and dtypes of the real op, and of its gradients."""
        args = self.draw(dtype, 5)
        real = self.everything(self.op, args)
        meta = self.everything(self.op, to_device(args, "meta"))
        assert [describe(t) for t in meta] == [describe(t) for t in real]

    @over(torch.float32, words="chosen")
    def test_runs_under_fake_tensors(self, dtype: torch.dtype) -> None:
        """A FakeTensorMode gives the shapes, strides, dtypes and devices of the real op."""
        args = self.draw(dtype, 5)
        real = self.everything(self.op, args)
        with FakeTensorMode() as mode:
            fakes = tuple(mode.from_tensor(v) if isinstance(v, Tensor) else v for v in args)
            fake = self.everything(self.op, fakes)
        assert [(describe(t), t.device) for t in fake] == [(describe(t), t.device) for t in real]

    @over(torch.float32, words="chosen")
    def test_opcheck(self, dtype: torch.dtype) -> None:
        """Schema, autograd registration, fake and AOT dispatch with symbolic sizes agree."""
        args = self.opcheck_args(self.draw(dtype, 4))
        torch.library.opcheck(self.op, args, dict(self.options))

    def opcheck_args(self, args: Args) -> Args:
        """Say by ``requires_grad`` in which arguments the op claims to be differentiable."""
        return args

    @over(torch.float32, words="chosen")
    def test_flops_equal_those_of_the_reference(self, dtype: torch.dtype) -> None:
        """The formula equals a count of stock matmuls, on real and on meta tensors."""
        args = self.draw(dtype, 5)
        if self.reference_is_matmuls:
            expected = self.count_flops(self.reference, args)
            assert expected > 0
        else:
            expected = self.documented_flops(*args)
        assert self.count_flops(self.op, args) == expected
        assert self.count_flops(self.op, to_device(args, "meta")) == expected

    def count_flops(self, function: Callable[..., Any], args: Args) -> int:
        """Count the FLOPs of one call."""
        return count_flops(lambda *args: self.outputs(function, args), args)

    @over(torch.float32, torch.bfloat16)
    def test_is_bitwise_reproducible(self, dtype: torch.dtype) -> None:
        """Ten calls give the same bits."""
        args = self.draw(dtype, 64)
        first = self.everything(self.op, args)
        for _ in range(9):
            assert_same_bits(self.everything(self.op, args), first)

    @over(torch.float32, torch.bfloat16)
    def test_takes_zero_tokens(self, dtype: torch.dtype) -> None:
        """An empty batch gives outputs of the right shape and zero gradients."""
        args = self.draw(dtype, 0)
        actual = self.everything(self.op, args)
        exact = self.everything(self.reference, cast(args, torch.float64))
        for value, expected in zip(actual, exact, strict=True):
            assert torch.equal(value.double(), expected.double())

    @over(torch.float32, torch.bfloat16)
    def test_reads_no_uninitialised_memory(self, dtype: torch.dtype) -> None:
        """What the op gives does not depend on what fresh memory holds."""
        args = self.draw(dtype, 9)
        with poisoned_memory(poison=False):
            clean = self.everything(self.op, args)
        with poisoned_memory():
            poisoned = self.everything(self.op, args)
        assert_same_bits(poisoned, clean)

    @over(torch.float32, torch.bfloat16)
    def test_autocast_changes_nothing_inside(self, dtype: torch.dtype) -> None:
        """The op runs in the dtypes of its arguments; its own matmuls are not cast."""
        args = self.draw(dtype, 9)
        outside = self.everything(self.op, args)
        with torch.autocast(self.device, torch.bfloat16):
            inside = self.everything(self.op, args)
        assert_same_bits(inside, outside)

    @over(torch.float32, words="chosen")
    def test_compiles_once_for_any_number_of_tokens(self, dtype: torch.dtype) -> None:
        """One graph (and one backward) serves from 2 to 5,000 tokens, without a break."""
        torch.compiler.reset()
        graphs = CountingBackend()
        compiled: Callable[..., Any] = torch.compile(
            self.op, fullgraph=True, dynamic=True, backend=graphs.backend
        )
        # The first count differs from all other sizes, lest the tracer take two of them for one.
        for tokens in (19, 2, 5_000):
            args = self.draw(dtype, tokens)
            assert_same_bits(self.everything(compiled, args), self.everything(self.op, args))
        assert graphs.forward == 1
        assert graphs.backward <= 1


class KernelContract(OpContract):
    """The contract of an op that is differentiable, any number of times.

    Gradients are checked in every floating-point argument.
    """

    def everything(self, function: Callable[..., Any], args: Args) -> Outputs:
        """Return outputs and gradients."""
        args = with_grad(args)
        outputs = self.outputs(function, args)
        grads = gradients(outputs, args, cotangents_of(outputs))
        return (*(t.detach() for t in outputs), *grads)

    def opcheck_args(self, args: Args) -> Args:
        """Claim all of them."""
        return with_grad(args)

    @over(torch.float64)
    def test_gradcheck(self, dtype: torch.dtype) -> None:
        """The backward is the derivative of the forward."""
        assert torch.autograd.gradcheck(self.op, with_grad(self.draw(dtype, 3)))

    @over(torch.float64)
    def test_gradgradcheck(self, dtype: torch.dtype) -> None:
        """The derivative of the backward is right, along random directions."""
        args = with_grad(self.draw(dtype, 3))
        assert torch.autograd.gradgradcheck(self.op, args, fast_mode=True)


class CountingBackend:
    """A compiler backend that runs graphs as they are and counts them, forward and backward."""

    def __init__(self) -> None:
        self.forward = 0
        self.backward = 0
        self.backend = aot_autograd(fw_compiler=self._take, bw_compiler=self._take_backward)

    def _take(self, graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        self.forward += 1
        return make_boxed_func(graph)

    def _take_backward(
        self, graph: torch.fx.GraphModule, _inputs: list[Tensor]
    ) -> Callable[..., Any]:
        self.backward += 1
        return make_boxed_func(graph)


def prefer(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Put an implementation first wherever it is built; what it refuses goes on as usual.

    A demand by ``ARCHSPEC_KERNELS`` would fail in an op that has no such implementation, and the
    backward of one op is often another.
    """
    rows = {
        name: tuple(sorted(row, key=lambda built: built.word != word))
        for name, row in dispatch.IMPLEMENTATIONS.items()
    }
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    if word == "triton" and dispatch.is_interpreted():
        monkeypatch.setenv(dispatch.VARIABLE, word)  # nothing else runs the interpreter
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", rows)


def count_flops(function: Callable[..., Any], args: Args) -> int:
    """Count the FLOPs of one call."""
    with FlopCounterMode(display=False) as counter:
        function(*args)
    total: int = counter.get_total_flops()
    return total
