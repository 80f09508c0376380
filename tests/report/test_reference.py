import pathlib
import re

from archspec.blocks.registry import kinds
from archspec.report.reference import reference_pages

FOLDER = pathlib.Path("docs/reference")


def test_pages_are_fresh():
    pages = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert pages == reference_pages(), "run `make reference`"


def test_every_key_has_a_meaning():
    for name, text in reference_pages().items():
        rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", text, flags=re.M)
        silent = [key for key, meaning in rows if not meaning.strip()]
        assert set(silent) <= {"kind", "task", "type"}, name


def test_every_kind_of_block_is_described():
    page = reference_pages()["blocks.md"]
    assert all(f"## `{kind}`" in page for kind in kinds())
