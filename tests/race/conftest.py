from pathlib import Path

import pytest

DENSE = """\
archspec: 1
kind: model
name: dense
vocab_size: 300
max_seq_len: 32
d_model: 16
attention: {num_heads: 2}
blocks:
  ffn: {type: dense, hidden_dim: 48}
layers: {num_layers: 3, default: ffn}
"""
SHARED = """\
archspec: 1
kind: model
name: shared
vocab_size: 300
max_seq_len: 32
d_model: 16
attention: {num_heads: 2}
pools: {big: {num_keys: 8, value_dim: 16}}
blocks:
  ffn: {type: dense, hidden_dim: 64}
  shared: {type: shared_pool, pool: big, num_heads: 1, top_k: 4, key_dim: 8}
layers: {num_layers: 3, default: ffn, place: {shared: {at: [1], beside: ffn}}}
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 64
tokens: 640
data: [{task: facts, num_facts: 16, num_objects: 4}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with documents of small designs."""
    large = DENSE.replace("hidden_dim: 48", "hidden_dim: 128").replace("name: dense", "name: large")
    documents = {"dense": DENSE, "shared": SHARED, "large": large, "train": TRAIN}
    for name, text in documents.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path
