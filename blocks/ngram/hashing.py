"""From token ids to rows: a hash that any language gets right with 64-bit integers.

The n ids of an n-gram, each plus one so that 0 stays free for "no token", are the coefficients of a
linear form over the prime field of ``HASH_PRIME``, whose weights are drawn once per (seed, order,
head); its value modulo ``slots`` is the row. Two n-grams that differ meet in one head with
probability about 1 / slots (Carter and Wegman, "Universal Classes of Hash Functions", 1979), and
independently in another. No product exceeds int64.
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.blocks.module import ForwardContext
from archspec.blocks.ngram.config import HASH_PRIME, NgramConfig

NO_TOKEN = 0


def hash_weights(config: NgramConfig) -> list[list[int]]:
    """Return the weights of every linear form, [num_rows][offset + longest order].

    The first is the offset, then that of the current token, of the one before, and so on; a token
    further back than the order has weight 0.
    """
    return [
        [
            _draw(config.hash_seed, order, head, place) if place <= order else 0
            for place in range(config.orders[-1] + 1)
        ]
        for order in config.orders
        for head in range(config.num_heads)
    ]


def _draw(seed: int, order: int, head: int, place: int) -> int:
    """Draw a weight in 1..HASH_PRIME - 1."""
    digest = hashlib.sha256(f"{seed}:{order}:{head}:{place}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % (HASH_PRIME - 1) + 1


def find_slots(weights: Tensor, context: ForwardContext, slots: int) -> Tensor:
    """Hash the n-gram that ends at each token.

    Args:
        weights: [num_rows, 1 + longest order], int64.

    Returns:
        [batch, seq, num_rows] in [0, slots), int64.
    """
    total = weights[:, 0].expand(*context.token_ids.shape, -1)
    for back, ids in enumerate(recent_ids(context, weights.shape[1] - 1)):
        total = (total + ids[..., None] * weights[:, back + 1]) % HASH_PRIME
    return total % slots


def recent_ids(context: ForwardContext, count: int) -> list[Tensor]:
    """Return the ids of the current token, the one before, and so on, ``count`` in all.

    Each is [batch, seq], 1 + id; ``NO_TOKEN`` before the start of the sequence or the document.
    """
    known = context.token_ids.long() + 1
    seq = known.shape[1]
    if context.earlier_token_ids is not None:
        known = torch.cat((context.earlier_token_ids.long() + 1, known), dim=1)
    known = F.pad(known, (count - 1, 0), value=NO_TOKEN)
    last = known.shape[1]
    found = [known[:, last - seq - back : last - back] for back in range(count)]
    if context.document_mask is None:
        return found
    return [
        torch.where(_same_document(context.document_mask, back), ids, NO_TOKEN)
        for back, ids in enumerate(found)
    ]


def _same_document(mask: Tensor, back: int) -> Tensor:
    """Tell of each token whether the one ``back`` places before it is in its document.

    Args:
        mask: [batch, 1, seq, keys]; the last key is the last query's own.

    Returns:
        [batch, seq].
    """
    seq, keys = mask.shape[2:]
    seen = mask[:, 0].diagonal(offset=keys - seq - back, dim1=1, dim2=2)
    return F.pad(seen, (seq - seen.shape[1], 0), value=False)
