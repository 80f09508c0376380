"""A model measured on the fixed rows of every source, by one process or all ranks together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

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
from archspec.train.share import DataShare
from archspec.train.tally import Tally, sum_interval
from archspec.train.world import World

NLL, ACCURACY = "nll", "accuracy"
ALONE = DataShare()
_Key = tuple[str, str, str]  # source, part, what is measured


def as_context(rows: Rows, device: str | torch.device) -> ForwardContext:
    """Turn rows into what a forward pass gets; one document a row needs no mask."""
    documents = rows.documents
    single = bool((documents == documents[:, :1]).all())
    mask = None if single else document_mask(torch.from_numpy(documents).to(device))
    return ForwardContext(token_ids=torch.from_numpy(rows.token_ids).to(device), document_mask=mask)


@torch.no_grad()
def measure(
    model: Transformer,
    mixture: Mixture,
    *,
    micro_tokens: int,
    device: str | torch.device,
    world: World | None = None,
    share: DataShare = ALONE,
) -> tuple[Score, ...]:
    """Measure a model on the fixed rows of every source.

    ``loss`` is the negative log-likelihood over the sources in the proportions of training, text
    being held out; ``facts.chance`` is the accuracy of guessing.

    Args:
        model: Left in the mode it came in.
        mixture: The data.
        micro_tokens: Tokens of one forward pass, over all ranks.
        device: Where the model is.
        world: The ranks that share the work, each of which calls this; by default there is one.
        share: What this rank does of it.
    """
    device = torch.device(device)
    training = model.training
    model.eval()
    tallies: dict[_Key, Tally] = {}
    for source in mixture.sources:
        tallies |= _tally(model, source, micro_tokens, device, share)
    model.train(training)
    if world is not None:
        tallies = _sum(tallies, world, share)
    return tuple(_scores(mixture, tallies))


def evaluate(
    model: Transformer,
    mixture: Mixture,
    *,
    micro_tokens: int,
    device: str | torch.device,
    world: World | None = None,
    share: DataShare = ALONE,
) -> dict[str, float]:
    """Measure a model as :func:`measure` does, for a log: names and values alone."""
    scores = measure(
        model, mixture, micro_tokens=micro_tokens, device=device, world=world, share=share
    )
    return {score.name: score.value for score in scores}


def _tally(
    model: Transformer,
    source: DataSource,
    micro_tokens: int,
    device: torch.device,
    share: DataShare,
) -> dict[_Key, Tally]:
    """Sum up this rank's answers to one source, by part and by what is measured."""
    rows = source.evaluation()
    parts = {MAIN: rows.counted, LOSS: rows.counted, **source.parts()}
    kinds = (NLL,) if source.choices is None else (ACCURACY, NLL)
    tallies = {(source.name, part, kind): Tally.empty() for part in parts for kind in kinds}
    numbers, counts = _own_rows(len(rows), share)
    size = max(1, micro_tokens // rows.token_ids.shape[1] // share.parts)
    first = np.arange(len(rows))[:, None] * (rows.documents.max() + 1)
    documents = first + rows.documents  # [rows, seq_len], a number for each document
    for start in range(0, len(numbers), size):
        chosen = numbers[start : start + size]
        asked = rows.counted[chosen] & counts[start : start + size, None]
        taken = dataclasses.replace(rows.take(chosen), counted=asked)
        asked_in = documents[chosen][asked]
        for kind, values in _answers(model, taken, source.choices, device).items():
            for part, mask in parts.items():
                mine = mask[chosen][asked]
                tallies[source.name, part, kind] += Tally.of(values[mine], asked_in[mine])
    return tallies


def _own_rows(count: int, share: DataShare) -> tuple[Integers, Mask]:
    """Return the numbers of this rank's rows, and which of them count.

    All ranks get as many, since under a plan they work together in every forward pass.
    """
    numbers = np.arange(share.index, -(-count // share.parts) * share.parts, share.parts)
    return np.minimum(numbers, count - 1), numbers < count


def _sum(tallies: Mapping[_Key, Tally], world: World, share: DataShare) -> dict[_Key, Tally]:
    """Add up the tallies of all ranks, those of one tp group being the same."""
    moments = torch.from_numpy(np.stack([tally.moments for tally in tallies.values()]))
    total = (world.sum(moments) / share.tp).numpy()
    return {key: Tally(each) for key, each in zip(tallies, total, strict=True)}


def _answers(
    model: Transformer, rows: Rows, choices: range | None, device: torch.device
) -> dict[str, NDArray[np.float64]]:
    """Return what every counted target gives, each [counted] in the order of rows."""
    context = as_context(rows, device)
    counted = torch.from_numpy(rows.counted)
    if choices is None:
        targets = torch.from_numpy(rows.targets).to(device)
        return {NLL: _plain(model.nll(context.token_ids, targets, context, counted))}
    logits = widen(model(context.token_ids, context, counted))  # [counted, vocab_size]
    wanted = torch.from_numpy(rows.targets[rows.counted]).to(device)
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
