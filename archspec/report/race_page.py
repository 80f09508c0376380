"""A race as one page: pictures, tables, settings and checks, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

import yaml

from archspec.race.directory import widths_text
from archspec.race.results import DesignResult, RaceResults
from archspec.report.race import race_notes, race_tables
from archspec.report.race_plot import colours_of, require_path, svg_of
from archspec.report.tables import Cells
from archspec.train.files import replace_text
from archspec.units import format_seconds

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 76rem; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .4rem; }
p.lead { color: #555; margin-top: 0; } ul { padding-left: 1.2rem; } li { margin: .25rem 0; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { border-bottom: 1px solid #999; font-weight: 600; } td { border-bottom: 1px solid #eee; }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em; }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: .85rem; }
details summary { cursor: pointer; margin: .8rem 0; }
"""


def write_page(results: RaceResults, file: str) -> None:
    """Write the page. Raises ArchspecError as ``require_path`` does."""
    require_path(file, "--html", (".html",))
    replace_text(Path(file), race_page(results))


def race_page(results: RaceResults) -> str:
    """Return the page of a race."""
    names = [design.name for design in results.designs]
    title = f"{names[0]} against {', '.join(names[1:])}"
    body = "\n".join(_body(results))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _body(results: RaceResults) -> Iterator[str]:
    settings = results.settings
    yield (
        f'<p class="lead">{results.tokens:,} tokens a run, {settings.seeds} seeds, FLOPs matched '
        f"to: {escape(settings.match_flops)}, by {escape(settings.metric)}</p>"
    )
    colours = colours_of(results)
    yield f'<div class="wide">{svg_of(results, settings.metric)}</div>'
    for cells in race_tables(results):
        yield _table(cells, colours)
    yield "<h2>How to read this</h2>\n<ul>"
    yield from (f"<li>{escape(note)}</li>" for note in race_notes(results))
    yield "</ul>"
    yield _table(_checks(results), {})
    yield _table(_sweep(results), {})
    yield _table(_trimmed(results), colours)
    yield from _other_curves(results)
    yield _settings(results)


def _table(cells: Cells, colours: dict[str, str]) -> str:
    head = "".join(f"<th>{escape(header)}</th>" for header in cells.headers)
    rows = "\n".join(f"<tr>{''.join(_cells(row, colours))}</tr>" for row in cells.rows)
    return (
        f'<h2>{escape(cells.title)}</h2>\n<div class="wide"><table>\n<thead><tr>{head}</tr>'
        f"</thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def _cells(row: tuple[str, ...], colours: dict[str, str]) -> Iterator[str]:
    for place, text in enumerate(row):
        colour = colours.get(text) if place == 0 else None
        dot = f'<span class="dot" style="background:{colour}"></span>' if colour else ""
        yield f"<td>{dot}{escape(text)}</td>"


def _checks(results: RaceResults) -> Cells:
    rows = [
        (check.name, check.detail, "held" if check.held else "BROKEN") for check in results.checks
    ]
    return Cells("Fairness, checked", ("condition", "found", ""), tuple(rows))


def _sweep(results: RaceResults) -> Cells:
    rows = [
        (
            choice.group,
            run.design,
            f"{run.lr:g}" if run.lr is not None else "",
            f"{run.table_lr:g}x" if run.table_lr is not None else "",
            "diverged" if run.value is None else f"{run.value:.4f}",
            "chosen" if (run.lr, run.table_lr) == (choice.lr, choice.table_lr) else "",
        )
        for choice in results.sweep
        for run in choice.runs
    ]
    headers = ("family", "tried on", "lr", "tables", results.settings.metric, "")
    return Cells("Tuning: every rate that was tried", headers, tuple(rows))


def _trimmed(results: RaceResults) -> Cells:
    rows = [_trimmed_row(design) for design in results.designs]
    headers = (
        "design",
        "document",
        "hidden_dim",
        "trained with",
        "FLOPs",
        "trained with",
        "of first",
    )
    return Cells("FLOPs per token, as given and as trained", headers, tuple(rows))


def _trimmed_row(design: DesignResult) -> tuple[str, ...]:
    widths = [
        widths_text(dims) if dims else ""
        for dims in (design.hidden_dims_before, design.hidden_dims)
    ]
    return (
        design.name,
        design.source,
        *widths,
        f"{design.flops_before:,}",
        f"{design.flops_per_token:,}",
        f"{design.flops_ratio:.5f}x",
    )


def _other_curves(results: RaceResults) -> Iterator[str]:
    for metric in results.metrics:
        if metric != results.settings.metric:
            picture = svg_of(results, metric)
            yield f'<h2>{escape(metric)}</h2>\n<div class="wide">{picture}</div>'


def _settings(results: RaceResults) -> str:
    document = yaml.safe_dump(dict(results.train), sort_keys=False, allow_unicode=True)
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    threads = f"{results.settings.threads} threads each"
    total = sum(run.seconds for design in results.designs for run in design.runs)
    return (
        f"<h2>Settings</h2>\n<p>{escape(machine)}; {results.jobs} trainings at a time, {threads}; "
        f"{format_seconds(total)} of training steps, the tuning apart.</p>\n<details>"
        f"<summary>The train document</summary><pre>{escape(document)}</pre></details>"
    )
