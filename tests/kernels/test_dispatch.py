import dataclasses

import pytest
import torch

import archspec.kernels.embedding_bag
import archspec.kernels.grouped_matmul
import archspec.kernels.product_key_topk
import archspec.kernels.row_optimizer
from archspec.errors import KernelError
from archspec.kernels import dispatch

CPU = dispatch.Call(device="cpu", dtype=torch.float32, width=8)
GPU = dataclasses.replace(CPU, device="cuda")


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
    for implementation in dispatch.IMPLEMENTATIONS[op_name]:
        if implementation.package is None or dispatch.is_installed(implementation.package):
            assert dispatch.load(op_name, implementation).__name__ == op_name


@pytest.mark.parametrize("op_name", dispatch.IMPLEMENTATIONS)
def test_every_op_runs_everywhere_in_stock_torch_and_by_its_definition(op_name: str) -> None:
    rows = {item.word: item for item in dispatch.IMPLEMENTATIONS[op_name]}
    for call in (CPU, GPU):
        for dtype in dispatch.DTYPES:
            typed = dataclasses.replace(call, dtype=dtype)
            assert rows["torch"].refusal(typed) is None
            assert rows["reference"].refusal(typed) is None


@pytest.mark.parametrize("op_name", dispatch.IMPLEMENTATIONS)
def test_auto_takes_the_first_that_does_not_refuse_and_says_why(op_name: str) -> None:
    choice = dispatch.explain(op_name, CPU)
    words = [item.word for item in dispatch.IMPLEMENTATIONS[op_name]]
    assert words.index(choice.implementation.word) == len(choice.passed_over)
    assert choice.reason == "the best one built for cpu"
    assert all(choice.passed_over.values())


@pytest.mark.parametrize("word", ["auto", "reference", "torch"])
def test_the_chosen_word_is_that_of_the_explanation(
    monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", word)
    expected = dispatch.explain("sum_rows", CPU).implementation.word
    assert dispatch.chosen_word("sum_rows", torch.empty(3, 8)) == expected


@pytest.mark.parametrize("word", ["reference", "torch"])
def test_the_environment_is_read_at_every_call(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", word)
    choice = dispatch.explain("embedding_bag", CPU)
    assert choice.implementation.word == word
    assert choice.reason == f"demanded by ARCHSPEC_KERNELS={word}"
    function = dispatch.implementation("embedding_bag", torch.zeros(1, 1))
    assert function.__module__ == f"archspec.kernels.{choice.implementation.module}"


def make(**changes: object) -> dispatch.Implementation:
    return dispatch.Implementation(**{"word": "torch", "module": "nowhere", **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"devices": ("cpu",)}, None),
        ({"devices": ("cuda",)}, "it runs on cuda"),
        ({"dtypes": (torch.bfloat16,)}, "it takes torch.bfloat16"),
        ({"max_width": 7}, "it takes rows of at most 7 elements"),
        ({"max_width": 8}, None),
        ({"max_sizes": {"top_k": 31}}, "it takes a top_k of at most 31"),
        ({"max_sizes": {"top_k": 32, "num_keys": 1}}, None),
        ({"package": "no_such_package"}, "no_such_package is not installed"),
        ({"unordered_on": ("cuda",)}, None),
        (
            {"unordered_on": ("cpu",)},
            "its sums have no fixed order, and deterministic algorithms are asked for",
        ),
    ],
)
def test_an_implementation_says_what_it_refuses(changes: dict[str, object], expected) -> None:
    call = dataclasses.replace(CPU, deterministic=True, sizes={"top_k": 32})
    assert make(**changes).refusal(call) == expected


def test_a_call_names_its_sizes() -> None:
    call = dataclasses.replace(CPU, sizes={"top_k": 65, "num_keys": 100})
    assert str(call) == "cpu with torch.float32, width 8, top_k 65, num_keys 100"
    assert {call: "hashable"}[dataclasses.replace(call)] == "hashable"


def test_the_first_refusal_passes_the_call_on(monkeypatch: pytest.MonkeyPatch) -> None:
    row = (make(word="triton", devices=("cuda",)), make(word="torch"))
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", {"op": row})
    choice = dispatch.explain("op", CPU)
    assert choice.implementation is row[1]
    assert choice.passed_over == {"triton": "it runs on cuda"}


def test_a_demand_that_cannot_be_met_names_the_reason_and_the_ways_out(monkeypatch) -> None:
    row = (make(word="triton", devices=("cuda",)), make(word="torch"))
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", {"op": row})
    monkeypatch.setenv("ARCHSPEC_KERNELS", "triton")
    with pytest.raises(KernelError) as caught:
        dispatch.explain("op", CPU)
    assert str(caught.value) == (
        "op: ARCHSPEC_KERNELS=triton cannot run on cpu with torch.float32, width 8: it runs on "
        "cuda; use one of auto, torch"
    )


def test_a_demand_does_not_concern_ops_that_have_no_such_implementation(monkeypatch) -> None:
    row = (make(word="triton", devices=("cuda",)), make(word="torch"))
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", {"op": row})
    monkeypatch.setenv("ARCHSPEC_KERNELS", "numba")
    choice = dispatch.explain("op", CPU)
    assert choice.implementation is row[1]
    assert choice.reason == (
        "the best one built for cpu; ARCHSPEC_KERNELS=numba is not built for this op"
    )


def test_the_interpreter_runs_on_demand_only(monkeypatch: pytest.MonkeyPatch) -> None:
    row = (make(word="triton", devices=("cuda",)), make(word="torch"))
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", {"op": row})
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert dispatch.explain("op", CPU).implementation is row[1]
    monkeypatch.setenv("ARCHSPEC_KERNELS", "triton")
    assert dispatch.explain("op", CPU).implementation is row[0]


def test_the_refusal_reaches_the_caller_of_an_op(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", "triton")
    one = torch.ones(1, 1)
    with pytest.raises(KernelError, match="embedding_bag: ARCHSPEC_KERNELS=triton"):
        archspec.kernels.embedding_bag.embedding_bag(one.long(), one, one)


def test_an_unknown_choice_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", "tritn")
    with pytest.raises(KernelError, match="use one of auto, reference, torch, numba, triton"):
        dispatch.explain("embedding_bag", CPU)


def test_a_dtype_without_an_implementation_is_refused() -> None:
    with pytest.raises(KernelError, match=r"no implementation takes torch\.int32"):
        dispatch.explain("gather_dot", dataclasses.replace(CPU, dtype=torch.int32))
