"""Bad documents and exactly what people are told about them.

A case in ``golden/KIND.txt`` is a title, edits to ``golden/base_KIND.yaml`` (``- old``, ``+ new``;
without ``-`` the new lines are the whole document), and after ``=`` what ``archspec check`` prints.
"""

from __future__ import annotations

import pathlib
import re
import shutil
from dataclasses import dataclass

import pytest

from archspec.cli import main

GOLDEN = pathlib.Path(__file__).parent / "golden"
KINDS = ("model", "plan", "train", "search", "hardware")


@dataclass(frozen=True)
class Case:
    kind: str
    title: str
    edits: tuple[tuple[str, str], ...]
    text: str
    expected: str

    def document(self) -> str:
        if not self.edits:
            return self.text
        document = (GOLDEN / f"base_{self.kind}.yaml").read_text()
        for old, new in self.edits:
            assert old in document, f"{self.title}: {old!r} is not in the base document"
            document = document.replace(old, new, 1)
        return document


def parse_case(kind: str, section: str) -> Case:
    title, _, body = section.partition("\n")
    change, _, expected = body.partition("\n=\n")
    edits: list[tuple[str, list[str]]] = []
    whole: list[str] = []
    for line in change.splitlines():
        if line.startswith("- ") and not whole:
            edits.append((line[2:], []))
        elif line.startswith("+"):
            (edits[-1][1] if edits else whole).append(line[2:])
    return Case(
        kind,
        title,
        tuple((old, "\n".join(new)) for old, new in edits),
        "\n".join(whole) + "\n",
        expected.strip("\n"),
    )


def read_cases(kind: str) -> list[Case]:
    sections = re.split(r"^## ", (GOLDEN / f"{kind}.txt").read_text(), flags=re.M)
    return [parse_case(kind, section) for section in sections if section]


CASES = [case for kind in KINDS for case in read_cases(kind)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for kind in KINDS:
        shutil.copy(GOLDEN / f"base_{kind}.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(case: Case, folder: pathlib.Path, capsys) -> str:
    file = folder / f"{case.kind}.yaml"
    file.write_text(case.document())
    status = main(["check", file.name])
    printed = capsys.readouterr()
    assert status == 2, f"{case.title}: accepted"
    assert printed.err == ""
    return printed.out.replace("1 of 1 documents have problems\n", "").strip("\n")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.title}")
def test_message(case, folder, capsys, request):
    said = check(case, folder, capsys)
    if request.config.getoption("--update-golden"):
        update(case, said)
    else:
        assert said == case.expected


def update(case: Case, said: str) -> None:
    path = GOLDEN / f"{case.kind}.txt"
    sections = path.read_text().split("## ")
    for index, section in enumerate(sections):
        if section.partition("\n")[0] == case.title:
            change = section.partition("\n=\n")[0].rstrip("\n")
            sections[index] = f"{change}\n=\n{said}\n\n"
    path.write_text("## ".join(sections).rstrip("\n") + "\n")


@pytest.mark.parametrize("kind", KINDS)
def test_base_is_right(kind, folder, capsys):
    assert main(["check", f"base_{kind}.yaml"]) == 0


def test_titles_differ():
    titles = [(case.kind, case.title) for case in CASES]
    assert len(set(titles)) == len(titles)


def test_enough_cases():
    assert len(CASES) >= 150


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.yaml", None, "missing.yaml: no such file; check the path"),
        (
            "garbage.yaml",
            b"\x89PNG\r\n\x1a\n\x00\x00",
            "garbage.yaml: is not UTF-8 text: byte 0x89 on line 1; is it YAML?",
        ),
        (
            "zeros.yaml",
            b"archspec: 1\n\x00\x00",
            "zeros.yaml: not readable as YAML: control characters are not allowed at character 12",
        ),
        (
            "large.yaml",
            b"#" * (4 * 2**20 + 1),
            "large.yaml: is larger than 4 MiB, the limit for a document",
        ),
        ("deep.yaml", b"[" * 100_000, "deep.yaml:1:65: nested more than 64 levels deep"),
        (
            "bomb.yaml",
            b"a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + b"".join(
                b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 10)) for c in b"bcdefghi"
            ),
            "bomb.yaml:6:8: more than 200000 values once aliases are expanded; shorten the file",
        ),
    ],
)
def test_file_that_is_no_text(name, content, expected, folder, capsys):
    if content is not None:
        (folder / name).write_bytes(content)
    assert main(["check", name]) == 2
    assert capsys.readouterr().out.splitlines()[0] == expected


def test_directory(folder, capsys):
    (folder / "models").mkdir()
    assert main(["check", "models"]) == 2
    assert capsys.readouterr().out.startswith("models: is a directory; name a YAML file in it")


def test_every_file_is_checked_although_one_is_bad(folder, capsys):
    assert main(["check", "missing.yaml", "base_model.yaml"]) == 2
    assert capsys.readouterr().out == (
        "missing.yaml: no such file; check the path\n"
        "base_model.yaml: ok, model, 6 layers of dense, memory, moe, shared_pool\n"
        "1 of 2 documents have problems\n"
    )
