"""A small model learns each task far beyond what guessing gives, in seconds."""

import pytest

from archspec.spec.data.copy import CopySource
from archspec.spec.data.facts import FactsSource
from archspec.spec.data.memorization import MemorizationSource
from archspec.spec.data.recall import RecallSource
from archspec.spec.load import load_model
from archspec.spec.train import Optimizer, Schedule, TrainSpec
from archspec.train.loop import train

MODEL = """\
archspec: 1
kind: model
vocab_size: 400
max_seq_len: 32
d_model: 32
attention: {num_heads: 2}
blocks: {ffn: {type: dense, hidden_dim: 64}}
layers: [ffn, ffn]
"""


def learned(tmp_path, source, *, seq_len, steps, lr=1e-2):
    (tmp_path / "model.yaml").write_text(MODEL)
    settings = TrainSpec(
        seq_len=seq_len,
        batch_tokens=32 * seq_len,
        tokens=32 * seq_len * steps,
        data=[source],
        optimizer=Optimizer(lr=lr, weight_decay=0.01),
        schedule=Schedule(warmup_tokens=32 * seq_len * 30),
    )
    return train(load_model(tmp_path / "model.yaml"), settings, out=None).metrics


@pytest.mark.slow
def test_copies_are_learned(tmp_path):
    source = CopySource(task="copy", num_copied=4, noise=2, num_symbols=8)
    metrics = learned(tmp_path, source, seq_len=22, steps=600)
    assert metrics["copy.accuracy"] > 0.6 > 4 * metrics["copy.chance"]


@pytest.mark.slow
def test_recall_is_learned_beyond_knowing_which_values_are_left(tmp_path):
    source = RecallSource(task="recall", num_pairs=6, num_keys=8, num_values=8)
    metrics = learned(tmp_path, source, seq_len=24, steps=1500)
    left = sum(1 / n for n in range(1, 7)) / 6  # 41%
    assert metrics["recall.accuracy"] > left + 0.03


@pytest.mark.slow
def test_pairs_are_memorised(tmp_path):
    source = MemorizationSource(task="memorization", num_keys=64, num_values=32)
    metrics = learned(tmp_path, source, seq_len=32, steps=150)
    assert metrics["memorization.accuracy"] > 0.95


@pytest.mark.slow
def test_facts_are_memorised_the_common_ones_first_and_asked_in_new_wordings(tmp_path):
    source = FactsSource(
        task="facts",
        num_facts=64,
        num_objects=16,
        num_relations=4,
        form="sentences",
        held_out_wordings=2,
        skew=1.0,
    )
    metrics = learned(tmp_path, source, seq_len=28, steps=150)
    assert metrics["facts.accuracy"] > 0.6
    assert metrics["facts.accuracy.common"] >= metrics["facts.accuracy.rare"]
    assert metrics["facts.accuracy.held_out"] > 3 * metrics["facts.chance"]
