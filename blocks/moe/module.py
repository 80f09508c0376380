"""A mixture of experts: token choice, dropless."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from archspec.blocks.dense.config import DenseConfig, is_gated
from archspec.blocks.dense.module import DenseBlock, activate
from archspec.blocks.module import Block, BuildContext, ForwardContext, Part, select_present
from archspec.blocks.moe.config import MoeConfig
from archspec.initialisers import Initialiser, fan_in_normal
from archspec.kernels.grouped_matmul import grouped_matmul


class Experts(Part):
    """The routed experts' weights; rows come sorted by expert."""

    def __init__(self, config: MoeConfig, build: BuildContext) -> None:
        super().__init__()
        experts, d_model, hidden_dim = config.num_experts, build.scope.d_model, config.hidden_dim
        gate = nn.Parameter(torch.empty(experts, d_model, hidden_dim))
        self.activation = config.activation
        self.gate = gate if is_gated(config.activation) else None
        self.up = nn.Parameter(torch.empty(experts, d_model, hidden_dim))
        self.down = nn.Parameter(torch.empty(experts, hidden_dim, d_model))
        self._residual_gain = build.residual_gain

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start every expert as a dense block starts."""
        _, d_model, hidden_dim = self.up.shape
        inner = fan_in_normal(d_model)
        outer = fan_in_normal(hidden_dim, gain=self._residual_gain)
        return select_present({"gate": inner, "up": inner, "down": outer}, self)

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Run each row through its expert.

        Args:
            rows: [total, d_model], sorted by expert.
            counts: [num_experts], int64 rows of each expert.

        Returns:
            [total, d_model].
        """
        ends = counts.cumsum(0).to(torch.int32)
        gate = None if self.gate is None else grouped_matmul(rows, self.gate, ends)
        inner = activate(grouped_matmul(rows, self.up, ends), gate, self.activation)
        return grouped_matmul(inner, self.down, ends)


class MoeBlock(Block):
    """Every token runs through its ``top_k`` best experts, and through the shared ones."""

    def __init__(self, config: MoeConfig, build: BuildContext) -> None:
        super().__init__()
        self.config = config
        self.router = nn.Linear(build.scope.d_model, config.num_experts, bias=False)
        self.experts = Experts(config, build)
        shared_dim = config.num_shared_experts * config.hidden_dim
        self.shared = (
            DenseBlock(DenseConfig(hidden_dim=shared_dim, activation=config.activation), build)
            if shared_dim
            else None
        )

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start router outputs with variance 1."""
        return {"router.weight": fan_in_normal(self.router.in_features)}

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """See :class:`Block`; adds the loss ``load_balance`` to the context."""
        tokens = x.flatten(0, 1)  # [tokens, d_model]
        scores = self._scores(tokens)
        weights, chosen = scores.topk(self.config.top_k)  # [tokens, top_k]
        if self.config.normalize_scores:
            weights = weights / weights.sum(-1, keepdim=True)
        counts = _count(chosen, self.config.num_experts)
        context.add_loss("load_balance", load_balance_loss(scores, counts))
        if context.usage is not None:
            context.usage.record(self.experts, chosen, self.config.num_experts)
        result = self._run_experts(tokens, weights.to(x.dtype), chosen, counts).view_as(x)
        return result if self.shared is None else result + self.shared(x, context)

    def _scores(self, tokens: Tensor) -> Tensor:
        """Score every expert, [tokens, num_experts], at least in fp32."""
        logits = self.router(tokens)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.config.scores == "sigmoid":
            return torch.sigmoid(logits)
        return torch.softmax(logits, dim=-1)

    def _run_experts(
        self, tokens: Tensor, weights: Tensor, chosen: Tensor, counts: Tensor
    ) -> Tensor:
        """Sort the (token, choice) pairs by expert, run them, and sum each token's results.

        The rows are copied first and then permuted, in both directions: no two rows ever add into
        one place, so results do not depend on the order of atomics.
        """
        count, top_k = chosen.shape
        order = torch.argsort(chosen.flatten(), stable=True)  # [tokens * top_k], pair of each row
        places = torch.empty_like(order).scatter_(
            0, order, torch.arange(order.numel(), device=order.device)
        )
        copies = tokens[:, None].expand(-1, top_k, -1).reshape(count * top_k, -1)
        outputs = self.experts(copies.index_select(0, order), counts)
        weighted = outputs * weights.flatten().index_select(0, order)[:, None]
        back: Tensor = weighted.index_select(0, places).view(count, top_k, -1)
        return back.sum(1)


def load_balance_loss(scores: Tensor, counts: Tensor) -> Tensor:
    """Return ``E * sum_i f_i P_i``, which is 1 when balanced.

    Eq. 4 of Switch Transformers (Fedus et al., arXiv 2101.03961), with ``top_k`` choices a token.

    ``f_i`` is the share of choices that fell on expert i, ``P_i`` its mean share of the scores;
    only the latter has a gradient.

    Args:
        scores: [tokens, num_experts], not negative.
        counts: [num_experts] choices.
    """
    shares = (scores / scores.sum(-1, keepdim=True)).mean(0)  # [num_experts]
    choices = counts.to(shares.dtype)
    return counts.numel() * (choices / choices.sum() * shares).sum()


def _count(chosen: Tensor, num_experts: int) -> Tensor:
    """Count the choices of each expert; unlike bincount the shape is known without the data."""
    flat = chosen.flatten()
    return flat.new_zeros(num_experts).scatter_add_(0, flat, torch.ones_like(flat))
