"""Hold the books against the built model: parameters and FLOPs, to the unit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch.utils.flop_counter import FlopCounterMode

from archspec.compiler.build import build
from archspec.cost.summary import summarize
from archspec.spec.model import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the books say beside what the model built on the meta device has.

    Attributes:
        seq_len: Tokens of the one sequence that was run.
        counted_params: Parameters by the books.
        built_params: Parameters of the model.
        counted_flops_per_token: Forward FLOPs by the books, attention in full.
        built_flops_per_token: Forward FLOPs by torch's FlopCounterMode, which counts attention in
            full; a Fraction, for a miscount need not divide by the tokens.
    """

    seq_len: int
    counted_params: int
    built_params: int
    counted_flops_per_token: int
    built_flops_per_token: Fraction

    @property
    def agrees(self) -> bool:
        """Tell whether both numbers are the same."""
        return (
            self.counted_params == self.built_params
            and self.counted_flops_per_token == self.built_flops_per_token
        )


def verify(spec: ModelSpec, *, seq_len: int | None = None) -> Verification:
    """Build a model on the meta device, run it, and compare it with ``summarize``.

    Args:
        spec: The model.
        seq_len: Tokens of the sequence; default ``max_seq_len``.

    Raises:
        ValueError: If ``seq_len`` is not in 1..max_seq_len.
    """
    books = summarize(spec, seq_len=seq_len, causal=False)
    model = build(spec)
    token_ids = torch.empty(1, books.seq_len, dtype=torch.long, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(token_ids)
    return Verification(
        seq_len=books.seq_len,
        counted_params=books.total.num_params,
        built_params=sum(parameter.numel() for parameter in model.parameters()),
        counted_flops_per_token=books.total.flops_per_token,
        built_flops_per_token=Fraction(counter.get_total_flops(), books.seq_len),
    )
