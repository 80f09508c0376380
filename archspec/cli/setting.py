"""The options that say how a model is trained and run, shared by the commands that price it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from archspec.quantities import DTYPE_BYTES

if TYPE_CHECKING:
    from archspec.cost.estimates import Setting
    from archspec.spec.hardware import HardwareSpec

# Spelt out, for the command line is declared before the books are imported; a test compares.
RECOMPUTE = ("none", "selective", "full")
OPTIMIZERS = ("adamw", "adamw_fp32", "row_adam", "row_adagrad")


def add_conventions(parser: argparse.ArgumentParser, *, default_length: str) -> None:
    """Add what fixes the length of sequences and the size of elements."""
    parser.add_argument(
        "--seq-len",
        type=int,
        metavar="N",
        help=f"tokens per sequence, for attention (default: {default_length})",
    )
    parser.add_argument(
        "--dtype",
        choices=sorted(DTYPE_BYTES),
        default="bfloat16",
        help="element type of tables and activations, for bytes (default: bfloat16)",
    )


def add_setting(parser: argparse.ArgumentParser) -> None:
    """Add the options of memory and time."""
    group = parser.add_argument_group("memory and time, estimated for one device")
    group.add_argument(
        "--hardware",
        metavar="DEVICE",
        help="a device that `archspec hardware` lists, or the path of a hardware document",
    )
    group.add_argument(
        "--batch",
        type=int,
        metavar="B",
        help="sequences of a micro-batch, of a prefill, and decoded together (default: 1)",
    )
    group.add_argument(
        "--context",
        type=int,
        metavar="S",
        help="tokens that a decoded token attends to (default: the sequence length)",
    )
    group.add_argument(
        "--recompute",
        choices=RECOMPUTE,
        help="what the backward pass does again instead of keeping it (default: none)",
    )
    group.add_argument(
        "--optimizer",
        choices=OPTIMIZERS[:2],
        help="how parameters are held in training (default: adamw, in mixed precision)",
    )
    group.add_argument(
        "--table-optimizer",
        choices=OPTIMIZERS,
        help="the same for value tables; row_* update only the rows read (default: adamw)",
    )


def is_asked(arguments: argparse.Namespace) -> bool:
    """Tell whether any option of memory and time was given."""
    names = ("hardware", "batch", "context", "recompute", "optimizer", "table_optimizer")
    return any(getattr(arguments, name) is not None for name in names)


def setting_of(arguments: argparse.Namespace, *, seq_len: int | None) -> Setting:
    """Read the options."""
    from archspec.cost.estimates import Setting
    from archspec.cost.training import OPTIMIZERS as ROLES

    return Setting(
        seq_len=seq_len,
        batch=1 if arguments.batch is None else arguments.batch,
        length=arguments.context,
        recompute=arguments.recompute or "none",
        dtype=arguments.dtype,
        weights=ROLES[arguments.optimizer or "adamw"],
        tables=ROLES[arguments.table_optimizer or "adamw"],
    )


def hardware_of(arguments: argparse.Namespace) -> HardwareSpec | None:
    """Load the device that was asked for."""
    from archspec.spec.load import load_hardware

    return None if arguments.hardware is None else load_hardware(arguments.hardware)
