"""``archspec eval``: what a trained model knows, with intervals."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from archspec.cli.command import Subparsers, add_json, add_set, console, declare, print_json


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "eval",
        run,
        summary="measure a trained model on its own data or other, with intervals",
        example="archspec eval runs/first\narchspec eval runs/first --task recall --json",
    )
    parser.add_argument(
        "checkpoint", metavar="RUN_DIR", help="a run, whose newest is taken, or a checkpoint"
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--train", metavar="TRAIN", help="measure on the data of a train document")
    asked.add_argument(
        "--task",
        metavar="TASK",
        help="ask one task alone: facts as the run has seen them, or any other with its defaults",
    )
    add_set(parser)
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu, cuda or cuda:N")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print every metric with its interval."""
    from archspec.report.evaluation import score_table
    from archspec.train.data.mixture import Mixture
    from archspec.train.evaluate import measure
    from archspec.train.load import find_checkpoint, load_model_from
    from archspec.train.questions import find_questions
    from archspec.train.score import with_derived
    from archspec.train.share import DataShare
    from archspec.train.world import enter_world

    path = Path(arguments.checkpoint)
    with enter_world(arguments.device) as world:
        spec, model = load_model_from(path, device=str(world.device))
        train = find_questions(
            path,
            spec,
            task=arguments.task,
            document=None if arguments.train is None else Path(arguments.train),
            overrides=arguments.overrides,
        )
        mixture = Mixture(train, spec)
        measured = measure(
            model,
            mixture,
            micro_tokens=train.micro_tokens,
            device=world.device,
            world=world,
            share=DataShare(index=world.rank, parts=world.size),
        )
        if not world.is_first:
            return 0
    scores = with_derived(measured, {s.name: s.bytes_per_target for s in mixture.sources})
    if arguments.json:
        metrics = {score.name: dataclasses.asdict(score) for score in scores}
        print_json({"checkpoint": str(find_checkpoint(path)), "metrics": metrics})
    else:
        console().print(score_table(scores, train))
    return 0
