import hashlib

import numpy as np
import pytest

from archspec.errors import DataError
from archspec.spec.data.text import TextSource
from archspec.spec.load import load_train
from archspec.train.data.stream import random_words
from archspec.train.data.text import Text, read_pydoc


def text_of(source, *, vocab_size=300, seq_len=16, max_tokens=10_000):
    return Text(source, vocab_size=vocab_size, seq_len=seq_len, max_tokens=max_tokens)


def source_of(tmp_path, content, **changes):
    path = tmp_path / "sample.txt"
    path.write_bytes(content)
    return TextSource(text=str(path), **changes)


COUNTING = bytes(byte for number in range(128) for byte in (number, 0))


def test_pydoc_is_all_topics():
    from pydoc_data.topics import topics

    content = read_pydoc()
    assert len(content) > 300_000
    assert all(topic.encode() in content for topic in topics.values())
    assert text_of(TextSource(text="pydoc")).sha256 == hashlib.sha256(content).hexdigest()


def test_rows_are_bytes_and_the_bytes_after_them(tmp_path):
    text = text_of(source_of(tmp_path, COUNTING, held_out=0.2), seq_len=8)
    rows = text.rows(random_words(0, "test", 0, 50)[:, None])
    for tokens, targets in zip(rows.token_ids, rows.targets, strict=True):
        window = bytes([*tokens, targets[-1]])
        assert window in COUNTING
        assert (tokens[1:] == targets[:-1]).all()
    assert rows.counted.all()


def test_the_held_out_end_is_never_trained_on(tmp_path):
    content = b"a" * 900 + b"b" * 100
    text = text_of(source_of(tmp_path, content, held_out=0.1), seq_len=8)
    rows = text.rows(random_words(0, "test", 0, 5000)[:, None])
    assert set(rows.targets.flat) == {ord("a")}
    held_out = text.evaluation()
    assert set(held_out.token_ids.flat) == {ord("b")}
    assert len(held_out) == 12  # of 8 tokens, with one more byte to predict


def test_evaluation_windows_do_not_overlap_and_are_limited(tmp_path):
    text = text_of(source_of(tmp_path, COUNTING, held_out=0.5), seq_len=8, max_tokens=40)
    rows = text.evaluation()
    starts = np.sort(rows.token_ids[:, 0])
    assert len(rows) == 5
    assert np.diff(starts).min() >= 4  # numbers are two bytes


def test_paths_start_from_the_train_document(tmp_path):
    (tmp_path / "sample.txt").write_text("x" * 2000)
    document = tmp_path / "train.yaml"
    document.write_text(
        "archspec: 1\nkind: train\nseq_len: 8\nbatch_tokens: 8\ntokens: 8\n"
        "data: [{text: sample.txt}, {text: pydoc}]\n"
    )
    sample, pydoc = load_train(document).data
    assert sample.text == str(tmp_path / "sample.txt")
    assert (sample.name, pydoc.text) == ("sample", "pydoc")
    text_of(sample)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "sample.txt: the file is empty"),
        (b"abc\xff" * 99, "must be UTF-8, but byte 3 is 0xff"),
        (b"short", r"of 5 bytes 5 are trained on .*seq_len \+ 1 = 17"),
        (b"x" * 200, r"of 200 bytes 10 are held out \(held_out=0.05\).* 17"),
    ],
)
def test_bad_text_is_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        text_of(source_of(tmp_path, content))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.txt: the text cannot be read: no such file"):
        text_of(TextSource(text=str(tmp_path / "nowhere.txt")))
    with pytest.raises(DataError, match="is a directory"):
        text_of(TextSource(text=str(tmp_path)))


def test_a_vocabulary_without_all_bytes_is_refused():
    with pytest.raises(DataError, match=r"vocab_size >= 272 .*vocab_size=256"):
        text_of(TextSource(text="pydoc"), vocab_size=256)
