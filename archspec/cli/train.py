"""``archspec train``: train a model, or go on with a run that was cut short."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from archspec.cli.command import Subparsers, add_json, console, declare, print_json
from archspec.cli.ranks import WayOn, check_nproc, one_voice, run_ranks
from archspec.errors import INTERRUPTED, RunError
from archspec.train.launch import is_launched, outlive_no_launcher

if TYPE_CHECKING:
    from archspec.spec.model import ModelSpec
    from archspec.spec.plan import PlanSpec
    from archspec.spec.train import TrainSpec
    from archspec.train.events import TrainResult
    from archspec.train.world import World

# Seconds; a checkpoint on a slow disk takes minutes, during which other ranks wait.
RANK_TIMEOUT = 600.0


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "train",
        run,
        summary="train a model and measure what it learned",
        example=(
            "archspec train specs/models/tiny.yaml --train specs/train/tiny.yaml --out runs/first\n"
            "  archspec train --resume runs/first\n"
            "  archspec train specs/models/tiny.yaml --train specs/train/tiny.yaml --out runs/two "
            "--plan specs/plans/fsdp.yaml --nproc 2"
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
    parser.add_argument(
        "--nproc",
        type=int,
        metavar="N",
        help="train on N processes of this machine, which a plan lays the model over; "
        "torchrun does the same over several machines",
    )
    parser.add_argument(
        "--rank-timeout",
        type=float,
        default=RANK_TIMEOUT,
        metavar="SECONDS",
        help="how long a process waits for another before it gives up (default: %(default)g)",
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
    with one_voice("train", None):
        check_nproc(arguments.nproc)
        _check_arguments(arguments)
        request = _read(arguments)
        if (arguments.nproc or 1) > 1 and not is_launched():
            return run_ranks(arguments.words, nproc=arguments.nproc, way_on=request.way_on)
        from archspec.train.world import enter_world

        if is_launched():
            outlive_no_launcher()
        with (
            enter_world(
                request.device, grouped=request.plan is not None, timeout=arguments.rank_timeout
            ) as world,
            one_voice("train", world, request.way_on),
        ):
            return _train(request, arguments, world)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What is asked for, read from documents or from a run."""

    spec: ModelSpec
    settings: TrainSpec
    plan: PlanSpec | None
    device: str
    out: Path
    way_on: WayOn


def _read(arguments: argparse.Namespace) -> _Request:
    from archspec.spec.load import load_model, load_plan, load_train
    from archspec.train.run_directory import CHECKPOINTS, load_run

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
    return _Request(
        spec=spec,
        settings=settings,
        plan=plan,
        device=arguments.device or device,
        out=out,
        way_on=WayOn(out=out, checkpoints=out / CHECKPOINTS, resumed=bool(arguments.resume)),
    )


def _train(request: _Request, arguments: argparse.Namespace, world: World) -> int:
    from rich.console import Console

    from archspec.report.training import TrainingView, result_table, speed_line
    from archspec.train.loop import train

    settings, out = request.settings, request.out
    view = TrainingView(Console(stderr=True, highlight=False))
    try:
        result = train(
            request.spec,
            settings,
            out=out,
            resume=bool(arguments.resume),
            seed=arguments.seed,
            device=request.device,
            listener=view,
            plan=request.plan,
            world=world,
        )
    finally:
        view.close()
    if not world.is_first:
        return _status(result)
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
