"""What a plan does to a model: collectives, bytes, dtypes, what stays whole."""

from collections import Counter

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from archspec.blocks.module import ForwardContext
from archspec.blocks.usage import UsageRecorder
from archspec.compiler.boxes import held
from archspec.compiler.compile import compile
from archspec.errors import ArchspecError
from archspec.spec.plan import PlanSpec
from archspec.testing.parity import batch, mean_loss, plan_of, share
from archspec.testing.parity_models import SMALL
from archspec.testing.ranks import run_on_threads
from archspec.testing.specs import load_document

SPEC = load_document(SMALL)
ROWS = {"shard": "rows"}


@pytest.fixture
def fake_ranks():
    """Start the first of any number of ranks, whose collectives carry no data of others."""

    def start(world_size):
        dist.init_process_group("fake", rank=0, world_size=world_size, store=FakeStore())

    yield start
    if dist.is_initialized():
        dist.destroy_process_group()


GATHER, SCATTER = "FSDP gather", "FSDP reduce-scatter"
NAMES = {
    "_allgather_base_": GATHER,
    "_reduce_scatter_base_": SCATTER,
    "all_gather_into_tensor": "gather",
    "reduce_scatter_tensor": "reduce-scatter",
    "all_to_all_single": "all-to-all",
    "all_reduce": "all-reduce",
    "allreduce_": "FSDP all-reduce",
}
# One layer of experts, one reader of a pool: forward and backward. Two layers, the root and the
# unfolded pool are FSDP units; experts are one of their own under ep. The all-reduce of every
# forward pass adds up the choices of experts. All plans of the parity matrix are here.
COLLECTIVES = {
    "dp_shard": (
        {"dp_shard": 2},
        {},
        {GATHER: 4, "all-reduce": 1},
        {GATHER: 3, SCATTER: 4},
    ),
    "memory by columns": (
        {"dp_shard": 4, "memory": 4},
        {},
        {GATHER: 3, "all-reduce": 1, "gather": 2, "all-to-all": 1},
        {GATHER: 2, SCATTER: 3, "all-to-all": 1, "reduce-scatter": 1},
    ),
    "memory by rows": (
        {"dp_shard": 4, "memory": 4},
        ROWS,
        {GATHER: 3, "all-reduce": 1, "gather": 2, "reduce-scatter": 1},
        {GATHER: 2, SCATTER: 3, "gather": 1, "reduce-scatter": 1},
    ),
    "ep": (
        {"dp_shard": 2, "ep": 2},
        {},
        {GATHER: 4, "all-reduce": 1, "all-to-all": 3},
        {GATHER: 3, SCATTER: 4, "all-to-all": 2},
    ),
    "tp": (
        {"dp_shard": 1, "tp": 2},
        {},
        {"all-reduce": 8, "gather": 2},
        {"all-reduce": 6, "reduce-scatter": 1},
    ),
    "all of 8": (
        {"dp_shard": 4, "tp": 2, "ep": 2, "memory": 4},
        {},
        {GATHER: 4, "all-reduce": 9, "all-to-all": 4, "gather": 4},
        {GATHER: 3, SCATTER: 4, "all-reduce": 6, "all-to-all": 3, "reduce-scatter": 2},
    ),
    "one rank": (
        {"dp_shard": 1},
        {},
        {},
        {},
    ),
    "dp_shard 4": (
        {"dp_shard": 4},
        {},
        {GATHER: 4, "all-reduce": 1},
        {GATHER: 3, SCATTER: 4},
    ),
    "dp_replicate 2 x dp_shard 2": (
        {"dp_replicate": 2, "dp_shard": 2},
        {},
        {GATHER: 4, "all-reduce": 1},
        {"FSDP all-reduce": 4, GATHER: 3, SCATTER: 4},
    ),
    "ep 4": (
        {"dp_shard": 4, "ep": 4},
        {},
        {GATHER: 4, "all-reduce": 1, "all-to-all": 3},
        {GATHER: 3, SCATTER: 4, "all-to-all": 2},
    ),
    "memory 2 columns": (
        {"dp_shard": 2, "memory": 2},
        {},
        {GATHER: 3, "all-reduce": 1, "all-to-all": 1, "gather": 2},
        {GATHER: 2, SCATTER: 3, "all-to-all": 1, "reduce-scatter": 1},
    ),
    "memory 2 rows": (
        {"dp_shard": 2, "memory": 2},
        {"shard": "rows"},
        {GATHER: 3, "all-reduce": 1, "gather": 2, "reduce-scatter": 1},
        {GATHER: 2, SCATTER: 3, "gather": 1, "reduce-scatter": 1},
    ),
    "memory 4 rows x columns": (
        {"dp_shard": 4, "memory": 4},
        {"shard": {"rows": 2, "columns": 2}},
        {GATHER: 3, "all-reduce": 1, "all-to-all": 1, "gather": 4, "reduce-scatter": 1},
        {GATHER: 2, SCATTER: 3, "all-to-all": 1, "gather": 1, "reduce-scatter": 2},
    ),
    "tp 2 x dp_shard 2": (
        {"dp_shard": 2, "tp": 2},
        {},
        {GATHER: 4, "all-reduce": 9, "gather": 2},
        {GATHER: 3, SCATTER: 4, "all-reduce": 6, "reduce-scatter": 1},
    ),
    "memory 2 x dp_shard 4": (
        {"dp_shard": 4, "memory": 2},
        {},
        {GATHER: 3, "all-reduce": 1, "all-to-all": 1, "gather": 2},
        {GATHER: 2, SCATTER: 3, "all-reduce": 1, "all-to-all": 1, "reduce-scatter": 1},
    ),
    "memory 2 rows x replicas": (
        {"dp_replicate": 2, "dp_shard": 2, "memory": 2},
        {"shard": "rows"},
        {GATHER: 3, "all-reduce": 1, "gather": 2, "reduce-scatter": 1},
        {
            "FSDP all-reduce": 3,
            GATHER: 2,
            SCATTER: 3,
            "all-reduce": 1,
            "gather": 1,
            "reduce-scatter": 1,
        },
    ),
    "memory 2 x tp 2": (
        {"dp_shard": 2, "tp": 2, "memory": 2},
        {},
        {GATHER: 3, "all-reduce": 9, "all-to-all": 1, "gather": 4},
        {GATHER: 2, SCATTER: 3, "all-reduce": 6, "all-to-all": 1, "reduce-scatter": 2},
    ),
    "memory 2 rows x tp 2": (
        {"dp_shard": 2, "tp": 2, "memory": 2},
        {"shard": "rows"},
        {GATHER: 3, "all-reduce": 9, "gather": 4, "reduce-scatter": 1},
        {GATHER: 2, SCATTER: 3, "all-reduce": 6, "gather": 1, "reduce-scatter": 2},
    ),
    "ep 2 x dp_shard 4": (
        {"dp_shard": 4, "ep": 2},
        {},
        {GATHER: 5, "all-reduce": 1, "all-to-all": 3},
        {GATHER: 4, SCATTER: 5, "all-to-all": 2},
    ),
    "ep 2 x replicas": (
        {"dp_replicate": 2, "dp_shard": 2, "ep": 2},
        {},
        {GATHER: 4, "all-reduce": 1, "all-to-all": 3},
        {"FSDP all-reduce": 5, GATHER: 3, SCATTER: 4, "all-to-all": 2},
    ),
    "all of 8, both ways": (
        {"dp_shard": 4, "tp": 2, "ep": 2, "memory": 4},
        {"shard": {"rows": 2, "columns": 2}},
        {GATHER: 4, "all-reduce": 9, "all-to-all": 4, "gather": 6, "reduce-scatter": 1},
        {GATHER: 3, SCATTER: 4, "all-reduce": 6, "all-to-all": 3, "gather": 1, "reduce-scatter": 3},
    ),
}


def counted(mode):
    counts = Counter()
    for op, count in mode.get_comm_counts().items():
        counts[NAMES[str(op).rpartition(".")[2]]] += count
    return dict(counts)


@pytest.mark.parametrize("name", COLLECTIVES)
def test_collectives_of_a_step(name, fake_ranks):
    mesh, tables, forward, backward = COLLECTIVES[name]
    fake_ranks(mesh.get("dp_replicate", 1) * mesh["dp_shard"] * mesh.get("tp", 1))
    plan = plan_of(mesh=mesh, tables=tables)
    model = compile(SPEC, plan=plan)
    with CommDebugMode() as mode:
        loss = mean_loss(model, *share(0, plan, *batch(SPEC, 0)))
    assert counted(mode) == forward
    with CommDebugMode() as mode:
        loss.backward()
    assert counted(mode) == backward


class Wire(TorchDispatchMode):
    """Adds up the bytes that go into functional collectives, and notes their dtypes."""

    def __init__(self):
        super().__init__()
        self.num_bytes, self.dtypes = 0, Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if name.startswith("_c10d_functional") and "wait" not in name:
            self.num_bytes += args[0].nbytes
            self.dtypes[args[0].dtype] += args[0].nbytes
        return func(*args, **(kwargs or {}))


def wire_of(num_keys, tables, fake_ranks):
    pools = {"big": {"num_keys": num_keys, "value_dim": 10}}
    spec = load_document({**SMALL, "pools": pools, "layers": ["shared", "shared"]})
    plan = plan_of("float32", mesh={"dp_shard": 4, "memory": 4}, tables=tables)
    fake_ranks(4)
    with Wire() as wire:
        model = compile(spec, plan=plan)
        mean_loss(model, *share(0, plan, *batch(spec, 0))).backward()
    dist.destroy_process_group()
    return wire


@pytest.mark.parametrize("tables", [{}, ROWS, {"shard": {"rows": 2, "columns": 2}}])
def test_bytes_of_memory_parallel_do_not_depend_on_the_number_of_slots(tables, fake_ranks):
    small, large = wire_of(5, tables, fake_ranks), wire_of(80, tables, fake_ranks)
    assert small.num_bytes == large.num_bytes > 0
    assert set(small.dtypes) == {torch.int32, torch.float32}


def test_a_folded_table_is_never_gathered(fake_ranks):
    fake_ranks(4)
    plan = plan_of(mesh={"dp_shard": 4, "memory": 4}, tables=ROWS)
    model = compile(SPEC, plan=plan)
    seen = []
    model.pools.big.register_forward_hook(
        lambda module, inputs, output: seen.append(held(module.weight).shape)
    )
    mean_loss(model, *share(0, plan, *batch(SPEC, 0)))
    assert seen == [(7, 10)]


def logits(rank, plan):
    model = compile(SPEC, plan=plan) if plan else compile(SPEC, dtype="float64")
    return model(batch(SPEC, 0)[0]).detach()


def test_logits_of_a_cut_vocabulary_are_whole():
    expected = logits(0, None)
    for found in run_on_threads(2, logits, plan_of(mesh={"dp_shard": 1, "tp": 2})):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def without_gradients(rank, plan):
    model = compile(SPEC, plan=plan) if plan else compile(SPEC, dtype="float64")
    usage = UsageRecorder(model)
    ids, targets = batch(SPEC, 0)
    if plan:
        ids, targets = share(rank, plan, ids, targets)
    with torch.no_grad():
        nll = model.nll(ids, targets, ForwardContext(token_ids=ids, usage=usage))
    return nll, dict(usage.counts)


def test_evaluation_and_counts_of_use_are_those_of_one_rank():
    nll, counts = without_gradients(0, None)
    plan = plan_of(mesh={"dp_shard": 2, "tp": 2, "ep": 2, "memory": 2}, recompute="full")
    ranks = run_on_threads(4, without_gradients, plan)
    torch.testing.assert_close(torch.cat([ranks[0][0], ranks[2][0]]), nll, rtol=1e-12, atol=1e-12)
    for owner, count in counts.items():  # ranks of tp see the same tokens
        assert torch.equal(ranks[0][1][owner] + ranks[2][1][owner], count), owner


def dtypes(rank, plan):
    model = compile(SPEC, plan=plan)
    loss = mean_loss(model, *share(rank, plan, *batch(SPEC, 0)))
    loss.backward()
    found = {name: (p.dtype, p.grad.dtype) for name, p in model.named_parameters()}
    return loss.item(), loss.dtype, found


@pytest.mark.parametrize("mesh", [{"dp_shard": 2}, {"dp_shard": 2, "tp": 2, "memory": 2, "ep": 2}])
@pytest.mark.parametrize("tables", ["float32", "bfloat16"])
def test_computing_in_16_bits_keeps_masters_and_the_loss_in_32(mesh, tables):
    ranks = 2 * mesh.get("tp", 1)
    single = sum(one[0] for one in run_on_threads(ranks, dtypes, plan_of("float32", mesh=mesh)))
    plan = PlanSpec(mesh=mesh, precision={"tables": tables})
    found = run_on_threads(ranks, dtypes, plan)
    assert sum(one[0] for one in found) == pytest.approx(single, rel=0.05)
    for _, loss, kinds in found:
        assert loss == torch.float32
        for name, kind in kinds.items():
            kept = getattr(torch, tables) if name.startswith("pools") else torch.float32
            assert kind == (kept, kept), name


def test_what_no_gradient_moves_is_whole_on_every_rank(fake_ranks):
    fake_ranks(4)
    blocks = {"experts": {**SMALL["blocks"]["experts"], "routing_bias": True}}
    spec = load_document({**SMALL, "pools": {}, "blocks": blocks, "layers": ["experts"]})
    model = compile(spec, plan=plan_of(mesh={"dp_shard": 4}))
    bias = model.layers[0].blocks[0].routing_bias
    assert not isinstance(bias, DTensor)
    model.layers[0].blocks[0].balance(torch.tensor([9, 0, 0, 0, 0]), rate=0.5)
    assert bias.tolist() == [-0.5, 0.5, 0.5, 0.5, 0.5]


def test_a_plan_without_processes_is_one_clear_message():
    with pytest.raises(ArchspecError, match="start with torchrun"):
        compile(SPEC, plan=plan_of(mesh={"dp_shard": 2}))


def test_a_plan_for_another_number_of_ranks_names_both(fake_ranks):
    fake_ranks(4)
    with pytest.raises(ArchspecError, match="= 3 and the world size is 4"):
        compile(SPEC, plan=plan_of(mesh={"dp_shard": 3}))
    with pytest.raises(ArchspecError, match="= 3 and the world size is 4"):
        compile(SPEC, plan=plan_of(mesh={"tp": 3}))


@pytest.mark.slow
@pytest.mark.parametrize("recompute", ["none", "full", "selective"])
def test_compiled_layers_compute_the_same(recompute, fake_ranks, monkeypatch):
    # Traced and differentiated as for the default backend, without its code generation.
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda run: real(run, backend="aot_eager"))
    fake_ranks(1)
    found = []
    for compiled in (False, True):
        plan = plan_of(mesh={"dp_shard": 1}, compile=compiled, recompute=recompute)
        model = compile(SPEC, plan=plan)
        loss = mean_loss(model, *batch(SPEC, 0))
        loss.backward()
        found.append([loss.detach(), *(held(p.grad) for p in model.parameters())])
    torch._dynamo.reset()
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-12, atol=1e-14)
