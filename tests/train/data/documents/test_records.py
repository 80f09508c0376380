"""Documents that are records: JSON lines, Parquet, HuggingFace's datasets."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archspec.errors import DataError
from archspec.train.data.documents.hf import HfCorpus
from archspec.train.data.documents.jsonl import JsonlCorpus
from archspec.train.data.documents.parquet import ParquetCorpus

TEXTS = ["first", "", "zweites: äöü", 'with "quotes"\nand lines', "last " * 500]


def documents(corpus):
    pieces = list(corpus.pieces())
    assert all(piece.is_last for piece in pieces)
    positions = [piece.position for piece in pieces]
    assert positions == sorted(positions)
    assert positions[-1] == corpus.size
    return [piece.text for piece in pieces]


def test_jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"id": 1, "body": text}) + "\r\n" for text in TEXTS))
    other = tmp_path / "b.jsonl"
    other.write_text(json.dumps({"body": "without a line end"}))
    assert documents(JsonlCorpus([path, other], field="body")) == [*TEXTS, "without a line end"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_parquet(tmp_path, kind):
    path = tmp_path / "a.parquet"
    table = pa.table({"id": range(5), "text": pa.array(TEXTS, kind)})
    pq.write_table(table, path, row_group_size=2)
    assert documents(ParquetCorpus([path], field="text")) == TEXTS


def test_a_table_without_rows_is_refused(opened, tmp_path):
    table = pa.table({"text": pa.array([], pa.string())})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet: has no documents; name files with some"):
        opened({"parquet": "a.parquet"})


def test_dataset_on_disk(tmp_path, opened):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"id": range(5), "text": TEXTS})
    data.save_to_disk(tmp_path / "one")
    corpus = HfCorpus(str(tmp_path / "one"), subset=None, split="train", field="text")
    assert documents(corpus) == TEXTS
    apart = datasets.Dataset.from_dict({"text": ["measured " * 9]})
    datasets.DatasetDict({"train": data, "test": apart}).save_to_disk(tmp_path / "both")
    source = opened({"hf": "both", "evaluation": "test"})
    assert source.epoch_tokens > 2500
    assert bytes(source.evaluation().token_ids[0].tolist()) == b"measured"
    with pytest.raises(DataError, match=r"has no split 'tets'; did you mean 'test'\?"):
        opened({"hf": "both", "split": "tets"})
    with pytest.raises(DataError, match=r"has no column 'txt'; did you mean 'text'\?"):
        opened({"hf": "one", "field": "txt"})
    with pytest.raises(DataError, match=r"column 'id' must be text, but is"):
        opened({"hf": "one", "field": "id"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"hf: .*empty cannot be loaded: "):
        opened({"hf": "empty"})


@pytest.mark.parametrize(
    ("missing", "extra", "values"),
    [
        ("pyarrow", "data", {"parquet": "a.parquet"}),
        ("datasets", "data", {"hf": "someone/books"}),
        ("tokenizers", "tokenizers", {"text": "a.parquet", "tokenizer": "a.parquet"}),
    ],
)
def test_a_missing_extra_is_named(missing, extra, values, opened, tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_text("PAR1")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DataError) as refused:
        opened(values)
    said = str(refused.value)
    assert f"needs the library {missing!r}" in said
    assert said.endswith(f"install it: pip install 'archspec-lm[{extra}]'")
