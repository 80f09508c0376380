"""Which experts a token is sent to, and how evenly they are used."""

from __future__ import annotations

import torch
from torch import Tensor

from archspec.blocks.moe.config import MoeConfig


def choose_experts(scores: Tensor, bias: Tensor | None, config: MoeConfig) -> Tensor:
    """Choose the ``top_k`` best experts of every token among the groups it may use.

    The bias and the limit to groups are those of DeepSeek-V3 (arXiv 2412.19437, section 2.1.2).

    Args:
        scores: [tokens, num_experts].
        bias: [num_experts], added for the choice alone.

    Returns:
        [tokens, top_k] experts, without a gradient.
    """
    ranked = scores.detach()
    if bias is not None:
        ranked = ranked + bias.detach()
    if config.num_groups > 1:
        ranked = _within_groups(ranked, config)
    return ranked.topk(config.top_k).indices


def _within_groups(ranked: Tensor, config: MoeConfig) -> Tensor:
    """Put the experts of all but the ``top_groups`` best groups behind every other.

    A group is worth the sum of its best ``top_k / top_groups`` scores, rounded up: of as many
    experts as a token takes from a group on average.
    """
    groups: Tensor = ranked.unflatten(
        -1, (config.num_groups, -1)
    )  # [tokens, num_groups, group_size]
    share = -(-config.top_k // config.top_groups)
    worth = groups.topk(share).values.sum(-1)  # [tokens, num_groups]
    chosen = worth.topk(config.top_groups).indices
    closed = torch.ones_like(worth, dtype=torch.bool).scatter_(-1, chosen, False)
    return torch.masked_fill(groups, closed[..., None], -torch.inf).flatten(-2)


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


def balance_step(counts: Tensor, rate: float) -> Tensor:
    """Return how a routing bias moves: ``rate`` up for experts used less than the mean, else down.

    Algorithm 1 of Wang et al., "Auxiliary-Loss-Free Load Balancing", arXiv 2408.15664.

    Args:
        counts: [num_experts] choices since the last step.
        rate: Size of the step; the paper's is 0.001.
    """
    used = counts.to(torch.float64)
    return rate * torch.sign(used.mean() - used)


def count_choices(chosen: Tensor, num_experts: int) -> Tensor:
    """Count the choices of each expert; unlike bincount the shape is known without the data."""
    flat = chosen.flatten()
    return flat.new_zeros(num_experts).scatter_add_(0, flat, torch.ones_like(flat))
