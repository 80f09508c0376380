"""Measure how far the counted activation bytes are from what training really keeps.

Small models of every kind of block train for one pass under each kind of recompute; the table goes
into docs/costs.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from archspec.cost.activations import RECOMPUTE, activation_memory
from archspec.cost.measure import measure_activations
from archspec.cost.summary import cost_context
from archspec.spec.load import load_model

PAGE = Path(__file__).parents[1] / "docs" / "costs.md"
START, END = "<!-- table: python -m benchmarks activations -->", "<!-- end of table -->"
SEQ_LEN = 64

TINY = "specs/models/tiny.yaml"
MIXED = "the tiny model, all four kinds"
MODELS = {
    MIXED: ["layers.place.private=[5]"],
    "dense, GELU": ["blocks.ffn.activation=gelu"],
    "dense and MoE, 2 shared experts": ["blocks.experts.num_shared_experts=2"],
    "memory with gate": ["layers.place.private=[5]", "blocks.private.gate=swilu"],
    "shared pool, 4 readers": ["layers.place.shared=[1, 2, 4, 5]"],
    "memory of rank-1 experts": ["layers.place.private=[5]", "blocks.private.expert=rank1"],
    "hashed n-grams": [
        "blocks.ngrams={type: ngram, slots: 512, row_dim: 16}",
        "layers.place.ngrams=[0, 1]",
    ],
    "an empty slot": ["blocks.nothing={type: none}", "layers.place.nothing=[0]"],
    "two blocks in one layer": ["layers.place.shared={at: [2, 4], beside: ffn}"],
    "grouped queries": ["attention.num_kv_heads=2"],
    "norms on queries and keys": ["attention.qk_norm=head"],
    "latent attention": [
        "attention={type: mla, num_heads: 4, kv_lora_rank: 32, nope_head_dim: 8, rope_head_dim: 8, "
        "value_head_dim: 16}",
    ],
}


def main() -> int:
    """Print the table and write it into its page."""
    torch.set_num_threads(1)
    rows = [f"| model | {' | '.join(RECOMPUTE)} |", f"|---|{'---:|' * len(RECOMPUTE)}"]
    for name, overrides in MODELS.items():
        spec = load_model(TINY, overrides)
        context = cost_context(spec, seq_len=SEQ_LEN, dtype="float32")
        cells = []
        for recompute in RECOMPUTE:
            counted = activation_memory(spec, context, recompute).kept
            measured = measure_activations(spec, recompute, seq_len=SEQ_LEN)
            cells.append(f"{counted:,} / {measured:,.0f} ({counted / measured - 1:+.1%})")
        rows.append(f"| {name} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    table = "\n".join(rows)
    page = PAGE.read_text()
    before, rest = page.split(START)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{START}\n\n{table}\n\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
