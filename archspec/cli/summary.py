"""``archspec summary``: what a model costs, layer by layer."""

from __future__ import annotations

import argparse

from archspec.cli.command import Subparsers, add_json, console, declare, print_json
from archspec.quantities import DTYPE_BYTES


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "summary",
        run,
        summary="print the parameters, FLOPs and table bytes of a model, layer by layer",
        example="archspec summary specs/models/memory_plus_1.3b_16m.yaml --seq-len 2048",
    )
    parser.add_argument("spec", metavar="SPEC", help="a model document")
    parser.add_argument(
        "--seq-len",
        type=int,
        metavar="N",
        help="tokens per sequence, for attention (default: max_seq_len)",
    )
    parser.add_argument(
        "--dtype",
        choices=sorted(DTYPE_BYTES),
        default="bfloat16",
        help="element type of tables and activations, for bytes (default: bfloat16)",
    )
    parser.add_argument(
        "--full-attention",
        action="store_true",
        help="count all of the attention core instead of its causal half",
    )
    parser.add_argument("--all", action="store_true", help="one row per layer, nothing folded")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="also build the model without memory (meta device) and compare; needs torch",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the summary; with ``--verify`` return 1 if the built model disagrees."""
    from archspec.cost.summary import summarize
    from archspec.errors import ArchspecError
    from archspec.spec.load import load_model

    spec = load_model(arguments.spec)
    try:
        summary = summarize(
            spec,
            seq_len=arguments.seq_len,
            dtype=arguments.dtype,
            causal=not arguments.full_attention,
        )
    except ValueError as error:
        raise ArchspecError(f"--seq-len: {error}") from None
    verification = None
    if arguments.verify:
        from archspec.cost.verify import verify

        verification = verify(spec, seq_len=summary.seq_len)
    if arguments.json:
        document = summary.as_dict()
        if verification is not None:
            document["verification"] = {
                "agrees": verification.agrees,
                "built_params": verification.built_params,
                "built_flops_per_token_full_attention": float(verification.built_flops_per_token),
            }
        print_json(document)
    else:
        from archspec.report.summary import summary_table, verification_lines

        out = console()
        out.print(summary_table(summary, unfold=arguments.all, width=out.width))
        if verification is not None:
            out.print(verification_lines(verification))
    return 0 if verification is None or verification.agrees else 1
