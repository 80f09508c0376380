"""``archspec study solve`` and ``sweep``: other budgets on saved scores, without training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from archspec.cli.command import Subparsers, add_json, console, declare, print_csv, print_json
from archspec.cli.native import native_code_silenced
from archspec.errors import RunError

if TYPE_CHECKING:
    from archspec.search.opened import SearchRun
    from archspec.search.solve import Solution
    from archspec.search.space import Design


def add_solve(commands: Subparsers) -> None:
    """Declare ``solve``."""
    parser = declare(
        commands,
        "solve",
        run_solve,
        summary="propose the best designs under other budgets from a search's saved scores",
        example="archspec study solve runs/tiny --budget flops_per_token=0.9x --out runs/smaller",
    )
    _add_run(parser)
    parser.add_argument(
        "--budget",
        action="append",
        default=[],
        metavar="QUANTITY=LIMIT",
        help="at most LIMIT (2GiB, 0.9x of the base), or MIN..MAX, or none to lift it; may be "
        "repeated; the search's other budgets stay",
    )
    parser.add_argument(
        "--designs", type=_positive, default=5, metavar="N", help="how many (default: 5)"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder to make, with a model document for each design"
    )
    add_json(parser)


def add_sweep(commands: Subparsers) -> None:
    """Declare ``sweep``."""
    parser = declare(
        commands,
        "sweep",
        run_sweep,
        summary="tell what a grid of budgets would allow, from a search's saved scores",
        example=(
            "archspec study sweep runs/tiny --budget flops_per_token=0.8x,0.9x,1x,1.1x "
            "--png sweep.png"
        ),
    )
    _add_run(parser)
    parser.add_argument(
        "--budget",
        action="append",
        required=True,
        metavar="QUANTITY=LIMIT,...",
        help="limits as of `study solve`, several of them; of several quantities every "
        "combination is solved",
    )
    parser.add_argument("--png", metavar="FILE", help="draw a picture too, .png or .svg")
    parser.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    add_json(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_directory", metavar="RUN", help="the directory of a search")
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="of a search that still runs, if its storage has a password",
    )


@native_code_silenced()
def run_solve(arguments: argparse.Namespace) -> int:
    """Solve one combination of budgets."""
    from archspec.report.solve import solution_report
    from archspec.search.opened import open_run
    from archspec.search.solve import Solver

    given = {name: values[-1] for name, values in map(_read, arguments.budget)}
    solver = Solver.of(open_run(Path(arguments.run_directory), storage=arguments.storage))
    solution, designs = solver.solve(given, count=arguments.designs)
    if arguments.out:
        _write(Path(arguments.out), solver.run, solution, designs)
    if arguments.json:
        print_json(solution.model_dump(mode="json"))
    else:
        console().print(solution_report(solver.run.results, solver.model, solution))
    return 0


@native_code_silenced()
def run_sweep(arguments: argparse.Namespace) -> int:
    """Solve a grid of budgets."""
    from archspec.report.solve import plot_sweep, sweep_report, sweep_rows
    from archspec.search.opened import open_run
    from archspec.search.solve import Solver

    grid = dict(map(_read, arguments.budget))
    solver = Solver.of(open_run(Path(arguments.run_directory), storage=arguments.storage))
    points = solver.sweep(grid)
    if arguments.png:
        plot_sweep(solver.run.results, points, arguments.png)
    if arguments.json:
        print_json([point.model_dump(mode="json") for point in points])
    elif arguments.csv:
        print_csv(sweep_rows(points))
    else:
        console().print(sweep_report(solver.run.results, points))
    return 0


def _read(text: str) -> tuple[str, list[str | None]]:
    """Read ``flops_per_token=0.8x,0.9x``. Raises RunError."""
    name, given, values = text.partition("=")
    found = [value.strip() for value in values.split(",")]
    if not given or not name.strip() or not all(found):
        raise RunError(
            f"--budget {text}: is no budget; write QUANTITY=LIMIT, such as flops_per_token=0.9x"
        )
    return name.strip(), [None if value == "none" else value for value in found]


def _write(out: Path, run: SearchRun, solution: Solution, designs: list[Design]) -> None:
    """Write a model document for each proposal. Raises RunError if ``out`` exists."""
    from archspec.spec.dump import to_yaml
    from archspec.train.files import new_directory

    if out.exists():
        raise RunError(f"{out}: already exists; choose another --out")
    with new_directory(out) as draft:
        for number, (found, design) in enumerate(zip(solution.proposals, designs, strict=True), 1):
            origin = "new" if found.trial is None else f"trial_{found.trial:03}"
            name = f"{number:02}_{origin}"
            model = run.allowed.space.model(design)
            named = model.replace(name=f"{run.results.name}-{name}" if run.results.name else name)
            comment = (
                f"Proposed by archspec study solve: {run.results.metric} {found.predicted:.4f} "
                f"predicted ({found.low:.4f} to {found.high:.4f}).\nhash {found.spec_hash}"
            )
            (draft / f"{name}.yaml").write_text(to_yaml(named, comment=comment))


def _positive(text: str) -> int:
    """Read a whole number of at least 1; argparse names the type in its message."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but is {number}")
    return number
