"""A search as one page: pictures, tables and sentences, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path

from archspec import __version__
from archspec.errors import ArchspecError
from archspec.report.found.figure import Picture, design_name, svg_text
from archspec.report.found.pictures import pictures
from archspec.report.found.shown import choice_colours, shown_value
from archspec.report.found.style import STYLE
from archspec.report.found.tables import effect_cells, seed_cells, space_cells
from archspec.report.found.words import (
    amount,
    chance_sentences,
    choice_sentences,
    front_sentences,
    stage_sentences,
    state,
    trust_sentences,
    verdict_sentences,
)
from archspec.report.palette import ink_on
from archspec.report.search import space_lines
from archspec.report.tables import Cells
from archspec.search.budget import format_amount
from archspec.search.findings import Findings
from archspec.search.results import DesignResult, SearchResults
from archspec.train.files import replace_text
from archspec.units import format_count

_MOST_ROWS = 200
_LEAST = 75  # pixels for an inch of a picture; on narrower screens it is scrolled
_HEADLINES = {
    "beats all": ("good", "The winner beats every hand design"),
    "some not run again": ("good", "The winner beats the hand designs that were run again"),
    "not all": ("bad", "The winner does not beat every hand design"),
    "hand wins": ("bad", "The search did not beat the hand designs"),
    "no hand": ("open", "There is no hand design within budget"),
    "not yet": ("open", "Not judged yet: the winner was not run again"),
}


def write_page(
    results: SearchResults,
    findings: Findings,
    file: str,
    *,
    out: Path,
    documents: Mapping[str, str],
) -> None:
    """Write the page.

    Args:
        results: Of the search.
        findings: What they mean.
        file: Where to, a path that ends in .html.
        out: The run directory, as the user named it.
        documents: What was asked, by file name, as text.

    Raises:
        ArchspecError: If matplotlib is missing, or the file's ending or folder is wrong.
    """
    path = Path(file)
    if path.suffix != ".html":
        raise ArchspecError(f"--html: {file} must end in .html")
    if not path.parent.is_dir():
        raise ArchspecError(f"--html: no such folder: {path.parent}")
    replace_text(path, search_page(results, findings, out=out, documents=documents))


def search_page(
    results: SearchResults, findings: Findings, *, out: Path, documents: Mapping[str, str]
) -> str:
    """Return the page of a search; see :func:`write_page`."""
    title = f"What the search of {results.name or out.name} found"
    body = "\n".join(_body(results, findings, title, out, documents))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )


def _body(
    results: SearchResults,
    findings: Findings,
    title: str,
    out: Path,
    documents: Mapping[str, str],
) -> Iterator[str]:
    drawn = {picture.name: picture for picture in pictures(results, findings)}
    yield f"<header><h1>{escape(title)}</h1>"
    yield (
        f'<p class="lead">{state(results, findings)}, '
        f"judged by {escape(results.metric)}, sampler {escape(results.sampler)}</p></header>"
    )
    yield from _verdict(results, findings)
    yield from _section("front", drawn, front_sentences(results, findings))
    yield from _section("progress", drawn, chance_sentences(results, findings))
    yield from _section("placement", drawn, ())
    yield from _section("choices", drawn, choice_sentences(findings.importance))
    if findings.importance is not None:
        yield _table(effect_cells(results, findings.importance))
    yield from _section("budgets", drawn, space_lines(results.space, results.budgets))
    yield '<section id="seeds"><h2>Seeds and intervals</h2>'
    yield _table(seed_cells(results, findings), heading=False)
    trust = [*stage_sentences(results), *trust_sentences(results, findings)]
    yield f"{_list(trust)}</section>"
    yield from _designs(results, findings)
    yield from _settings(results, out, documents)


def _verdict(results: SearchResults, findings: Findings) -> Iterator[str]:
    kind, headline = _HEADLINES[findings.verdict.status]
    best = results.best
    yield f'<section id="verdict" class="verdict {kind}"><h2>{escape(headline)}</h2>'
    yield _list(verdict_sentences(results, findings.verdict))
    yield '<div class="facts">'
    yield _fact("winner", design_name(best), _strip(results, best))
    basis = f"{len(best.reruns)} fresh seeds" if best.reruns else "first run"
    yield _fact(results.metric, amount(shown_value(results, best)), escape(basis))
    for budget in results.budgets:
        if budget.side == "max" and budget.limit:
            share = best.prices[budget.quantity] / budget.limit
            limit = f"of {format_amount(budget.quantity, budget.limit)}"
            yield _fact(budget.quantity, f"{share:.0%}", _meter(share) + escape(limit))
    yield "</div></section>"


def _fact(name: str, value: str, below: str) -> str:
    return (
        f'<div><span class="name">{escape(name)}</span><span class="value">{escape(value)}</span>'
        f'<span class="below">{below}</span></div>'
    )


def _meter(share: float) -> str:
    width = min(max(share, 0.0), 1.0) * 100
    return f'<span class="meter"><i style="width:{width:.1f}%"></i></span>'


def _strip(results: SearchResults, design: DesignResult) -> str:
    """Write a placement as a row of coloured letters."""
    if not design.layers:
        return escape(design.placement)
    colours = choice_colours(results)
    cells = []
    for layer, label in enumerate(design.layers):
        choice = results.space.choices.get(label)
        colour = colours[label][0] if choice else "#888888"
        cells.append(
            f'<b style="background:{colour};color:{ink_on(colour)}" '
            f'title="layer {layer}: {escape(label, quote=True)}">'
            f"{escape(choice.letter if choice else '?')}</b>"
        )
    pools = f" <small>{escape(design.pools)}</small>" if design.pools else ""
    return f'<span class="strip">{"".join(cells)}</span>{pools}'


def _section(name: str, drawn: Mapping[str, Picture], sentences: Iterable[str]) -> Iterator[str]:
    picture = drawn.get(name)
    notes = list(sentences)
    if picture is None and not notes:
        return
    title = picture.title if picture else name.capitalize()
    yield f'<section id="{name}"><h2>{escape(title)}</h2>'
    if picture is not None:
        label = escape(f"{picture.title}: the same is said in words and tables", quote=True)
        yield (
            f'<div class="wide" role="img" aria-label="{label}" '
            f'style="max-width:{picture.width * 100:.0f}px;'
            f'--least:{picture.width * _LEAST:.0f}px">{svg_text(picture)}</div>'
        )
    yield f"{_list(notes)}</section>"


def _list(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _table(cells: Cells, *, heading: bool = True) -> str:
    if not cells.rows:
        return "<p>None yet.</p>"
    head = "".join(f"<th>{escape(header)}</th>" for header in cells.headers)
    rows = "\n".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in cells.rows
    )
    title = f"<h3>{escape(cells.title)}</h3>" if heading else ""
    return (
        f'{title}<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _designs(results: SearchResults, findings: Findings) -> Iterator[str]:
    """Write every design with its placement in colours, values and what it costs."""
    limits = [budget for budget in results.budgets if budget.side == "max" and budget.limit]
    rungs = [f"{format_count(rung.tokens)} tokens" for rung in results.rungs[1:]]
    rungs = [f"{format_count(results.rungs[0].tokens)} tokens", *rungs] if rungs else ["first run"]
    columns = ["", "design", "from", *rungs, "fresh seeds", *(b.quantity for b in limits)]
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    yield '<section id="designs"><h2>Every design</h2><div class="wide"><table class="designs">'
    yield f"<thead><tr>{head}</tr></thead><tbody>"
    for number, design in enumerate(results.designs[:_MOST_ROWS], 1):
        values = [*map(amount, results.rung_values(design))]
        values += [""] * (len(rungs) - len(values))
        again = amount(design.rerun_value) if design.reruns and not design.diverged_reruns else ""
        again = "diverged" if design.diverged_reruns else again
        shares = [f"{design.prices[b.quantity] / b.limit:.0%}" for b in limits]
        front = " front" if design.trial in findings.front else ""
        hand = " hand" if design.is_hand_design else ""
        cells = "".join(f"<td>{escape(text)}</td>" for text in [*values, again, *shares])
        yield (
            f'<tr class="row{front}{hand}"><td>{number}</td><td>{_strip(results, design)}</td>'
            f"<td>{escape(design_name(design))}</td>{cells}</tr>"
        )
    yield "</tbody></table></div>"
    hidden = len(results.designs) - _MOST_ROWS
    more = f" {hidden} more are in results.json." if hidden > 0 else ""
    yield (
        f"<p>{escape(results.space.legend)}. A blue edge: on the Pareto front; a yellow edge: a "
        f"hand design.{more}</p></section>"
    )


def _settings(results: SearchResults, out: Path, documents: Mapping[str, str]) -> Iterator[str]:
    yield '<section id="settings"><h2>Settings, and how to run it again</h2>'
    yield _table(space_cells(results), heading=False)
    yield f"<p>Written by archspec {escape(__version__)}.</p>"
    commands = [
        "archspec search search.yaml --out runs/again      # the documents below, in one folder",
        f"archspec report {out} --html report.html",
        f"archspec study solve {out} --budget flops_per_token=0.9x",
    ]
    yield f"<pre>{escape(chr(10).join(commands))}</pre>"
    for name, text in documents.items():
        yield (f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>")
    yield "</section>"
