"""A model measured on the fixed rows of every source, by one process or all ranks together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from archspec.blocks.module import ForwardContext
from archspec.model.attention.visible import document_mask
from archspec.model.transformer import Transformer
from archspec.model.vocabulary import widen
from archspec.train.data.mixture import Mixture
from archspec.train.data.source import LOSS, MAIN, DataSource, Mask, Rows
from archspec.train.data.stream import Integers
from archspec.train.score import Score, score_of
from archspec.train.tally import Tally, sum_interval
from archspec.train.world import World

NLL, ACCURACY = "nll", "accuracy"
_Key = tuple[str, str, str]  # source, part, what is measured


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


def split_rows(rows: Rows, micro_tokens: int) -> Iterator[Rows]:
    """Cut rows into parts of at most ``micro_tokens`` tokens, at least one row each."""
    size = max(1, micro_tokens // rows.token_ids.shape[1])
    for start in range(0, len(rows), size):
        yield rows.take(slice(start, start + size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """How ranks share the rows of an evaluation.

    Attributes:
        world: All of them.
        copies: How many, beside each other, run the same rows: those of tensor parallelism.
    """

    world: World
    copies: int = 1

    def share(self, count: int) -> tuple[Integers, Mask]:
        """Return the numbers of this rank's rows, and which of them count.

        All ranks get as many, since under a plan they work together in every forward pass.
        """
        ranks = self.world.size // self.copies
        mine = np.arange(self.world.rank // self.copies, math.ceil(count / ranks) * ranks, ranks)
        return np.minimum(mine, count - 1), mine < count

    def sum(self, tallies: Mapping[_Key, Tally]) -> dict[_Key, Tally]:
        """Add up the tallies of all ranks."""
        moments = torch.from_numpy(np.stack([tally.moments for tally in tallies.values()]))
        total = (self.world.sum(moments) / self.copies).numpy()
        return {key: Tally(each) for key, each in zip(tallies, total, strict=True)}


@torch.no_grad()
def measure(
    model: Transformer,
    mixture: Mixture,
    *,
    micro_tokens: int,
    device: str | torch.device,
    ranks: Ranks | None = None,
) -> tuple[Score, ...]:
    """Measure a model on the fixed rows of every source.

    ``loss`` is the negative log-likelihood over the sources in the proportions of training, text
    being held out; ``facts.chance`` is the accuracy of guessing.

    Args:
        model: Left in the mode it came in.
        mixture: The data.
        micro_tokens: Tokens of one forward pass.
        device: Where the model is.
        ranks: The ranks that share the work, each of which calls this; by default there is one.
    """
    ranks = ranks or Ranks(world=World(rank=0, size=1, device=torch.device(device)))
    training = model.training
    model.eval()
    tallies: dict[_Key, Tally] = {}
    for source in mixture.sources:
        tallies |= _tally(model, source, micro_tokens, ranks)
    model.train(training)
    return tuple(_scores(mixture, ranks.sum(tallies)))


def evaluate(
    model: Transformer,
    mixture: Mixture,
    *,
    micro_tokens: int,
    device: str | torch.device,
    ranks: Ranks | None = None,
) -> dict[str, float]:
    """Measure a model as :func:`measure` does, for a log: names and values alone."""
    scores = measure(model, mixture, micro_tokens=micro_tokens, device=device, ranks=ranks)
    return {score.name: score.value for score in scores}


def _tally(
    model: Transformer, source: DataSource, micro_tokens: int, ranks: Ranks
) -> dict[_Key, Tally]:
    """Sum up this rank's answers to one source, by part and by what is measured."""
    rows = source.evaluation()
    parts = {MAIN: rows.counted, LOSS: rows.counted, **source.parts()}
    kinds = (NLL,) if source.choices is None else (ACCURACY, NLL)
    tallies = {(source.name, part, kind): Tally.empty() for part in parts for kind in kinds}
    numbers, counts = ranks.share(len(rows))
    size = max(1, micro_tokens // rows.token_ids.shape[1])
    for start in range(0, len(numbers), size):
        chosen = numbers[start : start + size]
        asked = rows.counted[chosen] & counts[start : start + size, None]
        taken = dataclasses.replace(rows.take(chosen), counted=asked)
        documents = (chosen[:, None] * rows.token_ids.shape[1] + taken.documents)[asked]
        for kind, values in _answers(model, taken, source.choices, ranks.world.device).items():
            for part, mask in parts.items():
                mine = mask[chosen][asked]
                tallies[source.name, part, kind] += Tally.of(values[mine], documents[mine])
    return tallies


def _answers(
    model: Transformer, rows: Rows, choices: range | None, device: torch.device
) -> dict[str, NDArray[np.float64]]:
    """Return what every counted target gives, each [counted] in the order of rows."""
    context = as_context(rows, device)
    counted, targets = (torch.from_numpy(each).to(device) for each in (rows.counted, rows.targets))
    if choices is None:
        return {NLL: _plain(model.nll(context.token_ids, targets, context, counted=counted))}
    logits = widen(model(context.token_ids, context, counted=counted))  # [counted, vocab_size]
    wanted = targets[counted]
    best = logits[:, choices.start : choices.stop].argmax(-1) + choices.start
    return {
        NLL: _plain(F.cross_entropy(logits, wanted, reduction="none")),
        ACCURACY: _plain(best == wanted),
    }


def _plain(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()


def _scores(mixture: Mixture, tallies: Mapping[_Key, Tally]) -> Iterator[Score]:
    yield _loss(mixture, tallies)
    for (source, part, kind), tally in tallies.items():
        if part == LOSS:
            continue
        name = f"{source}.{kind}.{part}" if part else f"{source}.{kind}"
        accuracy = kind == ACCURACY
        yield score_of(name, tally, tally.share_interval() if accuracy else tally.interval())
        if accuracy and part == MAIN:
            yield _chance(mixture, source)


def _loss(mixture: Mixture, tallies: Mapping[_Key, Tally]) -> Score:
    """Mix the sources' losses by how many targets each has in training."""
    each = [tallies[source.name, LOSS, NLL] for source in mixture.sources]
    targets = [
        share * source.density
        for source, share in zip(mixture.sources, mixture.shares, strict=True)
    ]
    weights = [target / sum(targets) for target in targets]
    value = sum(weight * tally.mean for weight, tally in zip(weights, each, strict=True))
    whole = sum(each, Tally.empty())
    return score_of("loss", whole, sum_interval(each, weights), value)


def _chance(mixture: Mixture, name: str) -> Score:
    """Return the accuracy of guessing, which is known and not measured."""
    (choices,) = (source.choices for source in mixture.sources if source.name == name)
    assert choices is not None, "accuracy is measured where there are choices"
    value = 1 / len(choices)
    return Score(name=f"{name}.chance", value=value, low=None, high=None, count=0, documents=0)
