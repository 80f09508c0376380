"""Pictures of a search: files that are there, and drawing what they should."""

from pathlib import Path

import pytest

from archspec.errors import ArchspecError
from archspec.report.found.figure import new_figure
from archspec.report.found.pictures import pictures, write_pictures
from archspec.report.found.placement import placement_picture
from archspec.report.found.shown import choice_colours, shown_designs
from archspec.report.palette import KINDS, ink_on, mixed, shades
from archspec.search.findings import Findings
from archspec.search.opened import SearchRun

NAMES = ["front", "progress", "placement", "choices", "budgets"]


def test_a_folder_gets_a_file_for_each(run: SearchRun, findings: Findings, tmp_path: Path) -> None:
    files = write_pictures(run.results, findings, str(tmp_path / "pictures"))
    assert [file.stem for file in files] == NAMES
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


@pytest.mark.parametrize(("name", "head"), [("all.png", b"\x89PNG"), ("all.svg", b"<?xml")])
def test_one_file_holds_all(
    run: SearchRun, findings: Findings, tmp_path: Path, name: str, head: bytes
) -> None:
    path = tmp_path / name
    assert write_pictures(run.results, findings, str(path)) == [path]
    assert path.read_bytes().startswith(head)


def test_a_wrong_place_is_refused(run: SearchRun, findings: Findings, tmp_path: Path) -> None:
    with pytest.raises(ArchspecError, match="no such folder"):
        write_pictures(run.results, findings, str(tmp_path / "no" / "a.png"))
    taken = tmp_path / "a.txt"
    taken.write_text("x")
    with pytest.raises(ArchspecError, match="neither a folder nor ends"):
        write_pictures(run.results, findings, str(taken))


def test_the_placement_has_every_letter_of_the_finalists(run: SearchRun) -> None:
    figure = new_figure(8, 6, "--png")
    placement_picture(run.results).draw(figure)
    (axes,) = figure.axes
    letters = [text.get_text() for text in axes.texts if len(text.get_text()) == 1]
    shown = shown_designs(run.results)
    wanted = "".join(design.placement.replace(" ", "") for design in shown)
    drawn = "".join(letter for letter in letters if not letter.isdigit())
    assert sorted(drawn) == sorted(wanted)


def test_too_little_to_draw_is_left_out(run: SearchRun, findings: Findings) -> None:
    bare = run.results.model_copy(update={"budgets": ()})
    found = pictures(bare, findings.model_copy(update={"importance": None}))
    assert [picture.name for picture in found] == ["front", "progress", "placement"]


def test_choices_of_one_kind_are_told_apart_by_shade(run: SearchRun) -> None:
    choices = dict(run.results.space.choices)
    choices["ffn_large"] = choices["ffn"].model_copy(update={"letter": "L"})
    choices["sum"] = choices["ffn"].model_copy(update={"kinds": ("dense", "memory")})
    space = run.results.space.model_copy(update={"choices": choices})
    found = choice_colours(run.results.model_copy(update={"space": space}))
    assert len(set(found.values())) == len(found)
    assert found["ffn"] == (KINDS["dense"],)
    assert found["sum"] == (KINDS["dense"], KINDS["memory"])


def test_colours_mix_and_are_read_against() -> None:
    assert mixed("#000000", "#FFFFFF", 0.5) == "#808080"
    assert shades("#332288", 1) == ["#332288"]
    assert len(set(shades("#332288", 4))) == 4
    assert ink_on("#FFFFFF") != ink_on("#000000")
