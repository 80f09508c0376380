"""``archspec summary``: what a model costs, layer by layer."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from archspec.cli.command import (
    Subparsers,
    add_json,
    add_set,
    console,
    declare,
    print_csv,
    print_json,
)
from archspec.cli.setting import add_conventions, add_setting, hardware_of, is_asked, setting_of

if TYPE_CHECKING:
    from archspec.cost.estimates import Estimates
    from archspec.cost.summary import Summary
    from archspec.cost.verify import Verification
    from archspec.spec.model import ModelSpec


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "summary",
        run,
        summary="print the parameters, FLOPs and table bytes of a model, layer by layer",
        example="archspec summary specs/models/memory_plus_1.3b_16m.yaml --seq-len 2048\n"
        "archspec summary specs/models/dense_1.3b.yaml --hardware h100 --batch 8",
    )
    parser.add_argument("spec", metavar="SPEC", help="a model document")
    add_set(parser)
    add_conventions(parser, default_length="max_seq_len")
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
    parser.add_argument("--csv", action="store_true", help="print exact numbers as CSV instead")
    parser.add_argument(
        "--plot", metavar="FILE", help="also draw bars by layer into FILE.png or FILE.svg"
    )
    add_setting(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the summary; with ``--verify`` return 1 if the built model disagrees."""
    from archspec.cost.summary import summarize
    from archspec.errors import ArchspecError
    from archspec.spec.load import load_model

    spec = load_model(arguments.spec, arguments.overrides)
    try:
        summary = summarize(
            spec,
            seq_len=arguments.seq_len,
            dtype=arguments.dtype,
            causal=not arguments.full_attention,
        )
    except ValueError as error:
        raise ArchspecError(f"--seq-len: {error}") from None
    estimates = _estimates(spec, arguments) if is_asked(arguments) else None
    if arguments.plot is not None:
        from archspec.report.plot import plot_models

        plot_models([spec], arguments.plot, seq_len=summary.seq_len, dtype=summary.dtype)
    verification = None
    if arguments.verify:
        from archspec.cost.verify import verify

        verification = verify(spec, seq_len=summary.seq_len)
    _print(arguments, summary, estimates, verification)
    return 0 if verification is None or verification.agrees else 1


def _estimates(spec: ModelSpec, arguments: argparse.Namespace) -> Estimates:
    from archspec.cost.estimates import estimate
    from archspec.errors import ArchspecError

    hardware = hardware_of(arguments)
    try:
        return estimate(spec, setting_of(arguments, seq_len=arguments.seq_len), hardware)
    except ArchspecError:
        raise
    except ValueError as error:
        raise ArchspecError(str(error)) from None


def _print(
    arguments: argparse.Namespace,
    summary: Summary,
    estimates: Estimates | None,
    verification: Verification | None,
) -> None:
    if arguments.json:
        print_json(_as_dict(summary, estimates, verification))
        return
    if arguments.csv:
        from archspec.report.rows import summary_rows

        print_csv(summary_rows(summary, estimates))
        return
    from archspec.report.summary import summary_table, verification_lines

    out = console()
    out.print(summary_table(summary, unfold=arguments.all, width=out.width))
    if estimates is not None:
        from archspec.report.estimates import estimates_view

        out.print(estimates_view(estimates, summary, unfold=arguments.all))
    if verification is not None:
        out.print(verification_lines(verification))


def _as_dict(
    summary: Summary, estimates: Estimates | None, verification: Verification | None
) -> dict[str, object]:
    document = summary.as_dict()
    if estimates is not None:
        document["estimates"] = estimates.as_dict()
    if verification is not None:
        document["verification"] = {
            "agrees": verification.agrees,
            "built_params": verification.built_params,
            "built_flops_per_token_full_attention": float(verification.built_flops_per_token),
        }
    return document
