"""One optimizer step, on any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from archspec.compiler.clip import clip_gradients
from archspec.model.transformer import Transformer
from archspec.spec.plan import PlanSpec
from archspec.spec.train import TrainSpec
from archspec.train.balance import RoutingBalance
from archspec.train.data.source import Rows
from archspec.train.gradient import BatchGradient
from archspec.train.optimizer import build_optimizer, check_rounding, set_lr_share, settle_decay
from archspec.train.schedule import lr_share
from archspec.train.share import DataShare
from archspec.train.tables import TableGradients
from archspec.train.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of a step before the parameters move, the same on every rank.

    Attributes:
        loss: Mean cross-entropy of its targets, in nats.
        auxiliary: Auxiliary losses by name, without coefficient, averaged over blocks.
        grad_norm: Global norm of the gradient before clipping.
        stop: Whether any rank was asked to stop.
    """

    loss: float
    auxiliary: Mapping[str, float]
    grad_norm: float
    stop: bool


class Stepper:
    """Takes optimizer steps: :meth:`measure` makes the gradient, :meth:`update` applies it.

    Between the two whoever trains may look at the numbers, and stop before the parameters change.

    Attributes:
        model: In training mode.
        optimizer: Of its parameters.
    """

    def __init__(
        self,
        model: Transformer,
        train: TrainSpec,
        *,
        world: World,
        share: DataShare,
        plan: PlanSpec | None = None,
    ) -> None:
        self.model = model
        self._train = train
        self._world = world
        self._total = train.num_steps * train.batch_tokens
        self._limit = train.optimizer.clip_norm or math.inf
        self._tables = TableGradients(model)
        self._rows = self._tables.rows
        if plan is not None and self._rows:
            check_rounding(plan.precision)
        self.optimizer = build_optimizer(model, train.optimizer, self._rows, seed=train.seed)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._gradient = BatchGradient(model, train, share, world.device)
        self._balance = RoutingBalance(
            model, rate=train.optimizer.routing_bias_rate, world=world, copies=share.tp
        )
        # Look-ups that bypass the carrier do not count in what rows owe.
        self._settles = self._tables.has_dense and train.optimizer.tables.weight_decay > 0

    def measure(self, rows: Rows, *, stop: bool = False) -> Measured:
        """Make the gradient of a batch, clipped, and wait for what it is like.

        Args:
            rows: The whole batch, the same on every rank.
            stop: Whether this rank was asked to stop.
        """
        losses = self._gradient.accumulate(rows, self._balance.usage)
        self._tables.finish(all_counted=bool(rows.counted.all()))
        norm = clip_gradients(self._parameters, self._limit, self._rows)
        asked = torch.full_like(norm, float(stop))
        own = torch.stack([value.to(norm) for value in (asked, *losses.values())])
        means = self._world.sum(own) / self._world.size
        asked_by, grad_norm, *values = torch.cat([means[:1], norm[None], means[1:]]).tolist()
        named = dict(zip(losses, values, strict=True))
        loss = named.pop("loss")
        return Measured(loss=loss, auxiliary=named, grad_norm=grad_norm, stop=asked_by > 0)

    def update(self, number: int) -> float:
        """Apply the gradient as step ``number``, counted from 1; return the learning rate."""
        settings, tokens = self._train.optimizer, number * self._train.batch_tokens
        share = lr_share(self._train.schedule, tokens=tokens, total=self._total)
        tables = share
        if settings.tables.schedule is not None:
            tables = lr_share(settings.tables.schedule, tokens=tokens, total=self._total)
        set_lr_share(self.optimizer, share, tables)
        self.optimizer.step()
        self.settle()
        self._balance.step()
        self.optimizer.zero_grad()
        return settings.lr * share

    def settle(self) -> None:
        """Apply decay that look-ups would not count in; after a state was loaded, too."""
        if self._settles:
            settle_decay(self.optimizer)
