"""``archspec race``: train designs on equal terms and say which learned more, or go on with it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from archspec.cli.command import Subparsers, add_json, console, declare, print_json
from archspec.errors import RunError

if TYPE_CHECKING:
    from archspec.race.directory import Race
    from archspec.race.results import RaceResults
    from archspec.race.settings import RaceSettings
    from archspec.report.race_view import RaceView
    from archspec.spec.train import TrainSpec

# What a race keeps from its start to its end, resumed or not.
_OWN = (
    *("specs", "train", "out", "metric", "match_flops", "as_is", "round_to", "lr", "table_lr"),
    *("no_sweep", "sweep_each", "sweep_share", "points", "device", "dry_run"),
)
_MULTIPLES = (0.5, 1.0, 2.0)  # of the document's learning rate, swept unless others are given


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "race",
        run,
        summary="train several designs on equal data, tokens, seeds and FLOPs, and compare them",
        example=(
            "archspec race specs/models/ngram_tiny.yaml specs/models/peer_tiny.yaml --train "
            "specs/train/proxy.yaml --out runs/race\n"
            "  archspec race --resume runs/race --png race.png"
        ),
    )
    parser.add_argument(
        "specs", nargs="*", metavar="SPEC", help="model documents; the first is the reference"
    )
    parser.add_argument("--train", metavar="TRAIN", help="a train document")
    parser.add_argument("--out", metavar="DIR", help="directory to make for the race")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="go on with a race, or show its results if it is done; settings are its own, but "
        "--seeds may add seeds",
    )
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="trainings of each design (default: 3)"
    )
    parser.add_argument("--metric", metavar="NAME", help="what the race is about (default: loss)")
    _add_matching(parser)
    _add_sweep(parser)
    parser.add_argument(
        "--points",
        type=int,
        metavar="N",
        help="evaluations along the way, where the train document has none (default: 20)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="trainings at a time (default: 1)"
    )
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the matched designs, their costs and about how long it takes, and train "
        "nothing but a few steps to time them",
    )
    add_json(parser)
    parser.add_argument("--png", metavar="FILE", help="also draw learning curves")
    parser.add_argument("--html", metavar="FILE", help="also write one page with everything")


def _add_matching(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("FLOPs per token, matched by hidden_dim of dense blocks")
    group.add_argument(
        "--match-flops",
        metavar="TARGET",
        help="first, none, another model document, or a number such as 1.5M (default: first)",
    )
    group.add_argument(
        "--as-is",
        action="append",
        metavar="SPEC",
        help="also race this design, with the FLOPs that it has; may be repeated",
    )
    group.add_argument(
        "--round-to", type=int, metavar="N", help="widths become multiples of it (default: 8)"
    )


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "tuning, the same for every family (designs with the same kinds of blocks)"
    )
    group.add_argument(
        "--lr",
        type=float,
        nargs="+",
        metavar="RATE",
        help="learning rates to try (default: half, once and twice the train document's)",
    )
    group.add_argument(
        "--table-lr", type=float, nargs="+", metavar="FACTOR", help="and multipliers for tables"
    )
    group.add_argument("--no-sweep", action="store_true", help="keep the train document's rates")
    group.add_argument(
        "--sweep-each", action="store_true", help="tune every design and not every family"
    )
    group.add_argument(
        "--sweep-share",
        type=float,
        metavar="SHARE",
        help="tokens of a run of the sweep over those of the race (default: 1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Race, then say what was found."""
    _check_arguments(arguments)
    _check_files(arguments)
    if arguments.dry_run:
        return _plan(arguments)
    from rich.console import Console

    from archspec.report.race_view import RaceView

    out = Path(arguments.resume or arguments.out)
    with RaceView(Console(stderr=True, highlight=False)) as view:
        try:
            results = _results(arguments, out, view)
        except KeyboardInterrupt:
            if out.exists():
                view.note(f"Stopped; go on with\n  archspec race --resume {out}")
            raise
    _show(results, out, arguments)
    return 0


def _results(arguments: argparse.Namespace, out: Path, view: RaceView) -> RaceResults:
    from archspec.race.run import resume_race, start_race

    if arguments.resume is not None:
        return resume_race(out, seeds=arguments.seeds, jobs=arguments.jobs, listener=view)
    return start_race(_prepare(arguments), out, jobs=arguments.jobs, listener=view)


def _prepare(arguments: argparse.Namespace) -> Race:
    from archspec.race.run import prepare_race
    from archspec.spec.load import load_train

    train = load_train(arguments.train)
    return prepare_race(arguments.specs, arguments.as_is or [], train, _settings(arguments, train))


def _settings(arguments: argparse.Namespace, train: TrainSpec) -> RaceSettings:
    """Read the options; those not given have the defaults of ``RaceSettings``."""
    from archspec.race.settings import RaceSettings

    given = {
        name: getattr(arguments, name)
        for name in (
            "seeds",
            "metric",
            "match_flops",
            "round_to",
            "sweep_share",
            "points",
            "device",
        )
        if getattr(arguments, name) is not None
    }
    rates = arguments.lr or [multiple * train.optimizer.lr for multiple in _MULTIPLES]
    return RaceSettings(
        **given,
        rates=() if arguments.no_sweep else tuple(rates),
        table_rates=tuple(arguments.table_lr or ()),
        sweep_each=arguments.sweep_each,
        threads=_threads(arguments.jobs),
    )


def _threads(jobs: int) -> int:
    """Divide the cores of this process, or what OMP_NUM_THREADS says, among the trainings."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given):
        return int(given)
    return max(1, len(os.sched_getaffinity(0)) // max(1, jobs))


def _plan(arguments: argparse.Namespace) -> int:
    """Say what a race would be."""
    from archspec.race.estimate import estimate_seconds, measure_speed
    from archspec.race.run import all_trainings
    from archspec.report.race import plan_report
    from archspec.units import format_seconds

    race = _prepare(arguments)
    trainings = all_trainings(race)
    seconds = estimate_seconds(trainings, measure_speed(race), jobs=max(1, arguments.jobs))
    if arguments.json:
        designs = [
            {
                "name": entrant.name,
                "entry": entrant.entry,
                "family": entrant.family,
                "flops_per_token": entrant.flops_per_token,
                "flops_before": entrant.flops_before,
                "hidden_dims": list(entrant.hidden_dims),
            }
            for entrant in race.entrants
        ]
        print_json({"designs": designs, "trainings": len(trainings), "seconds": seconds})
        return 0
    estimate = f"about {format_seconds(seconds)}, {arguments.jobs} at a time, going by a few steps"
    console().print(plan_report(race, len(trainings), estimate))
    return 0


def _show(results: RaceResults, out: Path, arguments: argparse.Namespace) -> None:
    """Print the results, and draw them where asked."""
    from archspec.race.results import as_dict
    from archspec.report.race import race_report

    if arguments.png is not None:
        from archspec.report.race_plot import plot_race

        plot_race(results, arguments.png)
    if arguments.html is not None:
        from archspec.report.race_page import write_page

        write_page(results, arguments.html)
    if arguments.json:
        print_json({**as_dict(results), "run_directory": str(out)})
    else:
        console().print(race_report(results))


def _check_files(arguments: argparse.Namespace) -> None:
    """Check where pictures go before hours of training."""
    if arguments.png is None and arguments.html is None:
        return
    from archspec.report.race_plot import require_path

    if arguments.png is not None:
        require_path(arguments.png, "--png", (".png", ".svg"))
    if arguments.html is not None:
        require_path(arguments.html, "--html", (".html",))


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Check that the arguments start a race or go on with one, and not a bit of both."""
    if arguments.resume is not None:
        given = [name for name in _OWN if getattr(arguments, name)]
        if given:
            names = " and ".join(_option(name) for name in given)
            raise RunError(
                f"--resume takes the settings of the race in {arguments.resume}, but {names} was "
                "given too; leave it out"
            )
        return
    needed = {"SPEC": arguments.specs, "--train": arguments.train}
    if not arguments.dry_run:
        needed["--out"] = arguments.out
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise RunError(
            f"a new race needs SPEC..., --train and --out, but {' and '.join(missing)} is missing; "
            "to go on with a race give --resume DIR"
        )
    if arguments.no_sweep and (arguments.lr or arguments.table_lr or arguments.sweep_each):
        raise RunError(
            "--no-sweep keeps the rates, but rates to sweep were given too; leave one out"
        )


def _option(name: str) -> str:
    return "SPEC" if name == "specs" else "--" + name.replace("_", "-")
