import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from archspec.cli import main
from archspec.train.data.token_files import TokenFiles
from archspec.train.vocabulary import EOS

TEXTS = ["one", "two and three", ""]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS))
    return path


def test_a_token_file_of_json_lines(corpus, tmp_path, capsys):
    out = tmp_path / "made" / "corpus.bin"
    assert main(["tokenize", str(corpus), "--field", "body", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    ids = np.fromfile(out, dtype="<u2").tolist()
    assert ids == [token for text in TEXTS for token in (*text.encode(), EOS)]
    assert (said["tokens"], said["documents"], said["eos_id"]) == (len(ids), 3, EOS)
    assert said["text_bytes"] == len(ids) - 3
    assert json.loads((out.parent / "corpus.bin.json").read_text()).items() <= said.items()
    files = TokenFiles([out])
    assert len(files) == len(ids)
    assert files.bounded
    assert files.bytes_per_token == (len(ids) - 3) / len(ids)
    assert sorted(path.name for path in out.parent.iterdir()) == ["corpus.bin", "corpus.bin.json"]


def test_what_is_written_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        pathlib.Path(name).write_text("text " * 100)
    assert main(["tokenize", "*.txt", "--out", "out.bin"]) == 0
    assert capsys.readouterr().out == (
        "Wrote 1.00 k tokens (uint16, 1.96 KiB) of 2 documents to out.bin; they need vocab_size >= "
        "272. Train on them with `data: [{tokens: out.bin}]`.\n"
    )


def test_a_file_that_exists_is_kept(corpus, tmp_path, capsys):
    out = tmp_path / "there.bin"
    out.write_bytes(b"precious")
    assert main(["tokenize", str(corpus), "--field", "body", "--out", str(out)]) == 2
    assert "there.bin: exists already; name another file" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["corpus.jsonl"], "corpus.jsonl:1: has no field 'text'; did you mean"),
        (["corpus.jsonl", "--field", "bdy"], "has no field 'bdy'; did you mean 'body'?"),
        (["a.txt", "--field", "body"], "--field body was given, but text files have no fields"),
        (["a.txt", "corpus.jsonl"], "a.txt is text and corpus.jsonl is jsonl; say which by"),
        (["a", "b", "--format", "hf"], "--format hf takes one dataset, but 2 were given"),
        (["nowhere.txt"], "nowhere.txt: there is no such file"),
        (["a.txt", "--tokenizer", "a.txt"], "a.txt: is no tokenizer.json that can be read"),
        (["a.txt", "--eos-token", "</s>"], "eos_token='</s>' is a token of a tokenizer, but none"),
    ],
)
def test_bad_input_leaves_nothing(arguments, message, corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    corpus.write_text('{"body": "x", "txet": 3}\n')
    (tmp_path / "a.txt").write_text("text")
    assert main(["tokenize", *arguments, "--out", "out.bin"]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "corpus.jsonl"]


@pytest.mark.slow
def test_a_killed_process_leaves_no_half_file(tmp_path):
    corpus, out = tmp_path / "corpus.jsonl", tmp_path / "out.bin"
    with corpus.open("w") as file:
        for number in range(400_000):
            file.write(json.dumps({"text": f"document {number} " * 20}) + "\n")
    command = [sys.executable, "-m", "archspec", "tokenize", str(corpus), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob(".unfinished-*")):
        time.sleep(0.01)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert subprocess.run(command, capture_output=True, check=True).stdout
    assert len(TokenFiles([out])) == json.loads(pathlib.Path(f"{out}.json").read_text())["tokens"]
