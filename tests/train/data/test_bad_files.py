"""Bad files and exactly what people are told about them.

A case in ``golden/files.txt`` is a title, the files as a Python expression, what the train document
says of the source, and after ``=`` the message, in which ``~`` is the folder.
"""

import ast
import errno
import pathlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archspec.errors import DataError

GOLDEN = pathlib.Path(__file__).parent / "golden" / "files.txt"
CASE = re.compile(r"^## (.*)\n((?:.*\n)*?)=\n(.*)\n", flags=re.M)


def read_cases():
    found = CASE.findall(GOLDEN.read_text())
    return [(title, *body.rstrip("\n").split("\n"), message) for title, body, message in found]


def make(folder, name, content):
    path = folder / name
    if content is None:
        path.mkdir()
    elif name.endswith(".npy"):
        array = content if isinstance(content, bytes) else None
        path.write_bytes(array) if array is not None else np.save(path, array_of(content))
    elif isinstance(content, dict):
        pq.write_table(pa.table(content), path)
    else:
        path.write_bytes(content)


def array_of(content):
    dtype, values = content
    return np.array(values, dtype=dtype)


@pytest.mark.parametrize(
    ("title", "files", "source", "message"), read_cases(), ids=lambda value: str(value)[:40]
)
def test_message(title, files, source, message, opened, tmp_path, monkeypatch, request):
    monkeypatch.setattr("archspec.train.data.documents.jsonl.LONGEST_LINE", 2**20)
    monkeypatch.setattr("archspec.train.data.documents.text.LONGEST_LINE", 2**20)
    for name, content in eval_literals(files).items():
        make(tmp_path, name, content)
    with pytest.raises(DataError) as refused:
        opened(ast.literal_eval(source))
    said = str(refused.value).replace(str(tmp_path), "~")
    if request.config.getoption("--update-golden"):
        update(title, said)
    assert said == message or request.config.getoption("--update-golden")


def eval_literals(text):
    """Literals, and bytes repeated: ``b"x" * 3``."""
    tree = ast.parse(text, mode="eval").body
    assert isinstance(tree, ast.Dict)
    return {
        ast.literal_eval(key): repeated(value)
        for key, value in zip(tree.keys, tree.values, strict=True)
    }


def repeated(node):
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return ast.literal_eval(node.left) * ast.literal_eval(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return repeated(node.left) + repeated(node.right)
    return ast.literal_eval(node)


def update(title, said):
    text = GOLDEN.read_text()
    start = text.index(f"## {title}\n")
    place = text.index("\n=\n", start) + 3
    end = text.index("\n", place)
    GOLDEN.write_text(text[:place] + said + text[end:])


def test_titles_differ():
    titles = [case[0] for case in read_cases()]
    assert len(set(titles)) == len(titles) >= 40


@pytest.mark.parametrize("key", ["text", "jsonl", "parquet", "tokens"])
def test_a_file_that_may_not_be_read(key, opened, tmp_path, monkeypatch):
    """Root may read everything, so the system's refusal is played."""
    path = tmp_path / "secret"
    path.write_text("x" * 99)
    real = pathlib.Path.open

    def refuse(self, *arguments, **options):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(DataError) as refused:
        opened({key: "secret"})
    assert str(refused.value) == (
        f"{path}: may not be read by this user; change the file's permissions, or run as its owner"
    )
