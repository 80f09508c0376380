import hashlib
import json

import numpy as np
import pytest

from archspec.errors import DataError
from archspec.spec.data.text import TextSource
from archspec.spec.load import load_train
from archspec.train.data.documents.text import PydocCorpus, TextCorpus
from archspec.train.vocabulary import EOS


def test_pydoc_is_all_topics(opened):
    from pydoc_data.topics import topics

    corpus = PydocCorpus()
    assert len(corpus.text) > 300_000
    assert all(topic in corpus.text for topic in topics.values())
    content = hashlib.sha256(corpus.text.encode()).hexdigest()
    assert opened({"text": "pydoc"}).sha256 == content


def test_a_file_is_its_bytes_and_an_end(opened, tmp_path):
    content = "añb\n" * 50
    (tmp_path / "sample.txt").write_text(content)
    source = opened({"text": "sample.txt", "evaluation": "sample.txt"}, seq_len=25)
    rows = source.evaluation()
    assert bytes(rows.token_ids.ravel().tolist()) == content.encode()
    assert rows.targets[-1, -1] == EOS
    assert source.name == "sample"


def test_every_file_is_a_document(opened, tmp_path):
    for name, content in (("b.txt", "bbb"), ("a.txt", "aaaa"), ("c.txt", "c" * 40)):
        (tmp_path / name).write_text(content)
    names = ["a.txt", "b.txt", "c.txt"]
    rows = opened({"text": names, "evaluation": names}).evaluation()
    texts = [bytes(i if i < 256 else ord("|") for i in row) for row in rows.token_ids.tolist()]
    assert texts[:2] == [b"aaaa|bbb", b"|ccccccc"]
    assert rows.documents[:2].tolist() == [[0] * 5 + [1] * 3, [0] + [1] * 7]


def test_long_files_are_read_in_whole_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("archspec.train.data.documents.text.PIECE", 10)
    content = "".join(f"línea {number}\n" for number in range(50)) + "no end"
    path = tmp_path / "long.txt"
    path.write_text(content)
    pieces = list(TextCorpus([path]).pieces())
    assert "".join(piece.text for piece in pieces) == content
    assert all(piece.text.endswith("\n") for piece in pieces[:-1])
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].position == len(content.encode())


def test_paths_start_from_the_train_document(tmp_path):
    (tmp_path / "dataset").mkdir()
    document = tmp_path / "train.yaml"
    document.write_text(
        "archspec: 1\nkind: train\nseq_len: 8\nbatch_tokens: 8\ntokens: 8\n"
        "data: [{text: sample.txt, tokenizer: t.json}, {text: pydoc}, {tokens: ['a/*.bin', b.bin]},"
        " {hf: dataset}, {hf: someone/books, evaluation: test}]\n"
    )
    sample, pydoc, tokens, local, hub = load_train(document).data
    assert (sample.text, sample.tokenizer) == (str(tmp_path / "sample.txt"), f"{tmp_path}/t.json")
    assert (sample.name, pydoc.text) == ("sample", "pydoc")
    assert tokens.tokens == [f"{tmp_path}/a/*.bin", f"{tmp_path}/b.bin"]
    assert (local.hf, local.name) == (str(tmp_path / "dataset"), "dataset")
    assert (hub.hf, hub.name, hub.evaluation) == ("someone/books", "books", "test")


def test_large_text_is_tokenised_once(opened, tmp_path, monkeypatch):
    """What does not fit into memory gives the same rows out of a file that later runs find."""
    (tmp_path / "sample.txt").write_text("".join(f"line {number}\n" for number in range(99)))
    small = opened({"text": "sample.txt"})
    monkeypatch.setattr("archspec.train.data.documents.files.IN_MEMORY", 10)
    monkeypatch.setenv("ARCHSPEC_CACHE", str(tmp_path / "cache"))
    large = opened({"text": "sample.txt"})
    (made,) = (tmp_path / "cache").glob("*/tokens.bin")
    stamp = made.stat().st_mtime_ns
    again = opened({"text": "sample.txt"})
    assert made.stat().st_mtime_ns == stamp
    for other in (large, again):
        assert other.sha256 == small.sha256
        rows, expected = (s.training_rows(0, 30, seed=0) for s in (other, small))
        assert np.array_equal(rows.token_ids, expected.token_ids)
    (tmp_path / "sample.txt").write_text("changed\n" * 99)
    opened({"text": "sample.txt"})
    assert len(list((tmp_path / "cache").glob("*/tokens.bin"))) == 2


def test_a_bad_document_leaves_nothing_in_the_cache(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("archspec.train.data.documents.files.IN_MEMORY", 10)
    monkeypatch.setenv("ARCHSPEC_CACHE", str(tmp_path / "cache"))
    lines = [json.dumps({"text": "good"})] * 50
    (tmp_path / "bad.jsonl").write_text("\n".join([*lines, "{"]))
    with pytest.raises(DataError, match=r"bad.jsonl:51: the line is not JSON"):
        opened({"jsonl": "bad.jsonl"})
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("archspec.train.data.documents.files.IN_MEMORY", 10)
    (tmp_path / "sample.txt").write_text("text\n" * 99)
    monkeypatch.setenv("ARCHSPEC_CACHE", str(tmp_path / "sample.txt"))
    with pytest.raises(DataError, match=r"cannot be kept there.*ARCHSPEC_CACHE"):
        opened({"text": "sample.txt"})


def test_a_vocabulary_without_all_bytes_is_refused(opened):
    with pytest.raises(DataError, match=r"vocab_size >= 272 .*vocab_size=256"):
        opened({"text": "pydoc"}, vocab_size=256)


def test_a_python_without_topics(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match=r"needs the module pydoc_data"):
        PydocCorpus()


def test_names(tmp_path):
    assert TextSource(text="books/moby.txt").name == "moby"
    assert TextSource(text="books/*.txt").name == "books"
    assert TextSource(text=["books/a-*.txt", "b.txt"]).name == "a"
    assert TextSource(text="moby.txt", name="whale").name == "whale"
