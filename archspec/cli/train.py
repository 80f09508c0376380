"""``archspec train``: train a model, or go on with a run that was cut short."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from archspec.cli import INTERRUPTED
from archspec.cli.command import Subparsers, add_json, console, declare, print_json
from archspec.errors import RunError

if TYPE_CHECKING:
    from archspec.train.events import TrainResult


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "train",
        run,
        summary="train a model and measure what it learned",
        example=(
            "archspec train specs/models/tiny.yaml --train specs/train/tiny.yaml --out runs/first\n"
            "  archspec train --resume runs/first"
        ),
    )
    parser.add_argument("spec", nargs="?", metavar="SPEC", help="a model document")
    parser.add_argument("--train", metavar="TRAIN", help="a train document")
    parser.add_argument("--out", metavar="RUN_DIR", help="directory to make for the run")
    parser.add_argument(
        "--resume",
        metavar="RUN_DIR",
        help="go on with a run from its last checkpoint; all settings are its own, the plan too "
        "unless another is given",
    )
    parser.add_argument(
        "--plan", metavar="PLAN", help="a plan document: how the model is laid over ranks"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="instead of the train document's")
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda or cuda:N (default: cpu, or the device of the run that goes on)",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, then say what was learned; 130 if a signal stopped the run."""
    _check_arguments(arguments)
    from rich.console import Console

    from archspec.report.training import TrainingView, result_table, speed_line
    from archspec.spec.load import load_model, load_plan, load_train
    from archspec.train.loop import train
    from archspec.train.run_directory import load_run

    out = Path(arguments.resume or arguments.out)
    if arguments.resume:
        record = load_run(out)
        spec, settings, device = record.spec, record.train, record.device
        plan = record.plan
    else:
        spec, settings, device = load_model(arguments.spec), load_train(arguments.train), "cpu"
        plan = None
    if arguments.plan:
        plan = load_plan(arguments.plan)
    view = TrainingView(Console(stderr=True, highlight=False))
    try:
        result = train(
            spec,
            settings,
            out=out,
            resume=bool(arguments.resume),
            seed=arguments.seed,
            device=arguments.device or device,
            listener=view,
            plan=plan,
        )
    finally:
        view.close()
    if arguments.json:
        print_json(_as_json(result, out))
        return _status(result)
    screen = console()
    if result.finished:
        screen.print(result_table(result, settings))
        screen.print(f"{speed_line(result)}. Everything is in {out}.", soft_wrap=True)
    else:
        screen.print(
            f"Interrupted after step {result.steps} of {settings.num_steps}; go on with\n"
            f"  archspec train --resume {out}",
            soft_wrap=True,
        )
    return _status(result)


def _status(result: TrainResult) -> int:
    return 0 if result.finished else INTERRUPTED


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Check that the arguments start a run or go on with one, and not a bit of both."""
    if arguments.resume is None:
        needed = {"SPEC": arguments.spec, "--train": arguments.train, "--out": arguments.out}
        missing = [name for name, value in needed.items() if value is None]
        if missing:
            raise RunError(
                f"a new run needs SPEC, --train and --out, but {' and '.join(missing)} is missing; "
                "to go on with a run give --resume RUN_DIR alone"
            )
        return
    fixed = {
        "SPEC": arguments.spec,
        "--train": arguments.train,
        "--out": arguments.out,
        "--seed": arguments.seed,
    }
    given = [name for name, value in fixed.items() if value is not None]
    if given:
        raise RunError(
            f"--resume takes the settings of the run in {arguments.resume}, but "
            f"{' and '.join(given)} was given too; leave it out"
        )


def _as_json(result: TrainResult, out: Path) -> dict[str, object]:
    """Return the result without its history, which is in ``metrics.jsonl``."""
    document = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if field.name != "history"
    }
    return {**document, "run_directory": str(out)}
