"""Training steps as ways: forward, backward, update; the loss is what must equal everybody's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from archspec.bench.contest import Way
from archspec.model.transformer import Transformer
from archspec.spec.model import ModelSpec
from archspec.spec.read import parse_tree
from archspec.spec.resolve import resolve_model

LEARNING_RATE = 1e-4
Batch = tuple[Tensor, Tensor]  # token ids and the token after each, [batch, seq]
Loss = Callable[[Tensor, Tensor], Tensor]


def batches(vocab_size: int, *, rows: int, seq_len: int, count: int = 4) -> list[Batch]:
    """Draw batches that take turns."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(vocab_size, (count, rows, seq_len + 1), generator=generator)
    return [(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()) for tokens in drawn]


def step_way(loss: Loss, optimizer: torch.optim.Optimizer, inputs: Sequence[Batch]) -> Way:
    """Return forward, backward, update and the forgetting of gradients."""

    def run(batch: Batch) -> Tensor:
        value = loss(*batch)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value.detach()

    return Way(
        prepare=lambda turn: inputs[turn % len(inputs)],
        run=run,
        outputs=lambda value: (value.float(),),
    )


def our_loss(model: Transformer) -> Loss:
    """Return the mean cross-entropy, as `archspec train` takes it."""
    return lambda token_ids, targets: model.nll(token_ids, targets).mean()


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """Return the fastest AdamW of torch, over all parameters."""
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)


def model_spec(document: Mapping[str, Any]) -> ModelSpec:
    """Read a model document."""
    text = json.dumps({"archspec": 1, "kind": "model", **document})  # JSON is YAML
    return resolve_model(parse_tree(text, "benchmark.yaml"))
