import pytest
import torch

import archspec.kernels.embedding_bag
import archspec.kernels.grouped_matmul
import archspec.kernels.product_key_topk
from archspec.errors import KernelError
from archspec.kernels import dispatch

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)


def registered_ops() -> set[str]:
    names = torch._C._dispatch_get_all_op_names()
    return {name.removeprefix("archspec::") for name in names if name.startswith("archspec::")}


def test_the_table_lists_every_registered_op() -> None:
    assert set(dispatch.IMPLEMENTATIONS) == registered_ops()


@pytest.mark.parametrize("op_name", dispatch.IMPLEMENTATIONS)
def test_every_listed_implementation_exists(op_name: str) -> None:
    for name in dispatch.IMPLEMENTATIONS[op_name]:
        assert dispatch._load(op_name, name).__name__ == op_name


@pytest.mark.parametrize("op_name", dispatch.IMPLEMENTATIONS)
def test_auto_takes_torch_and_says_why(op_name: str) -> None:
    name, reason = dispatch.explain(op_name, CPU, torch.float32)
    assert name == "torch"
    assert reason == "the best one built for cpu and torch.float32"


@pytest.mark.parametrize("choice", ["reference", "torch"])
def test_the_environment_is_read_at_every_call(
    monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", choice)
    name, reason = dispatch.explain("embedding_bag", CPU, torch.float32)
    assert (name, reason) == (choice, f"demanded by ARCHSPEC_KERNELS={choice}")
    function = dispatch.implementation("embedding_bag", torch.zeros(1))
    folder = "archspec.kernels.embedding_bag"
    assert function.__module__ == f"{folder}.{'cpu' if choice == 'torch' else 'reference'}"


@pytest.mark.parametrize("op_name", dispatch.IMPLEMENTATIONS)
def test_triton_is_refused_until_it_is_built(monkeypatch, op_name: str) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", "triton")
    with pytest.raises(KernelError, match="not built into this version") as caught:
        dispatch.explain(op_name, CPU, torch.bfloat16)
    assert str(caught.value) == (
        f"{op_name}: ARCHSPEC_KERNELS=triton cannot run on cpu with torch.bfloat16: "
        "not built into this version; use auto or one of torch, reference"
    )


def test_the_refusal_reaches_the_caller_of_an_op(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", "triton")
    one = torch.ones(1, 1)
    with pytest.raises(KernelError, match="embedding_bag: ARCHSPEC_KERNELS=triton"):
        archspec.kernels.embedding_bag.embedding_bag(one.long(), one, one)


def test_an_unknown_choice_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", "tritn")
    with pytest.raises(KernelError, match="use one of auto, reference, torch, triton"):
        dispatch.explain("embedding_bag", CPU, torch.float32)


def test_a_dtype_without_an_implementation_is_refused() -> None:
    with pytest.raises(KernelError, match=r"no implementation takes torch\.int32"):
        dispatch.explain("gather_dot", CPU, torch.int32)
