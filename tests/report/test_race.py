import dataclasses
import io
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from archspec.errors import ArchspecError
from archspec.race.results import RaceResults
from archspec.report.race import race_notes, race_report, race_tables
from archspec.report.race_page import race_page, write_page
from archspec.report.race_plot import colours_of, plot_race, spread
from archspec.report.race_view import choice_text
from archspec.testing.race import design, diverged, race, results
from archspec.train.rates import SweepChoice

WIDTHS = (80, 160)


def golden(width: int) -> Path:
    return Path(__file__).with_name(f"race_report_{width}.txt")


def printed(found: RaceResults, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, no_color=True, highlight=False)
    console.print(race_report(found))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("width", WIDTHS)
def test_report_is_as_recorded(width: int, request: pytest.FixtureRequest) -> None:
    text = printed(race(), width)
    if request.config.getoption("--update-golden"):
        golden(width).write_text(text)
    assert text == golden(width).read_text()
    assert max(map(len, text.splitlines())) <= width


def test_numbers_stay_whole_in_80_columns() -> None:
    text = printed(race(8), 80)
    for cells in race_tables(race(8)):
        for row in cells.rows:
            assert any(all(cell in line for cell in row) for line in text.splitlines()), row


def test_what_diverged_is_said() -> None:
    worse = design("worse", [0.8, 0.9])
    half = dataclasses.replace(worse, runs=(worse.runs[0], diverged(worse.runs[1])))
    none = dataclasses.replace(worse, runs=tuple(map(diverged, worse.runs)))
    text = printed(results(design("dense", [0.4, 0.5]), half, none), 100)
    assert "0.8000, 1 diverged" in text
    assert re.search(r"worse +diverged +not reached", text)


def test_one_seed_has_no_test_and_says_so() -> None:
    notes = " ".join(race_notes(results(design("dense", [0.4]), design("other", [0.5]))))
    assert "With 1 seed there are no intervals and no test" in notes
    assert "weak" in " ".join(race_notes(race()))
    many = results(design("dense", [0.4] * 6), design("other", [0.5] * 6))
    assert "weak" not in " ".join(race_notes(many))


def test_a_rate_at_the_edge_is_said_aloud() -> None:
    choice = dataclasses.replace(race().sweep[0], edges=("lowest learning rate",))
    assert "the lowest learning rate tried is the best" in choice_text(choice)
    both = SweepChoice(group="g", lr=1.0, table_lr=3.0, edges=(), runs=())
    assert "tables 3x" in choice_text(both)


@pytest.mark.parametrize("name", ["race.png", "race.svg"])
def test_curves_are_drawn(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    plot_race(race(8), str(path))
    head = path.read_bytes()[:200]
    assert head.startswith(b"\x89PNG") or b"<?xml" in head


def test_curves_of_a_race_with_diverged_designs_are_drawn(tmp_path: Path) -> None:
    worse = design("worse", [0.8])
    gone = dataclasses.replace(worse, runs=tuple(map(diverged, worse.runs)))
    plot_race(results(gone, design("other", [0.5])), str(tmp_path / "race.png"))


@pytest.mark.parametrize(
    ("name", "message"), [("race.txt", "must end in .png or .svg"), ("no/race.png", "no such")]
)
def test_a_wrong_path_is_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArchspecError, match=message):
        plot_race(race(), str(tmp_path / name))
    with pytest.raises(ArchspecError, match=r"--html: .* must end in .html"):
        write_page(race(), str(tmp_path / "race.htm"))


class Page(HTMLParser):
    """Collects what a page asks for and whether its elements close."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.outside.append(value)


def test_the_page_is_self_contained(tmp_path: Path) -> None:
    path = tmp_path / "race.html"
    write_page(race(), str(path))
    page = Page()
    page.feed(path.read_text())
    assert page.outside == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert page.tags.count("svg") == len(race().metrics)
    assert len(page.ids) == len(set(page.ids))
    assert re.findall(r"url\((?!#)", path.read_text()) == []


def test_the_page_escapes_what_strangers_wrote() -> None:
    evil = design("<script>alert(1)</script>", [0.5], source="<img src=x>")
    text = race_page(results(design("dense", [0.4]), evil))
    assert "<script>" not in text
    assert "<img" not in text


def test_every_design_has_a_colour_of_its_own() -> None:
    assert len(set(colours_of(race(8)).values())) == 8


def test_labels_move_apart_no_more_than_needed() -> None:
    assert spread([0.1, 0.5]) == [0.1, 0.5]
    moved = spread([0.5, 0.5, 0.51, 0.9], gap=0.1)
    assert [b - a for a, b in itertools.pairwise(moved)][:2] == pytest.approx([0.1, 0.1])
    assert sum(moved[:3]) / 3 == pytest.approx(0.50333, abs=1e-4)
    assert moved[3] == 0.9
