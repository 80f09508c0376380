"""Training over ranks gives the losses of training on one, step by step."""

import functools
import shutil

import pytest
import torch

from archspec.errors import RunError
from archspec.spec.load import load_model
from archspec.spec.train import Checkpoint, Evaluation, Optimizer, Schedule, TableOptimizer
from archspec.testing.parity import plan_of
from archspec.testing.ranks import RankError, run_on_processes, run_on_threads
from archspec.train.checkpoint import list_checkpoints, step_of
from archspec.train.load import load_model_from
from archspec.train.loop import train
from archspec.train.run_directory import load_run
from archspec.train.world import World

MESHES = {
    "fsdp": {"dp_shard": 2},
    "replicas": {"dp_replicate": 2, "dp_shard": 1},
    "replicas of shards": {"dp_replicate": 2, "dp_shard": 2},
    "tp": {"dp_shard": 1, "tp": 2},
    "tp, ep": {"dp_shard": 2, "tp": 2, "ep": 2},
    "ep, replicas": {"dp_replicate": 2, "dp_shard": 2, "ep": 2},
    "memory": {"dp_shard": 2, "memory": 2},
    "memory, replicas": {"dp_replicate": 2, "dp_shard": 2, "memory": 2},
    "memory, tp": {"dp_shard": 2, "tp": 2, "memory": 2},
}


def size_of(mesh):
    return mesh.get("dp_replicate", 1) * mesh["dp_shard"] * mesh.get("tp", 1)


def train_rank(rank, size, spec, document, mesh, options, fields):
    world = World(rank=rank, size=size, device=torch.device("cpu"))
    return train(spec, document, plan=plan_of(mesh=mesh, **fields), world=world, **options)


def train_on(mesh, spec, document, options=None, **fields):
    """Train on threads and return the results by rank."""
    size = size_of(mesh)
    options = {"out": None, **(options or {})}
    return run_on_threads(size, train_rank, size, spec, document, mesh, options, fields)


def losses(result):
    return [step.loss for step in result.history]


def numbers(result):
    return [
        value
        for step in result.history
        for value in (step.loss, step.grad_norm, *step.auxiliary.values())
    ]


@pytest.fixture(scope="module")
def document(settings):
    few = Evaluation(facts=8, text_tokens=64)
    return functools.partial(settings, tokens=128 * 3, micro_batch_tokens=64, evaluation=few)


@pytest.fixture(scope="module")
def alone(spec, document):
    (result,) = train_on({"dp_shard": 1}, spec, document())
    return result


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_any_ranks_train_as_one(spec, document, alone, mesh):
    for result in train_on(mesh, spec, document()):
        assert numbers(result) == pytest.approx(numbers(alone), rel=1e-9)
        assert result.metrics == pytest.approx(alone.metrics, rel=1e-9)


@pytest.mark.parametrize("mesh", [MESHES["fsdp"], MESHES["memory, replicas"]], ids=str)
def test_rows_are_cut_and_decay_as_on_one_rank(spec, document, mesh):
    """A table that FSDP gathers has dense gradients, and so learns of its decay in another way."""
    tables = TableOptimizer(rule="rowwise_adagrad", weight_decay=0.5, schedule=Schedule(kind="wsd"))
    asked = document(optimizer=Optimizer(lr=3e-2, tables=tables))
    fields = {"tables": {"shard": "rows"}}
    (one,) = train_on({"dp_shard": 1}, spec, asked)
    for result in train_on(mesh, spec, asked, **fields):
        assert numbers(result) == pytest.approx(numbers(one), rel=1e-9)


def test_a_plan_for_one_process_in_fp32_is_what_no_plan_does(spec, document):
    fields = {"precision": {"compute": "float32"}}
    (planned,) = train_on({"dp_shard": 1}, spec, document(), **fields)
    plain = train(spec, document(), out=None)
    assert losses(planned) == losses(plain)


def test_recompute_and_bf16_train(spec, document):
    precision = {"tables": "bfloat16", "table_rounding": "stochastic"}
    fields = {"precision": precision, "recompute": "full"}
    results = train_on(MESHES["memory"], spec, document(tokens=128 * 20), **fields)
    assert losses(results[0])[-1] < losses(results[0])[0]


def test_a_batch_that_ranks_cannot_share_is_refused(spec, document):
    message = "=48 is 3 rows of seq_len=16 for 2 ranks; use a multiple of 32, such as 64"
    with pytest.raises(RankError, match=f"micro_batch_tokens{message}"):
        train_on(MESHES["fsdp"], spec, document(batch_tokens=96, micro_batch_tokens=48))


def test_several_ranks_need_a_plan(spec, document):
    world = World(rank=0, size=2, device=torch.device("cpu"))
    with pytest.raises(RunError, match="2 ranks need a plan"):
        train(spec, document(), out=None, world=world)


def test_rules_of_whole_rows_refuse_columns(spec, document):
    asked = document(optimizer=Optimizer(tables=TableOptimizer(rule="rowwise_adam")))
    with pytest.raises(
        RankError, match=r"rule=rowwise_adam needs whole rows, but .* holds 8 of 16"
    ):
        train_on(MESHES["memory"], spec, asked)


def cut_off(out, *, after):
    """Leave a run as if it had died after a step."""
    for path in (out / "checkpoints").iterdir():
        if step_of(path) > after:
            shutil.rmtree(path)


OWN = Optimizer(
    lr=1e-2,
    tables=TableOptimizer(
        rule="rowwise_adam", beta1=0.0, weight_decay=0.5, schedule=Schedule(kind="wsd")
    ),
)


@pytest.mark.parametrize(
    "other", [{"dp_shard": 2, "memory": 2}, {"dp_shard": 1}, {"dp_shard": 2, "tp": 1}], ids=str
)
def test_a_run_goes_on_with_the_ranks_it_had_or_with_others(spec, document, tmp_path, other):
    """Bit by bit on the same mesh; the rule keeps no first moment, and rows owe decay."""
    mesh, fields, out = MESHES["memory"], {"tables": {"shard": "rows"}}, tmp_path / "run"
    asked = document(tokens=128 * 5, optimizer=OWN, checkpoint=Checkpoint(every_steps=2, keep=9))
    straight, _ = train_on(mesh, spec, asked, {"out": out}, **fields)
    cut_off(out, after=2)
    for result in train_on(other, spec, asked, {"out": out, "resume": True}, **fields):
        assert result.steps == 5
        if other == mesh:
            assert losses(result) == losses(straight)[-len(result.history) :]
            assert result.metrics == straight.metrics
        assert losses(result) == pytest.approx(losses(straight)[-len(result.history) :], rel=1e-9)
    assert load_run(out).plan == plan_of(mesh=other, **fields)


def test_ranks_that_only_listen_know_the_metrics_of_a_finished_run(spec, document, tmp_path):
    out = tmp_path / "run"
    first, _ = train_on(MESHES["fsdp"], spec, document(), {"out": out})
    for again in train_on(MESHES["fsdp"], spec, document(), {"out": out, "resume": True}):
        assert again.metrics == first.metrics


def test_what_the_first_rank_finds_wrong_all_ranks_raise(spec, document, tmp_path):
    with pytest.raises(RankError) as error:
        train_on(MESHES["fsdp"], spec, document(), {"out": tmp_path})
    assert str(error.value).count("RunError: ") == 2
    assert str(error.value).count("already exists; go on with it") >= 2


BALANCED = """\
archspec: 1
kind: model
vocab_size: 320
max_seq_len: 32
d_model: 16
attention: {num_heads: 2}
blocks:
  experts: {type: moe, num_experts: 4, top_k: 1, hidden_dim: 8, scores: sigmoid, routing_bias: true}
layers: [experts, experts]
"""


@pytest.mark.parametrize("mesh", [MESHES["replicas"], MESHES["tp, ep"]], ids=str)
def test_routing_biases_move_by_the_choices_of_all_ranks(document, tmp_path, mesh):
    (tmp_path / "model.yaml").write_text(BALANCED)
    biased = load_model(tmp_path / "model.yaml")
    train_on({"dp_shard": 1}, biased, document(), {"out": tmp_path / "one"})
    train_on(mesh, biased, document(), {"out": tmp_path / "several"})
    one, several = (
        dict(load_model_from(tmp_path / name)[1].named_parameters()) for name in ("one", "several")
    )
    moved = [name for name in one if name.endswith("routing_bias")]
    assert len(moved) == 2
    for name in moved:
        assert one[name].abs().max() > 0
        assert torch.equal(several[name], one[name])


def large_run(rank, size, spec, document, out):
    world = World(rank=rank, size=size, device=torch.device("cpu"))
    plan = plan_of(mesh=MESHES["memory"], tables={"shard": "rows"})
    train(spec, document, plan=plan, world=world, out=out)


@pytest.mark.slow
def test_processes_save_a_large_run_in_the_background(spec, document, tmp_path):
    big = spec.pools["big"].model_copy(update={"num_keys": 512})  # 16 MiB of rows in fp32
    asked = document(checkpoint=Checkpoint(every_steps=1, keep=2))
    large = spec.replace(pools={"big": big})
    run_on_processes(2, large_run, 2, large, asked, tmp_path / "run")
    checkpoints = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert [step_of(path) for path in checkpoints] == [2, 3]
    load_model_from(tmp_path / "run")
