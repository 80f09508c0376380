"""``archspec study``: look at a search while it runs, stop its workers, take out its trials."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from archspec.cli.command import Subparsers, add_json, console, declare, print_csv, print_json
from archspec.cli.study_solve import add_solve, add_sweep

if TYPE_CHECKING:
    from archspec.search.workspace import Workspace

_WATCH_SECONDS = 2.0


def add_parser(commands: Subparsers) -> None:
    """Declare the command and what it can do."""
    parser = declare(
        commands,
        "study",
        _print_help,
        summary="look at a search, stop its workers, take out its trials, or solve other budgets",
        example=(
            "archspec study status runs/tiny\n"
            "  archspec study stop runs/tiny --now\n"
            "  archspec study export runs/tiny --csv trials.csv --yaml designs\n"
            "  archspec study solve runs/tiny --budget flops_per_token=0.9x"
        ),
    )
    parser.set_defaults(parser=parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    _add_status(actions)
    _add_stop(actions)
    _add_export(actions)
    add_solve(actions)
    add_sweep(actions)


def _print_help(arguments: argparse.Namespace) -> int:
    arguments.parser.print_help()
    return 0


def _add_status(actions: Subparsers) -> None:
    parser = declare(
        actions,
        "status",
        run_status,
        summary="say how far a search is, who works on it, and what is best so far",
        example="archspec study status runs/tiny --watch",
    )
    _add_run(parser)
    parser.add_argument("--watch", action="store_true", help="go on showing it until Ctrl-C")
    add_json(parser)


def _add_stop(actions: Subparsers) -> None:
    parser = declare(
        actions,
        "stop",
        run_stop,
        summary="ask all workers of a search, wherever they run, to end after their trials",
        example="archspec study stop runs/tiny --now",
    )
    _add_run(parser)
    parser.add_argument(
        "--now",
        action="store_true",
        help="within seconds; what they are at is queued again",
    )


def _add_export(actions: Subparsers) -> None:
    parser = declare(
        actions,
        "export",
        run_export,
        summary="write the trials of a search as CSV or JSON lines, and its best designs as YAML",
        example="archspec study export runs/tiny --jsonl trials.jsonl --yaml designs --top 3",
    )
    _add_run(parser)
    parser.add_argument("--csv", metavar="FILE", help="every trial; printed if nothing is given")
    parser.add_argument("--jsonl", metavar="FILE", help="every trial, a JSON map a line")
    parser.add_argument("--yaml", metavar="DIR", help="the best designs as model documents")
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="how many designs (default: 5)"
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_directory", metavar="RUN", help="the directory of a search")
    parser.add_argument("--storage", metavar="URL", help="where its study is, unless in RUN itself")


def run_status(arguments: argparse.Namespace) -> int:
    """Print where a search stands."""
    import dataclasses

    from archspec.report.study import study_report
    from archspec.search.status import study_status

    with _opened(arguments) as workspace:
        if arguments.watch:
            _watch(workspace)
            return 0
        status = study_status(workspace)
    if arguments.json:
        best = None if status.best is None else status.best.model_dump(mode="json")
        print_json({**dataclasses.asdict(dataclasses.replace(status, best=None)), "best": best})
    else:
        console().print(study_report(status))
    return 0


def run_stop(arguments: argparse.Namespace) -> int:
    """Ask the workers of a search to end."""
    from archspec.search.control import request_stop
    from archspec.search.status import study_status
    from archspec.search.storage import without_password

    with _opened(arguments) as workspace:
        alive = sum(worker.state == "alive" for worker in study_status(workspace).workers)
        request_stop(workspace.storage, workspace.study_id, now=arguments.now)
    when = "now" if arguments.now else "after their trials"
    at_work = {0: "none is", 1: "one is"}.get(alive, f"{alive} are")
    storage = f" --storage {without_password(arguments.storage)}" if arguments.storage else ""
    console().print(
        f"Asked the workers of {arguments.run_directory} to end {when}; {at_work} at a trial. "
        f"Go on with\n  archspec search --resume {arguments.run_directory}{storage}",
        soft_wrap=True,
    )
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write trials and designs."""
    import csv
    import io

    from archspec.search.export import columns, jsonl, trial_rows, write_best
    from archspec.train.files import replace_text

    written: list[Path] = []
    with _opened(arguments) as workspace:
        rows = trial_rows(workspace)
        if arguments.yaml is not None:
            written += write_best(workspace, Path(arguments.yaml), arguments.top)
    names = columns(rows)
    cells: list[list[object]] = [[*names], *([row.get(name) for name in names] for row in rows)]
    if arguments.csv is not None:
        page = io.StringIO()
        csv.writer(page, lineterminator="\n").writerows(cells)
        replace_text(Path(arguments.csv), page.getvalue())
        written.append(Path(arguments.csv))
    if arguments.jsonl is not None:
        replace_text(Path(arguments.jsonl), jsonl(rows))
        written.append(Path(arguments.jsonl))
    if not written:
        print_csv(cells)
    for path in written:
        console().print(f"Wrote {path}", soft_wrap=True)
    return 0


@contextlib.contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[Workspace]:
    """Open the search; what its storage does meanwhile is told on standard error."""
    from rich.console import Console

    from archspec.search.storage import quiet_optuna
    from archspec.search.workspace import read_workspace

    def tell(text: str) -> None:
        Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)

    with quiet_optuna():
        workspace = read_workspace(
            Path(arguments.run_directory), storage=arguments.storage, notify=tell
        )
        with contextlib.closing(workspace):
            yield workspace


def _watch(workspace: Workspace) -> None:
    """Show where a search stands until it is done, or until Ctrl-C."""
    import time

    from rich.live import Live

    from archspec.report.study import study_report
    from archspec.search.status import study_status

    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(console=console(), auto_refresh=False) as live,
    ):
        while True:
            status = study_status(workspace)
            live.update(study_report(status), refresh=True)
            if status.done >= status.trials and not status.workers:
                return
            time.sleep(_WATCH_SECONDS)
