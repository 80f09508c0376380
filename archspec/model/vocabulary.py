"""Where tokens meet the vocabulary: embedding, logits, and the likelihood of a target."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.blocks.part import local
from archspec.kernels.linear import linear
from archspec.model.likelihood import target_nll


class Vocabulary(Protocol):
    """How tokens meet the rows of embedding and head, wherever those are."""

    def embed(self, token_ids: Tensor, weight: Tensor) -> Tensor:
        """Look tokens up, [batch, seq] to [batch, seq, d_model], in [vocab_size, d_model]."""

    def logits(self, x: Tensor, weight: Tensor) -> Tensor:
        """Score every token of the vocabulary, [..., d_model] to [..., vocab_size]."""

    def nll(self, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """Return each target's negative log-likelihood in nats, [tokens], at least in fp32.

        Args:
            x: [tokens, d_model].
            weight: [vocab_size, d_model].
            targets: [tokens].
        """


class LocalVocabulary:
    """All rows are in this process."""

    def embed(self, token_ids: Tensor, weight: Tensor) -> Tensor:
        """See :class:`Vocabulary`."""
        return F.embedding(token_ids, local(weight))

    def logits(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :class:`Vocabulary`."""
        return linear(x, local(weight))

    def nll(self, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """See :class:`Vocabulary`."""
        return target_nll(self.logits(x, weight), targets)


def widen(logits: Tensor) -> Tensor:
    """Return logits in at least fp32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
