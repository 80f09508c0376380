"""The page: well-formed, complete in itself, and safe with names from strangers."""

import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from archspec.errors import ArchspecError
from archspec.report.found.page import search_page, write_page
from archspec.search.findings import Findings
from archspec.search.opened import SearchRun
from archspec.search.results import ChoiceResult, SearchResults

EVIL = '<script>alert("x")</script>&\'"]]>'


def page_of(results: SearchResults, findings: Findings, documents: Mapping[str, str] = {}) -> str:
    return search_page(results, findings, out=Path("runs/mini"), documents=documents)


@pytest.fixture(scope="module")
def page(run: SearchRun, findings: Findings) -> str:
    return page_of(run.results, findings, run.documents)


def test_it_is_well_formed(page: str) -> None:
    root = ET.fromstring(page.removeprefix("<!DOCTYPE html>"))
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert {"svg", "table", "section", "details"} <= names
    assert not names & {"script", "link", "img", "iframe", "object", "image"}


def test_it_loads_nothing_and_its_ids_are_unique(page: str) -> None:
    root = ET.fromstring(page.removeprefix("<!DOCTYPE html>"))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.rpartition("}")[2] in ("href", "src"):
                assert value.startswith("#")
                assert value[1:] in ids
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page
    for found in re.findall(r"url\(#([^)]*)\)", page):
        assert found in ids


def test_every_section_is_there(page: str, run: SearchRun) -> None:
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections == [
        "verdict", "front", "progress", "placement", "choices", "budgets", "seeds", "designs",
        "settings",
    ]  # fmt: skip
    assert page.count("<svg") == 5
    for design in run.results.designs:
        assert f"<td>{design.source}</td>" in page or f"trial {design.trial}<" in page
    assert "num_facts: 64" in page  # the documents
    assert "archspec search search.yaml" in page


def test_it_follows_the_reader_into_the_dark_and_onto_paper(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.S))
    assert "var(--ink)" in drawn
    assert "#222222" not in drawn


def test_names_from_strangers_are_text(run: SearchRun, findings: Findings) -> None:
    results = run.results
    best = results.designs[0]
    choices = dict(results.space.choices)
    choices[EVIL] = ChoiceResult(letter="<", kinds=("dense",), pools=())
    layers = (EVIL, *best.layers[1:])
    evil = best.model_copy(
        update={"source": EVIL, "layers": layers, "pools": EVIL, "placement": EVIL}
    )
    space = results.space.model_copy(update={"choices": choices, "legend": EVIL})
    changed = results.model_copy(
        update={
            "name": EVIL,
            "metric": EVIL,
            "space": space,
            "designs": (evil, *results.designs[1:]),
        }
    )
    page = page_of(changed, findings, {EVIL: EVIL})
    ET.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert "<script" not in page
    assert "alert" in page


def test_a_page_of_a_search_that_runs(run: SearchRun, findings: Findings) -> None:
    changes = {"is_finished": False, "is_running": True, "importance": None, "chance": None}
    early = findings.model_copy(update=changes)
    designs = tuple(d.model_copy(update={"reruns": ()}) for d in run.results.designs)
    page = page_of(run.results.model_copy(update={"designs": designs}), early)
    ET.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert "24 of 24 designs trained so far, still running" in page


def test_the_same_search_gives_the_same_page(run: SearchRun, findings: Findings) -> None:
    assert page_of(run.results, findings) == page_of(run.results, findings)


@pytest.mark.parametrize(
    ("name", "message"), [("a.htm", "must end in .html"), ("no/a.html", "no such folder")]
)
def test_a_wrong_path_is_refused(
    run: SearchRun, findings: Findings, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(ArchspecError, match=message):
        write_page(run.results, findings, str(tmp_path / name), out=Path("a"), documents={})
