"""``archspec search``: search placements under budgets, or go on with a search."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from archspec.cli.command import Subparsers, add_json, console, declare, print_json
from archspec.cli.native import native_code_silenced
from archspec.errors import RunError, StoppedError

if TYPE_CHECKING:
    from archspec.report.search_view import SearchView
    from archspec.search.results import SearchResults
    from archspec.spec.search.spec import SearchSpec


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "search",
        run,
        summary="search which block belongs in which layer, under budgets, by training designs",
        example=(
            "archspec search specs/search/placement_tiny.yaml --out runs/tiny\n"
            "  archspec search --resume runs/tiny --workers 4\n"
            "  archspec search search.yaml --out runs/own --objective scoring:score\n"
            "  archspec search specs/search/placement_tiny.yaml --dry-run"
        ),
    )
    parser.add_argument("spec", nargs="?", metavar="SEARCH", help="a search document")
    parser.add_argument("--out", metavar="DIR", help="directory to make for the search")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="go on with a search, or show its results if it is done; all settings are its own, "
        "and a SEARCH given too is only compared with them",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="where Optuna keeps the study: a database URL such as "
        "postgresql+psycopg://me@host/studies, redis://host, or the path of a journal file "
        "(default: a journal in DIR)",
    )
    parser.add_argument(
        "--study",
        metavar="NAME",
        help="name of the study in --storage; where it exists, join its search",
    )
    parser.add_argument(
        "--workers",
        type=_positive,
        default=1,
        metavar="N",
        help="processes that train here (default: 1); give --resume DIR on other machines that "
        "share the disk, and --storage URL --study NAME on those that do not",
    )
    parser.add_argument(
        "--lease",
        type=_seconds,
        default=60.0,  # LEASE_SECONDS, whose module imports Optuna
        metavar="SECONDS",
        help="without a sign of life, after which a worker counts as dead (default: 60)",
    )
    parser.add_argument(
        "--objective",
        metavar="MODULE:FUNCTION",
        help="judge designs by a function of yours, or by an installed one by its name, called as "
        "function(spec, seed, fidelity); it returns the value of objective.metric, or a map with "
        "it; given again with --resume, since no document names code",
    )
    parser.add_argument(
        "--trials",
        type=_positive,
        metavar="N",
        help="trials in all, instead of the document's; raise it to go on with a finished search",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="train nothing but a few steps to take the time: print the size of the space, what "
        "fits, what it costs and how long it takes; with --resume the time is that run's",
    )
    add_json(parser)


@native_code_silenced()
def run(arguments: argparse.Namespace) -> int:
    """Search, then say what was found."""
    if arguments.dry_run:
        return _dry_run(arguments)
    _check_arguments(arguments)
    from rich.console import Console

    from archspec.report.search_view import SearchView

    out = Path(arguments.resume or arguments.out)
    with SearchView(Console(stderr=True, highlight=False)) as view:
        try:
            results = _resume(arguments, out, view) if arguments.resume else _start(arguments, view)
        except StoppedError as stop:
            view.note(f"S{str(stop)[1:]}; go on with\n  {_next(arguments, out)}")
            return stop.exit_status
        except KeyboardInterrupt:
            if out.exists():
                view.note(f"Stopped; go on with\n  {_next(arguments, out)}")
            raise
    _show(results, out, as_json=arguments.json)
    return 0


def _dry_run(arguments: argparse.Namespace) -> int:
    """Say what a search is about to do."""
    from archspec.report.search_dry_run import dry_run_view
    from archspec.search.dry_run import dry_run
    from archspec.search.run_directory import load_run
    from archspec.search.trial_time import measured_time, stored_time
    from archspec.spec.load import load_search

    if arguments.spec is None and arguments.resume is None:
        raise RunError("which search? --dry-run needs SEARCH or --resume DIR")
    run = None if arguments.resume is None else Path(arguments.resume)
    spec = load_run(run)[0] if run is not None else load_search(arguments.spec)
    if arguments.trials is not None:
        spec = _with_trials(spec, arguments.trials)
    found = dry_run(spec)
    time = None if run is None else stored_time(run)
    found = dataclasses.replace(found, time=time or measured_time(spec))
    if arguments.json:
        print_json(found.as_dict())
    else:
        console().print(dry_run_view(found))
    return 0


def _with_trials(spec: SearchSpec, trials: int) -> SearchSpec:
    document = spec.document.model_copy(update={"trials": trials})
    return dataclasses.replace(spec, trials=trials, document=document)


def _start(arguments: argparse.Namespace, view: SearchView) -> SearchResults:
    from archspec.search.objectives.registry import with_user_objective
    from archspec.search.study import start_search
    from archspec.spec.load import load_search

    spec = load_search(arguments.spec)
    if arguments.trials is not None:
        spec = _with_trials(spec, arguments.trials)
    if arguments.objective is not None:
        spec = with_user_objective(spec)
    return start_search(
        spec,
        Path(arguments.out),
        user=arguments.objective,
        storage=arguments.storage,
        study=arguments.study,
        workers=arguments.workers,
        lease=arguments.lease,
        listener=view,
    )


def _resume(arguments: argparse.Namespace, out: Path, view: SearchView) -> SearchResults:
    from archspec.search.objectives.registry import with_user_objective
    from archspec.search.study import finished_results, resume_search
    from archspec.spec.load import load_search

    given = load_search(arguments.spec) if arguments.spec else None
    if given is not None and arguments.objective is not None:
        given = with_user_objective(given)
    done = finished_results(out, given=given, trials=arguments.trials)
    if done is not None:
        view.note(f"The search in {out} is done; raise its trials with --trials to go on.")
        return done
    return resume_search(
        out,
        given=given,
        trials=arguments.trials,
        user=arguments.objective,
        storage=arguments.storage,
        workers=arguments.workers,
        lease=arguments.lease,
        listener=view,
    )


def _next(arguments: argparse.Namespace, out: Path) -> str:
    """Return the command that goes on with a search."""
    from archspec.search.storage import without_password

    storage = f" --storage {without_password(arguments.storage)}" if arguments.storage else ""
    return f"archspec search --resume {out}{storage}"


def _show(results: SearchResults, out: Path, *, as_json: bool) -> None:
    """Print the results, and keep the same text in the run directory."""
    import io

    from rich.console import Console

    from archspec.report.search import search_report
    from archspec.search.run_directory import REPORT
    from archspec.train.files import replace_text

    report = search_report(results, out)
    page = Console(file=io.StringIO(), width=80, no_color=True, highlight=False)
    with page.capture() as captured:
        page.print(report, crop=False)
    text = "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    replace_text(out / REPORT, text)
    if as_json:
        print_json({**results.model_dump(mode="json"), "run_directory": str(out)})
    else:
        console().print(report, crop=False)


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Check that the arguments start a search or go on with one, and not both."""
    if arguments.resume is not None:
        if arguments.out is not None:
            raise RunError(
                f"--resume {arguments.resume} goes on in its own directory, but --out "
                f"{arguments.out} was given too; leave one out"
            )
        if arguments.study is not None:
            raise RunError(
                f"--resume {arguments.resume} goes on with its own study, but --study "
                f"{arguments.study} was given too; leave one out"
            )
        return
    needed = {"SEARCH": arguments.spec, "--out": arguments.out}
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise RunError(
            f"a new search needs SEARCH and --out, but {' and '.join(missing)} is missing; to go "
            "on with a search give --resume DIR"
        )


def _positive(text: str) -> int:
    """Read a whole number of at least 1; argparse names the type in its message."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but is {number}")
    return number


def _seconds(text: str) -> float:
    """Read a time; a lease that is shorter would be lost by a worker that is merely busy."""
    number = float(text)
    if not 2.0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be at least 2 seconds, but is {text}")
    return number
