"""A model and a training small enough to run in a fraction of a second."""

import pytest
import torch

from archspec.spec.data.facts import FactsSource
from archspec.spec.data.text import TextSource
from archspec.spec.load import load_model
from archspec.spec.train import TrainSpec

MODEL = """\
archspec: 1
kind: model
vocab_size: 320
max_seq_len: 32
d_model: 16
attention: {num_heads: 2}
pools:
  big: {num_keys: 8, value_dim: 16}
blocks:
  ffn: {type: dense, hidden_dim: 24}
  experts: {type: moe, num_experts: 4, top_k: 2, hidden_dim: 16}
  private: {type: memory, num_keys: 8, value_dim: 16, num_heads: 2, top_k: 4, key_dim: 8,
            qk_norm: true}
  shared: {type: shared_pool, pool: big, num_heads: 2, top_k: 4, key_dim: 8}
layers: [private, experts, [ffn, shared]]
"""


@pytest.fixture(scope="session")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "model.yaml"
    path.write_text(MODEL)
    return load_model(path)


@pytest.fixture(scope="session")
def settings():
    """A factory of train documents."""

    def make(**changes):
        values = {
            "seq_len": 16,
            "batch_tokens": 128,
            "tokens": 128 * 12,
            "data": [
                FactsSource(task="facts", num_facts=48, num_objects=16, num_relations=4),
                TextSource(text="pydoc", weight=3.0),
            ],
        }
        return TrainSpec(**(values | changes))

    return make


@pytest.fixture(autouse=True)
def _one_thread():
    """Bitwise equality is promised for one number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
