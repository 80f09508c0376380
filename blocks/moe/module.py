"""A mixture of experts: token choice, dropless."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from archspec.blocks.dense.config import DenseConfig, is_gated
from archspec.blocks.dense.module import DenseBlock, activate
from archspec.blocks.linear import Linear
from archspec.blocks.module import Block, BuildContext, ForwardContext
from archspec.blocks.moe.config import MoeConfig
from archspec.blocks.moe.routing import (
    balance_step,
    choose_experts,
    count_choices,
    load_balance_loss,
)
from archspec.blocks.part import Part, local, select_present
from archspec.initialisers import Constant, Initialiser, fan_in_normal
from archspec.kernels.grouped_matmul import grouped_matmul

RunRows = Callable[[Tensor, Tensor], Tensor]


class Exchange(Protocol):
    """How rows meet their experts: in one process, or wherever experts are laid over several."""

    def __call__(self, run: RunRows, rows: Tensor, counts: Tensor) -> Tensor:
        """Return what the experts make of the rows, in the order of the rows.

        Args:
            run: Runs rows, sorted by expert, through the experts that this process holds, of each
                of which it gets the count.
            rows: [total, d_model], sorted by expert.
            counts: [num_experts], int64 rows of each expert.
        """


class Experts(Part):
    """The routed experts.

    Attributes:
        exchange: How rows meet them; whoever lays experts over processes replaces it.
    """

    def __init__(self, config: MoeConfig, build: BuildContext) -> None:
        super().__init__()
        experts, d_model, hidden_dim = config.num_experts, build.scope.d_model, config.hidden_dim
        gate = nn.Parameter(torch.empty(experts, d_model, hidden_dim))
        self.activation = config.activation
        self.gate = gate if is_gated(config.activation) else None
        self.up = nn.Parameter(torch.empty(experts, d_model, hidden_dim))
        self.down = nn.Parameter(torch.empty(experts, hidden_dim, d_model))
        self._residual_gain = build.residual_gain
        self.exchange: Exchange = _stay

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start every expert as a dense block starts."""
        _, d_model, hidden_dim = self.up.shape
        inner = fan_in_normal(d_model)
        outer = fan_in_normal(hidden_dim, gain=self._residual_gain)
        return select_present({"gate": inner, "up": inner, "down": outer}, self)

    def forward(self, tokens: Tensor, weights: Tensor, chosen: Tensor, counts: Tensor) -> Tensor:
        """Run every token through its experts and sum what they say.

        The (token, choice) pairs are sorted by expert. Rows are only ever read from where they
        stand, in both directions: no two rows add into one place, so results do not depend on the
        order of atomics.

        Args:
            tokens: [tokens, d_model].
            weights: [tokens, top_k].
            chosen: [tokens, top_k] experts.
            counts: [num_experts], int64 choices of each expert.

        Returns:
            [tokens, d_model].
        """
        top_k = chosen.shape[1]
        order = torch.argsort(chosen.flatten(), stable=True)  # [tokens * top_k], pair of each row
        places = invert(order)
        rows = _take_tokens(tokens, order, places, top_k)
        outputs = self.exchange(self.run_rows, rows, counts)
        by_pair = _permute(outputs, places, order)
        return _weighted_sum(by_pair.view(-1, top_k, outputs.shape[1]), weights)

    def run_rows(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Run each row through its expert.

        Args:
            rows: [total, d_model], sorted by expert.
            counts: int64 rows of each expert that this process holds.

        Returns:
            [total, d_model].
        """
        ends = counts.cumsum(0).to(torch.int32)
        gate = None if self.gate is None else grouped_matmul(rows, local(self.gate), ends)
        inner = activate(grouped_matmul(rows, local(self.up), ends), gate, self.activation)
        return grouped_matmul(inner, local(self.down), ends)


class _Permute(torch.autograd.Function):
    """Rows in another order; the gradient reads where stock autograd would add into zeros."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return rows.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        order, inverse = ctx.saved_tensors
        return _permute(grad, inverse, order), None, None


_permute: Callable[[Tensor, Tensor, Tensor], Tensor] = _Permute.apply


class _TakeTokens(torch.autograd.Function):
    """The row of each pair's token, pairs in some order; see :class:`_Permute`."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, order: Tensor, places: Tensor, top_k: int) -> Tensor:
        ctx.top_k = top_k
        ctx.save_for_backward(order, places)
        return tokens.index_select(0, order // top_k)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        order, places = ctx.saved_tensors
        by_pair = _permute(grad, places, order)
        return _sum_choices(by_pair.view(-1, ctx.top_k, grad.shape[1])), None, None, None


_take_tokens: Callable[[Tensor, Tensor, Tensor, int], Tensor] = _TakeTokens.apply


def _weighted_sum(by_choice: Tensor, weights: Tensor) -> Tensor:
    """Sum [tokens, top_k, width] by weights, [tokens, top_k], to [tokens, width]."""
    if by_choice.is_cpu and by_choice.dtype == weights.dtype and weights.itemsize > 2:
        # No products are stored: with 8 choices, forward and backward took an eighth of the time.
        return torch.bmm(weights[:, None], by_choice)[:, 0]
    return _sum_choices(by_choice * weights[..., None])


def _sum_choices(by_choice: Tensor) -> Tensor:
    """Sum [tokens, top_k, width] to [tokens, width], 16 bits by way of fp32 as torch does itself.

    On CPUs torch takes up to three times as long where it also rounds the sums.
    """
    if by_choice.is_cpu and by_choice.itemsize == 2:
        return by_choice.sum(1, dtype=torch.float32).to(by_choice.dtype)
    return by_choice.sum(1)


def invert(order: Tensor) -> Tensor:
    """Return the inverse of a permutation, [n]."""
    places = torch.arange(order.numel(), device=order.device)
    result: Tensor = torch.empty_like(order).scatter_(0, order, places)
    return result


def _stay(run: RunRows, rows: Tensor, counts: Tensor) -> Tensor:
    """Run rows where they are: this process holds all experts."""
    return run(rows, counts)


class MoeBlock(Block):
    """Every token runs through its ``top_k`` best experts, and through the shared ones."""

    def __init__(self, config: MoeConfig, build: BuildContext) -> None:
        super().__init__()
        d_model, width = build.scope.d_model, config.shared_width
        shared = DenseConfig(hidden_dim=width, activation=config.activation) if width else None
        self.config = config
        self.router = Linear(d_model, config.num_experts, bias=False)
        self.routing_bias = (
            nn.Parameter(torch.empty(config.num_experts), requires_grad=False)
            if config.routing_bias
            else None
        )
        self.experts = Experts(config, build)
        self.shared = None if shared is None else DenseBlock(shared, build)
        self.shared_gate = Linear(d_model, 1, bias=False) if config.shared_gate else None

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start outputs of router and gate with variance 1, and no expert with an advantage."""
        start = fan_in_normal(self.router.in_features)
        starts: dict[str, Initialiser] = {
            "router.weight": start,
            "shared_gate.weight": start,
            "routing_bias": Constant(0.0),
        }
        return select_present(starts, self)

    def balance(self, counts: Tensor, *, rate: float) -> None:
        """Move the routing bias against the load of the last step; a training step calls it.

        Args:
            counts: [num_experts] choices of all ranks, as :class:`UsageRecorder` counts them.
            rate: Size of the move.
        """
        assert self.routing_bias is not None, "balance moves a routing bias, which this block lacks"
        self.routing_bias.add_(balance_step(counts, rate).to(self.routing_bias.dtype))

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """See :class:`Block`; adds the loss ``load_balance`` to the context."""
        tokens = x.flatten(0, 1)  # [tokens, d_model]
        scores = self._scores(tokens)
        chosen = choose_experts(scores, self.routing_bias, self.config)  # [tokens, top_k]
        counts = count_choices(chosen, self.config.num_experts)
        loads = context.sum_over_batch(counts)
        context.add_loss("load_balance", load_balance_loss(scores, loads))
        if context.usage is not None:
            context.usage.record(self.experts, chosen, self.config.num_experts, reader=self)
        weights = self._weights(scores, chosen).to(x.dtype)
        result: Tensor = self.experts(tokens, weights, chosen, counts).view_as(x)
        return result if self.shared is None else result + self._run_shared(self.shared, x, context)

    def _scores(self, tokens: Tensor) -> Tensor:
        """Score every expert, [tokens, num_experts], at least in fp32."""
        logits = self.router(tokens)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.config.scores == "sigmoid":
            return torch.sigmoid(logits)
        return torch.softmax(logits, dim=-1)

    def _weights(self, scores: Tensor, chosen: Tensor) -> Tensor:
        """Return the weights of the chosen experts, [tokens, top_k]."""
        weights = scores.gather(-1, chosen)
        if self.config.normalize_scores:
            weights = weights / weights.sum(-1, keepdim=True)
        return weights * self.config.routed_scale

    def _run_shared(self, shared: DenseBlock, x: Tensor, context: ForwardContext) -> Tensor:
        """Run what every token runs through."""
        result: Tensor = shared(x, context)
        if self.shared_gate is None:
            return result
        return torch.sigmoid(self.shared_gate(x)) * result
