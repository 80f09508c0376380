import pytest
import torch
from safetensors.torch import load_file

from archspec.compiler.compile import compile
from archspec.spec.load import load_model
from archspec.spec.train import Checkpoint, Optimizer
from archspec.train.balance import RoutingBalance
from archspec.train.events import Listener
from archspec.train.loop import train

MODEL = """\
archspec: 1
kind: model
vocab_size: 320
max_seq_len: 32
d_model: 16
attention: {num_heads: 2}
blocks:
  ffn: {type: dense, hidden_dim: 24}
  experts: {type: moe, num_experts: 8, top_k: 2, hidden_dim: 8, scores: sigmoid, routing_bias: true}
layers: [ffn, experts, experts]
"""


def load_biased(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(MODEL)
    return load_model(path)


def biases(out):
    (checkpoint,) = (out / "checkpoints").iterdir()
    state = load_file(checkpoint / "shard_00000.safetensors")
    return {name: value for name, value in state.items() if name.endswith("routing_bias")}


def test_a_bias_moves_against_the_load(tmp_path):
    model = compile(load_biased(tmp_path))
    balance = RoutingBalance(model, rate=0.5)
    for block in balance._blocks.values():
        balance.usage.record(block.experts, torch.tensor([0, 0, 0, 1]), 8, reader=block)
    balance.step()
    for block in balance._blocks.values():
        assert block.routing_bias[0] < 0 < block.routing_bias[7]
    assert not balance.usage.counts, "every step counts anew"


def test_nothing_is_counted_without_a_routing_bias(spec):
    assert RoutingBalance(compile(spec), rate=0.1).usage is None


class StopAfter(Listener):
    """Ends a run in the middle, the way a crash does."""

    def __init__(self, step):
        self.step = step

    def on_step(self, event):
        if event.step == self.step:
            raise RuntimeError("cut")


def test_training_moves_biases_and_resumes_exactly(tmp_path, settings):
    spec = load_biased(tmp_path)
    asked = settings(checkpoint=Checkpoint(every_steps=5, keep=1))
    straight = train(spec, asked, out=tmp_path / "straight")
    moved = biases(tmp_path / "straight")
    assert len(moved) == 2
    assert all(value.abs().max() > 0 for value in moved.values())
    cut = tmp_path / "cut"
    with pytest.raises(RuntimeError, match="cut"):
        train(spec, asked, out=cut, listener=StopAfter(8))
    resumed = train(spec, asked, out=cut, resume=True)
    assert [s.loss for s in resumed.history] == [s.loss for s in straight.history]
    for name, value in biases(cut).items():
        assert torch.equal(value, moved[name])


def test_a_rate_of_nothing_leaves_biases_alone(tmp_path, settings):
    asked = settings(optimizer=Optimizer(routing_bias_rate=0.0))
    train(load_biased(tmp_path), asked, out=tmp_path / "run")
    assert all(not value.any() for value in biases(tmp_path / "run").values())
