"""A finished search to report on: real files, an objective with planted effects, no training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from archspec.search.fidelity import Fidelity
from archspec.search.objective import Outcome
from archspec.search.results import SearchResults
from archspec.search.study import start_search
from archspec.spec.dump import spec_hash
from archspec.spec.load import load_search
from archspec.spec.model import ModelSpec

MODEL = """\
archspec: 1
kind: model
name: mini
vocab_size: 50
max_seq_len: 32
d_model: 16
attention: {num_heads: 2}
pools:
  big: {num_keys: 16, value_dim: 16}
blocks:
  ffn: {type: dense, hidden_dim: 40}
  experts: {type: moe, num_experts: 4, top_k: 2, hidden_dim: 24}
  private: {type: memory, num_keys: 12, value_dim: 16, num_heads: 2, top_k: 4, key_dim: 8}
  shared: {type: shared_pool, pool: big, num_heads: 2, top_k: 4, key_dim: 6}
layers: {num_layers: 6, default: ffn, place: {shared: [3]}}
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 64
tokens: 640
data: [{task: facts, num_facts: 64, num_objects: 8}]
"""
SEARCH = """\
archspec: 1
kind: search
base: model.yaml
vary:
  layers: {choices: [ffn, experts, private, shared], fixed: {0: ffn}}
  pools.big.num_keys: [8, 16]
budgets: {flops_per_token: {max: 1.1x}, device_bytes: {max: 1.3x}}
objective: {train: train.yaml, metric: facts.nll}
trials: 24
finalists: 3
seed: 3
"""
PLANTED = {"memory": (3, -0.8), "shared_pool": (2, -0.3), "moe": (5, -0.4)}  # layer, effect


class PlantedObjective:
    """Scores a design by three planted effects and noise; a pure function of design and seed.

    Args:
        noise: Standard deviation over seeds.
        interrupt_at: The call that is interrupted, 0 for none.
    """

    def __init__(self, *, noise: float = 0.02, interrupt_at: int = 0) -> None:
        self.noise = noise
        self.interrupt_at = interrupt_at
        self.calls = 0

    def __call__(self, spec: ModelSpec, seed: int, *, fidelity: Fidelity | None = None) -> Outcome:
        """Judge; raises KeyboardInterrupt once, if asked to."""
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        value = 3.0 - 1e-3 * (fidelity.tokens or 0 if fidelity else 0)
        for kind, (layer, effect) in PLANTED.items():
            value += effect * any(block.type == kind for block in spec.layers[layer].blocks)
        rng = np.random.default_rng(int(spec_hash(spec)[:8], 16) + seed)
        value += self.noise * float(rng.normal())
        metrics = {"facts.nll": value, "facts.accuracy": 0.5, "facts.chance": 0.125}
        return Outcome(value=value, metrics=metrics, seconds=2.0)


def write_documents(folder: Path, search: str = SEARCH) -> Path:
    """Write the documents of a search and return its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(MODEL)
    (folder / "train.yaml").write_text(TRAIN)
    path = folder / "search.yaml"
    path.write_text(search)
    return path


def searched(
    folder: Path, *, search: str = SEARCH, trials: int | None = None, noise: float = 0.02
) -> tuple[Path, SearchResults]:
    """Run a search below a folder and return its directory and its results."""
    spec = load_search(write_documents(folder / "documents", search))
    if trials is not None:
        document = spec.document.model_copy(update={"trials": trials})
        spec = dataclasses.replace(spec, trials=trials, document=document)
    out = folder / "run"
    return out, start_search(spec, out, objective=PlantedObjective(noise=noise))
