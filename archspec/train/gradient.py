"""The gradient of one optimizer step, summed over its micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from archspec.blocks.usage import UsageRecorder
from archspec.errors import ArchspecError, suggest
from archspec.model.transformer import Transformer
from archspec.spec.train import TrainSpec
from archspec.train.data.source import Rows
from archspec.train.evaluate import as_context
from archspec.train.share import DataShare


class BatchGradient:
    """Adds the gradient of a batch to the parameters' gradients, a micro-batch at a time.

    The micro-batches and ranks together give the gradient of the whole batch, however its targets
    are spread over them. Auxiliary losses are averaged over micro-batches and ranks.

    Args:
        model: In training mode.
        train: Sizes and coefficients.
        share: What this rank sees of a batch.
        device: Where the model is.
    """

    def __init__(
        self, model: Transformer, train: TrainSpec, share: DataShare, device: torch.device
    ) -> None:
        self._model = model
        self._rows = train.micro_tokens // train.seq_len
        self._parts = train.batch_tokens // train.micro_tokens
        self._coefficients = train.losses.coefficients()
        self._share = share
        self._device = device
        self._defer = _deferral(model) if self._parts > 1 else None

    def accumulate(self, rows: Rows, usage: UsageRecorder | None = None) -> dict[str, Tensor]:
        """Run forward and backward passes over a batch.

        Args:
            rows: The whole batch.
            usage: Counts choices, if given.

        Returns:
            This rank's ``loss``, the mean cross-entropy of the targets, and each auxiliary loss
            averaged over its blocks, without coefficient: 0-dimensional, their means over ranks
            being those of the batch.

        Raises:
            ArchspecError: A block adds a loss that the document gives no coefficient for.
        """
        # Gradients are means over the data-parallel ranks, so each counts its targets so often.
        targets = int(rows.counted.sum()) / self._share.parts
        totals: dict[str, Tensor] = {}
        for number, part in enumerate(self._share.micro_batches(rows, self._rows), 1):
            if self._defer is not None:
                self._defer(number < self._parts)
            self._pass(part, targets, usage, totals)
        return totals

    def _pass(
        self, part: Rows, targets: float, usage: UsageRecorder | None, totals: dict[str, Tensor]
    ) -> None:
        context = as_context(part, self._device)
        context.usage = usage
        answers = torch.from_numpy(part.targets).to(self._device)
        counted = torch.from_numpy(part.counted)
        loss = self._model.nll(context.token_ids, answers, context, counted).sum() / targets
        _add(totals, "loss", loss)
        for name, values in context.losses.items():
            mean = torch.stack(values).mean() / self._parts
            _add(totals, name, mean)
            loss = loss + _coefficient(name, self._coefficients) * len(values) * mean
        loss.backward()


def _add(totals: dict[str, Tensor], name: str, value: Tensor) -> None:
    value = value.detach()
    totals[name] = totals[name] + value if name in totals else value


def _coefficient(name: str, known: Mapping[str, float]) -> float:
    if name not in known:
        raise ArchspecError(
            f"a block adds the loss {name!r}, but the train document's `losses` has no coefficient "
            f"for it; {suggest(name, known)}"
        )
    return known[name]


def _deferral(model: Transformer) -> Callable[[bool], None] | None:
    """Return what puts sums over replicas off until the last micro-batch; None without FSDP.

    Shards are summed in every backward pass, because whole gradients would have to be kept
    otherwise, and that is what sharding avoids. Replicas keep nothing more.
    """
    if type(model) is Transformer:
        return None
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(model, FSDPModule):
        return None
    return lambda defer: model.set_requires_all_reduce(not defer)
