import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from archspec.cli import main
from archspec.compiler.compile import compile
from archspec.errors import RunError
from archspec.spec.dump import spec_hash
from archspec.train.checkpoint import State, save_checkpoint
from archspec.train.export import export_weights
from archspec.train.load import find_checkpoint
from archspec.train.optimizer import build_optimizer
from archspec.train.storage import StoredTensor, read_index


@pytest.fixture
def state(spec, settings):
    model = compile(spec)
    state = State(spec, model, build_optimizer(model, settings().optimizer))
    model(torch.arange(32).reshape(2, 16)).square().mean().backward()
    state.optimizer.step()
    return state


@pytest.fixture
def checkpoint(tmp_path, state):
    return save_checkpoint(tmp_path / "run" / "checkpoints", state, step=7, keep=1)


def test_the_file_holds_the_weights_and_the_spec(tmp_path, checkpoint, state, spec):
    out = tmp_path / "new" / "weights.safetensors"
    size = export_weights(checkpoint, out)
    assert size == out.stat().st_size
    weights = load_file(out)
    assert weights.keys() == state.model.state_dict().keys()
    for name, value in state.model.state_dict().items():
        assert torch.equal(weights[name], value)
    with safe_open(out, framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["step"], metadata["spec_hash"]) == ("7", spec_hash(spec))
    assert json.loads(metadata["spec"])["d_model"] == spec.d_model


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.uint8, torch.bool])
def test_chunks_of_any_box_and_dtype_are_put_together(tmp_path, checkpoint, dtype):
    whole = (torch.arange(35).reshape(5, 7) % 2).to(dtype)
    boxes = [((0, 0), (3, 4)), ((0, 4), (3, 3)), ((3, 0), (2, 7)), ((5, 0), (0, 7))]
    parts = {
        str(i): whole[r : r + h, c : c + w].contiguous() for i, ((r, c), (h, w)) in enumerate(boxes)
    }
    save_file(parts, checkpoint / "shard_00000.safetensors")
    index = json.loads((checkpoint / "index.json").read_text())
    names = {torch.float64: "F64", torch.bfloat16: "BF16", torch.uint8: "U8", torch.bool: "BOOL"}
    index = {
        "model/odd": {
            "dtype": names[dtype],
            "shape": [5, 7],
            "chunks": [
                {"file": "shard_00000.safetensors", "key": str(i), "offsets": o, "shape": n}
                for i, (o, n) in enumerate(boxes)
            ],
        }
    }
    (checkpoint / "index.json").write_text(json.dumps(index))
    export_weights(checkpoint, tmp_path / "w.safetensors")
    assert torch.equal(load_file(tmp_path / "w.safetensors")["odd"], whole)


def test_an_existing_file_is_left_alone(tmp_path, checkpoint):
    out = tmp_path / "weights.safetensors"
    out.write_text("mine")
    with pytest.raises(RunError, match="exists already; name another file"):
        export_weights(checkpoint, out)
    assert out.read_text() == "mine"


def test_a_failure_leaves_nothing_behind(tmp_path, checkpoint, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archspec.train.export._copy", full)
    with pytest.raises(RunError, match="No space left on device; free space"):
        export_weights(checkpoint, tmp_path / "w.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_damaged_shard_is_named(tmp_path, checkpoint):
    shard = checkpoint / "shard_00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"shard_00000\.safetensors: is damaged"):
        export_weights(checkpoint, tmp_path / "w.safetensors")


def test_a_run_means_its_newest_checkpoint(checkpoint, state):
    newest = save_checkpoint(checkpoint.parent, state, step=9, keep=2)
    assert find_checkpoint(checkpoint.parents[1]) == newest
    assert find_checkpoint(checkpoint) == checkpoint
    with pytest.raises(RunError, match="there is no such directory"):
        find_checkpoint(checkpoint / "nowhere")


def test_the_command_says_what_it_wrote(tmp_path, checkpoint, capsys):
    out = tmp_path / "w.safetensors"
    assert main(["export", str(checkpoint.parents[1]), "--out", str(out)]) == 0
    assert f"of {checkpoint} to {out}." in capsys.readouterr().out
    assert main(["export", str(checkpoint), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    other = tmp_path / "other.safetensors"
    assert main(["export", str(checkpoint), "--out", str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == other.stat().st_size


def test_the_index_lists_every_tensor_whole(checkpoint, state):
    index = read_index(checkpoint)
    weight = index["model/pools.big.weight"]
    assert isinstance(weight, StoredTensor)
    assert weight.shape == tuple(state.model.state_dict()["pools.big.weight"].shape)
    assert len(weight.chunks) == 1
