"""Checkpoints between meshes: written by some ranks, read by others, to the bit."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from archspec.compiler.boxes import held, local_box
from archspec.compiler.compile import compile
from archspec.errors import RunError
from archspec.spec.dump import to_yaml
from archspec.spec.train import Optimizer
from archspec.testing.parity import batch, mean_loss, plan_of
from archspec.testing.parity_models import SMALL
from archspec.testing.ranks import RankError, run_on_processes, run_on_threads
from archspec.testing.specs import load_document
from archspec.train.checkpoint import (
    BackgroundSaver,
    State,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from archspec.train.export import export_weights
from archspec.train.optimizer import build_optimizer
from archspec.train.storage import ShardReader, ShardWriter, check_files, read_index


def sharded_state(spec, *, seed):
    """Build the model with every parameter cut over all ranks, tables included."""
    model = compile(spec, seed=seed)
    if dist.is_initialized():
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for module in (*model.pools.children(), *model.layers, model):
            fully_shard(module, mesh=mesh)
    return State(spec, model, build_optimizer(model, Optimizer()))


def whole(value):
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().clone()


def values(state):
    parameters = dict(state.model.named_parameters())
    moments = {
        f"{name}.{key}": whole(value)
        for name, parameter in parameters.items()
        for key, value in state.optimizer.state[parameter].items()
    }
    return {**{name: whole(value) for name, value in parameters.items()}, **moments}


def trained(spec):
    state = sharded_state(spec, seed=0)
    for _ in range(2):
        state.model(torch.arange(32).reshape(2, 16)).square().mean().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
    return state


def save(rank, spec, folder, background):
    state = trained(spec)
    expected = values(state)
    if background:
        saver = BackgroundSaver(folder, keep=1)
        saver.save(state, step=2)
        state.model(torch.arange(32).reshape(2, 16)).square().mean().backward()
        state.optimizer.step()  # while the other is being written
        saver.wait()
    else:
        save_checkpoint(folder, state, step=2, keep=1)
    return expected


def load(rank, spec, path):
    state = sharded_state(spec, seed=1)
    assert load_checkpoint(path, state) == 2
    return values(state)


def test_saved_on_eight_ranks_and_loaded_on_six_and_on_one(tmp_path, spec):
    expected, *_ = run_on_threads(8, save, spec, tmp_path, False)
    (path,) = list_checkpoints(tmp_path)
    assert len(list(path.glob("shard_*.safetensors"))) == 8
    for found in (run_on_threads(6, load, spec, path)[0], load(0, spec, path)):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    unique = sum(tensor.nbytes for tensor in expected.values())
    stored = sum(chunk_bytes(tensor) for tensor in read_index(path).values())
    assert stored == unique  # every element once, replicas included


def chunk_bytes(tensor):
    elements = sum(torch.Size(chunk.shape).numel() for chunk in tensor.chunks)
    return elements * tensor.dtype.itemsize


def test_shards_are_exported_as_one_file(tmp_path, spec):
    expected, *_ = run_on_threads(3, save, spec, tmp_path, False)
    export_weights(list_checkpoints(tmp_path)[0], tmp_path / "weights.safetensors")
    weights = load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


# A model whose sizes do not divide by the meshes, and three ways to lay it out.
MIXED = load_document(
    {
        **SMALL,
        "blocks": {
            **SMALL["blocks"],
            "private": {
                "type": "memory",
                "num_keys": 3,
                "value_dim": 12,
                "num_heads": 2,
                "top_k": 2,
                "key_dim": 8,
            },
            "ffn": {"type": "dense", "hidden_dim": 14},
        },
        "layers": ["experts", ["shared", "ffn"], "private"],
    }
)
MESHES = {
    8: {"dp_shard": 4, "tp": 2, "ep": 2, "memory": 4},
    6: {"dp_replicate": 3, "dp_shard": 2, "memory": 2},
    4: {"dp_shard": 2, "tp": 2, "ep": 2},
}


def planned_state(ranks, rank):
    plan = plan_of(mesh=MESHES[ranks], tables={"shard": "rows"})
    model = compile(MIXED, plan=plan)
    state = State(MIXED, model, build_optimizer(model, Optimizer()))
    mean_loss(model, *batch(MIXED, rank // MESHES[ranks].get("tp", 1))).backward()
    state.optimizer.step()
    return state


def parts(state):
    """Return what this rank holds of weights and moments, with the box that it is."""
    for name, parameter in state.model.named_parameters():
        yield name, local_box(parameter), held(parameter.detach()).clone()
        for key in ("exp_avg", "exp_avg_sq") if held(parameter).numel() else ():
            moment = state.optimizer.state[parameter][key]
            yield f"{name}.{key}", local_box(moment), held(moment).clone()


def save_plan(rank, ranks, folder):
    state = planned_state(ranks, rank)
    save_checkpoint(folder, state, step=1, keep=1)
    return list(parts(state))


def load_and_save_plan(rank, ranks, path, folder):
    state = planned_state(ranks, rank)
    load_checkpoint(path, state)
    save_checkpoint(folder, state, step=1, keep=1)


def test_any_plan_is_saved_and_loaded_by_any_other_to_the_bit(tmp_path):
    held_by_rank = run_on_threads(8, save_plan, 8, tmp_path / "8")
    run_on_threads(6, load_and_save_plan, 6, tmp_path / "8" / "step_000001", tmp_path / "6")
    run_on_threads(4, load_and_save_plan, 4, tmp_path / "6" / "step_000001", tmp_path / "4")
    model = compile(MIXED, dtype="float64", seed=1)
    state = State(MIXED, model, build_optimizer(model, Optimizer()))
    load_checkpoint(tmp_path / "4" / "step_000001", state)
    wholes = {name: value for name, _, value in parts(state)}
    for rank, found in enumerate(held_by_rank):
        for name, box, part in found:
            expected = wholes[name][tuple(slice(*bounds) for bounds in box)]
            assert torch.equal(part, expected), f"{name} on rank {rank}"


LAYOUTS = {
    "rows": [Shard(0), Replicate()],
    "columns": [Replicate(), Shard(1)],
    "both": [Shard(0), Shard(1)],
    "columns then rows": [Shard(1), Shard(0)],
    "copies": [Replicate(), Replicate()],
}


def write_layouts(rank, folder):
    mesh = init_device_mesh("cpu", (2, 3))
    tensors = {name: distribute_tensor(numbers(), mesh, cut) for name, cut in LAYOUTS.items()}
    from torch.distributed.checkpoint.state_dict_saver import save as write

    write(tensors, storage_writer=ShardWriter(folder, {"note": "hello"}))


def read_layouts(rank, folder):
    from torch.distributed.checkpoint.state_dict_loader import load as read

    mesh = init_device_mesh("cpu", (4,))
    empty = torch.zeros_like(numbers())
    tensors = {name: distribute_tensor(empty, mesh, [Shard(1)]) for name in LAYOUTS}
    read(tensors, storage_reader=ShardReader(folder, read_index(folder)))
    return {name: whole(tensor) for name, tensor in tensors.items()}


def numbers():
    return torch.arange(77.0).reshape(11, 7)


def test_any_layout_is_read_into_any_other(tmp_path):
    folder = tmp_path / "tensors"
    run_on_threads(6, write_layouts, folder)
    assert (folder / "note").read_text() == "hello"
    check_files(folder, read_index(folder))
    for tensor in run_on_threads(4, read_layouts, folder)[0].values():
        assert torch.equal(tensor, numbers())


def test_a_damaged_shard_stops_every_rank_with_the_same_message(tmp_path, spec):
    run_on_threads(2, save, spec, tmp_path, False)
    shard = tmp_path / "step_000002" / "shard_00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])

    def attempt(rank):
        with pytest.raises(RunError) as error:
            load_checkpoint(tmp_path / "step_000002", sharded_state(spec, seed=1))
        return str(error.value)

    first, second = run_on_threads(2, attempt)
    assert first == second
    assert "shard_00001.safetensors: is damaged" in first


def test_a_rank_that_cannot_write_is_named_and_nothing_is_published(tmp_path, spec, monkeypatch):
    from archspec.train import storage

    write = storage.save_file

    def full(tensors, path):
        if path.name == "shard_00001.safetensors":
            raise OSError(28, "No space left on device")
        write(tensors, path)

    monkeypatch.setattr(storage, "save_file", full)
    with pytest.raises(RankError, match=r"rank 1 cannot write the checkpoint: .*No space left"):
        run_on_threads(2, save, spec, tmp_path, False)
    assert list_checkpoints(tmp_path) == []


ENDLESS = """
    import sys
    from pathlib import Path
    import torch
    from archspec.compiler.compile import compile
    from archspec.spec.load import load_model
    from archspec.spec.train import Optimizer
    from archspec.train.checkpoint import State, save_checkpoint
    from archspec.train.optimizer import build_optimizer

    spec = load_model(sys.argv[1])
    model = compile(spec)
    state = State(spec, model, build_optimizer(model, Optimizer()))
    for step in range(1, 1_000_000):
        model(torch.arange(32).reshape(2, 16)).square().mean().backward()
        state.optimizer.step()
        save_checkpoint(Path(sys.argv[2]), state, step=step, keep=2)
        print(step, flush=True)
"""


@pytest.mark.slow
def test_killing_the_writer_leaves_a_checkpoint_that_loads(tmp_path, spec):
    document, runs = tmp_path / "model.yaml", tmp_path / "runs"
    document.write_text(to_yaml(spec))
    program = [sys.executable, "-c", textwrap.dedent(ENDLESS), str(document), str(runs)]
    for attempt in range(4):
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(3):
                process.stdout.readline()
            time.sleep(0.013 * attempt)
            process.send_signal(signal.SIGKILL)
        newest = list_checkpoints(runs)[-1]
        state = State(spec, model := compile(spec), build_optimizer(model, Optimizer()))
        assert load_checkpoint(newest, state) >= 2


def save_in_background(rank, spec, folder):
    expected = save(rank, spec, folder, True)
    if rank == 0:
        save_file(expected, folder / "expected.safetensors")


@pytest.mark.slow
def test_processes_save_in_the_background(tmp_path, spec):
    run_on_processes(2, save_in_background, spec, tmp_path)
    expected = load_file(tmp_path / "expected.safetensors")
    found = load(0, spec, list_checkpoints(tmp_path)[0])
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_a_checkpoint_is_hardly_larger_than_its_values(tmp_path, spec):
    big = spec.pools["big"].model_copy(update={"num_keys": 1024})  # 64 MB of rows
    state = trained(spec.replace(pools={"big": big}))
    path = save_checkpoint(tmp_path, state, step=1, keep=1)
    unique = sum(tensor.nbytes for tensor in values(state).values())
    assert unique > 100e6
    assert sum(file.stat().st_size for file in path.iterdir()) <= 1.02 * unique
