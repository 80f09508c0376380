"""Compare the books with torchinfo, fvcore, calflops and torch's FlopCounterMode.

Small models of the four kinds run one sequence through each counter in one process. Exact is what
the built model has: its unique parameters, and the FLOPs of torch's counter on the meta device with
the formulas of our ops, attention in full. Writes the table of docs/counters.md. Needs the extra
`bench`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from archspec.compiler.compile import compile
from archspec.cost.summary import summarize
from archspec.cost.verify import verify
from archspec.spec.load import load_model
from archspec.spec.model import ModelSpec

SEQ_LEN = 128
PAGE = Path(__file__).parents[1] / "docs" / "counters.md"
START, END = "<!-- table: make bench-counters -->", "<!-- end of table -->"

SMALL = ("vocab_size=1024", f"max_seq_len={SEQ_LEN}", "d_model=128", "attention.num_heads=4")
PLACED = (*SMALL, "layers.num_layers=8")
KEYS = ("num_heads=2", "top_k=8", "key_dim=64")
MODELS = {
    "dense": ("dense_1.3b", (*PLACED, "blocks.ffn.hidden_dim=352")),
    "MoE, 1 of 4 experts": ("moe_1.3b", (*PLACED, "blocks.experts.hidden_dim=352")),
    "memory, one layer": (
        "memory_1.3b",
        (
            *PLACED,
            "blocks.ffn.hidden_dim=352",
            "blocks.memory.num_keys=96",
            "blocks.memory.value_dim=128",
            *(f"blocks.memory.{key}" for key in KEYS),
        ),
    ),
    "shared pool, three readers": (
        "memory_plus_1.3b_1m",
        (
            *PLACED,
            "blocks.ffn.hidden_dim=352",
            "pools.values.num_keys=96",
            "pools.values.value_dim=128",
            "layers.place.memory.centered.stride=2",
            *(f"blocks.memory.{key}" for key in KEYS),
        ),
    ),
}


@dataclass(frozen=True)
class Count:
    """What a counter reports, None where it reports nothing."""

    params: int | None
    flops: float | None


def by_archspec(spec: ModelSpec, _model: nn.Module, _tokens: Tensor) -> Count:
    """Read the books."""
    total = summarize(spec, causal=False).total
    return Count(total.num_params, total.flops_per_token * SEQ_LEN)


def by_torchinfo(_spec: ModelSpec, model: nn.Module, tokens: Tensor) -> Count:
    """Run torchinfo, whose mult-adds are multiply-accumulates."""
    from torchinfo import summary

    found = summary(model, input_data=tokens, verbose=0)
    return Count(found.total_params, 2 * found.total_mult_adds)


def by_fvcore(_spec: ModelSpec, model: nn.Module, tokens: Tensor) -> Count:
    """Run fvcore, whose flops are multiply-accumulates."""
    from fvcore.nn import FlopCountAnalysis, parameter_count

    analysis = FlopCountAnalysis(model, tokens)
    analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
    return Count(parameter_count(model)[""], 2 * analysis.total())


def by_calflops(_spec: ModelSpec, model: nn.Module, tokens: Tensor) -> Count:
    """Run calflops."""
    from calflops import calculate_flops

    flops, _, params = calculate_flops(
        model, kwargs={"token_ids": tokens}, print_results=False, output_as_string=False
    )
    return Count(params, flops)


def by_torch(_spec: ModelSpec, model: nn.Module, tokens: Tensor) -> Count:
    """Run torch's own counter on the CPU; it counts no parameters."""
    with FlopCounterMode(display=False) as counter:
        model(tokens)
    return Count(None, counter.get_total_flops())


COUNTERS: dict[str, Callable[[ModelSpec, nn.Module, Tensor], Count]] = {
    "archspec": by_archspec,
    "torchinfo": by_torchinfo,
    "fvcore": by_fvcore,
    "calflops": by_calflops,
    "FlopCounterMode": by_torch,
}


def count(name: str, spec: ModelSpec) -> Count:
    """Run one counter on a fresh model, quietly."""
    model = compile(spec, device="cpu", seed=0).eval()
    tokens = torch.zeros(1, SEQ_LEN, dtype=torch.long)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        return COUNTERS[name](spec, model, tokens)


def cells(value: float | None, exact: int) -> str:
    """Write a number and its ratio to the exact one."""
    if value is None:
        return "- | "
    right = " **exact**" if value == exact else f" {value / exact:.3f}x"
    return f"{value:,.0f} |{right}"


def table() -> str:
    """Return the table in Markdown."""
    lines = [
        "| model | counter | parameters | | forward FLOPs | |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for title, (name, overrides) in MODELS.items():
        spec = load_model(f"specs/models/{name}.yaml", overrides)
        built = verify(spec, seq_len=SEQ_LEN)
        params, flops = built.built_params, int(built.built_flops_per_token * SEQ_LEN)
        for index, counter in enumerate(COUNTERS):
            found = count(counter, spec)
            cell = f"{cells(found.params, params)} | {cells(found.flops, flops)}"
            lines.append(f"| {'' if index else title} | {counter} | {cell} |")
    return "\n".join(lines)


def versions() -> str:
    """Name what was run."""
    names = ("torchinfo", "fvcore", "calflops", "torch")
    return "Versions: " + ", ".join(f"{name} {version(name)}" for name in names) + "."


def main() -> int:
    """Print the table and write it into its page."""
    missing = [name for name in ("torchinfo", "fvcore", "calflops") if not installed(name)]
    if missing:
        print(f"not installed: {', '.join(missing)}; run `make bench-counters`")
        return 0
    logging.disable(logging.WARNING)
    text = f"{table()}\n\n{versions()}"
    print(text)
    page = PAGE.read_text()
    before, rest = page.split(START)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}")
    return 0


def installed(name: str) -> bool:
    """Tell whether a distribution is there."""
    import importlib.util

    return importlib.util.find_spec(name) is not None


if __name__ == "__main__":
    sys.exit(main())
