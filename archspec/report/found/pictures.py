"""All pictures of a search: into one file, or a file each."""

from __future__ import annotations

from pathlib import Path

from archspec.errors import ArchspecError
from archspec.report.found.budgets import budgets_picture, upper_limits
from archspec.report.found.choices import choices_picture
from archspec.report.found.figure import Picture, new_figure
from archspec.report.found.front import front_picture
from archspec.report.found.placement import placement_picture
from archspec.report.found.progress import progress_picture
from archspec.report.palette import INK, PAPER
from archspec.search.findings import Findings
from archspec.search.results import SearchResults

_TITLE = 0.4  # inches above each picture


def pictures(results: SearchResults, findings: Findings) -> list[Picture]:
    """Return the pictures there is something to draw in."""
    found = [front_picture(results, findings), progress_picture(results, findings)]
    if results.best.layers:
        found.append(placement_picture(results))
    if findings.importance is not None and findings.importance.positions:
        found.append(choices_picture(results, findings.importance))
    if upper_limits(results):
        found.append(budgets_picture(results))
    return found


def write_pictures(results: SearchResults, findings: Findings, place: str) -> list[Path]:
    """Draw a search.

    Args:
        results: Of the search.
        findings: What they mean.
        place: A file that ends in .png or .svg for all in one; otherwise a folder, which is made
            if it does not exist, for one .png each.

    Returns:
        The files.

    Raises:
        ArchspecError: If matplotlib is missing, or ``place`` cannot be.
    """
    path = Path(place)
    found = pictures(results, findings)
    if path.suffix in (".png", ".svg"):
        if not path.parent.is_dir():
            raise ArchspecError(f"--png: no such folder: {path.parent}")
        _draw_together(found, path)
        return [path]
    if path.exists() and not path.is_dir():
        raise ArchspecError(f"--png: {place} is neither a folder nor ends in .png or .svg")
    path.mkdir(parents=True, exist_ok=True)
    files = []
    for picture in found:
        figure = new_figure(picture.width, picture.height, "--png")
        picture.draw(figure)
        files.append(path / f"{picture.name}.png")
        figure.savefig(files[-1], dpi=160, facecolor=PAPER)
    return files


def _draw_together(found: list[Picture], path: Path) -> None:
    """Draw pictures one below the other, each under its title and as wide as it wants to be."""
    width = max(picture.width for picture in found)
    heights = [picture.height + _TITLE for picture in found]
    figure = new_figure(width, sum(heights), "--png")
    rows = figure.subfigures(len(found), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, picture in zip(rows, found, strict=True):
        row.set_facecolor("none")
        row.suptitle(picture.title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
        part = row
        if picture.width < width:
            ratios = [picture.width, width - picture.width]
            part = row.subfigures(1, 2, width_ratios=ratios)[0]
            part.set_facecolor("none")
        picture.draw(part)
    figure.savefig(path, dpi=160, facecolor=PAPER)
