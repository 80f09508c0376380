"""Metrics, named as ``TrainSpec.metrics`` names them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archspec.blocks.module import ForwardContext
from archspec.model.attention.visible import document_mask
from archspec.train.data.mixture import Mixture
from archspec.train.data.source import LOSS, MAIN, DataSource, Rows


def as_context(rows: Rows, device: str | torch.device) -> ForwardContext:
    """Turn rows into what a forward pass gets; one document a row needs no mask."""
    documents = rows.documents
    single = bool((documents == documents[:, :1]).all())
    mask = None if single else document_mask(torch.from_numpy(documents).to(device))
    return ForwardContext(token_ids=torch.from_numpy(rows.token_ids).to(device), document_mask=mask)


def counted_nll(logits: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Pick the positions that count.

    Args:
        logits: [rows, seq_len, vocab_size].
        rows: The rows they answer.

    Returns:
        The logits there, [counted, vocab_size]; the targets, [counted]; and the negative
        log-likelihood of each target in nats, [counted].
    """
    counted = torch.from_numpy(rows.counted).to(logits.device)
    targets = torch.from_numpy(rows.targets).to(logits.device)[counted]
    chosen = logits if rows.counted.all() else logits[counted]
    chosen = chosen.reshape(-1, logits.shape[-1]).float()
    return chosen, targets, F.cross_entropy(chosen, targets, reduction="none")


@dataclass(slots=True)
class Score:
    """What the questions of one kind gave.

    Attributes:
        count: Targets.
        nll_sum: Negative log-likelihood of all of them, in nats.
        correct: Targets that are the likeliest of the source's choices; 0 without any.
    """

    count: int = 0
    nll_sum: float = 0.0
    correct: int = 0

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood of a target, in nats; of text, per byte."""
        return self.nll_sum / self.count if self.count else math.nan

    @property
    def accuracy(self) -> float:
        """Share of targets that are the likeliest of the source's choices."""
        return self.correct / self.count if self.count else math.nan


@torch.no_grad()
def evaluate(
    model: nn.Module, mixture: Mixture, *, micro_tokens: int, device: str
) -> dict[str, float]:
    """Measure a model on the fixed rows of every source.

    ``loss`` is the negative log-likelihood over the sources in the proportions of training, text
    being held out; ``facts.chance`` is the accuracy of guessing.

    Args:
        model: Left in the mode it came in.
        mixture: The data.
        micro_tokens: Tokens of one forward pass.
        device: Where the model is.
    """
    training = model.training
    model.eval()
    scores = {
        source.name: _score(model, source, micro_tokens, device) for source in mixture.sources
    }
    model.train(training)
    return dict(_metrics(mixture, scores))


def _score(
    model: nn.Module, source: DataSource, micro_tokens: int, device: str
) -> dict[str, Score]:
    """Return the score of each part of a source's questions."""
    rows = source.evaluation()
    masks = {MAIN: rows.counted, LOSS: rows.counted, **source.parts()}
    scores = {name: Score() for name in masks}
    start = 0
    for part in split_rows(rows, micro_tokens):
        context = as_context(part, device)
        logits, targets, losses = counted_nll(model(context.token_ids, context), part)
        losses = losses.double().cpu()
        correct = torch.zeros(len(losses), dtype=torch.bool)
        if source.choices is not None:
            first = source.choices.start
            best = logits[:, first : source.choices.stop].argmax(-1) + first
            correct = (best == targets).cpu()
        for name, mask in masks.items():
            mine = torch.from_numpy(mask[start : start + len(part)][part.counted])
            scores[name].count += int(mine.sum())
            scores[name].nll_sum += losses[mine].sum().item()
            scores[name].correct += int(correct[mine].sum())
        start += len(part)
    return scores


def split_rows(rows: Rows, micro_tokens: int) -> Iterator[Rows]:
    """Cut rows into parts of at most ``micro_tokens`` tokens, at least one row each."""
    size = max(1, micro_tokens // rows.token_ids.shape[1])
    for start in range(0, len(rows), size):
        yield rows.take(slice(start, start + size))


def _metrics(mixture: Mixture, scores: dict[str, dict[str, Score]]) -> Iterator[tuple[str, float]]:
    weights = [
        share * source.density
        for source, share in zip(mixture.sources, mixture.shares, strict=True)
    ]
    terms = [
        weight * scores[source.name][LOSS].nll
        for source, weight in zip(mixture.sources, weights, strict=True)
    ]
    yield "loss", sum(terms) / sum(weights)
    for source in mixture.sources:
        parts = dict(scores[source.name])
        del parts[LOSS]
        for part, score in parts.items():
            suffix = f".{part}" if part else ""
            if source.choices is not None:
                yield f"{source.name}.accuracy{suffix}", score.accuracy
                if part == MAIN:
                    yield f"{source.name}.chance", 1 / len(source.choices)
            yield f"{source.name}.nll{suffix}", score.nll
