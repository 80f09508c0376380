"""From what a train document or a command says of text to the corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from archspec.spec.data.files import as_tuple
from archspec.spec.data.text import (
    PYDOC,
    HfSource,
    JsonlSource,
    ParquetSource,
    TextSource,
    TextualSource,
)
from archspec.train.data.documents.corpus import Corpus
from archspec.train.data.documents.hf import HfCorpus
from archspec.train.data.documents.jsonl import JsonlCorpus
from archspec.train.data.documents.parquet import ParquetCorpus
from archspec.train.data.documents.text import PydocCorpus, TextCorpus
from archspec.train.data.paths import find_files


def _text(_: TextSource, where: Sequence[str]) -> Corpus:
    return PydocCorpus() if tuple(where) == (PYDOC,) else TextCorpus(find_files(where))


def _jsonl(source: JsonlSource, where: Sequence[str]) -> Corpus:
    return JsonlCorpus(find_files(where), field=source.field)


def _parquet(source: ParquetSource, where: Sequence[str]) -> Corpus:
    return ParquetCorpus(find_files(where), field=source.field)


def _hf(source: HfSource, where: Sequence[str]) -> Corpus:
    return HfCorpus(where[0], subset=source.subset, split=source.split, field=source.field)


# What opens the files of each kind of source, given the source and where they are.
CORPORA: dict[type[TextualSource], Callable[[Any, Sequence[str]], Corpus]] = {
    TextSource: _text,
    JsonlSource: _jsonl,
    ParquetSource: _parquet,
    HfSource: _hf,
}


def open_corpus(source: TextualSource) -> Corpus:
    """Open what a source is trained on. Raises DataError."""
    return CORPORA[type(source)](source, source.paths)


def open_evaluation(source: TextualSource) -> Corpus | None:
    """Open what a source is measured on, if that is apart. Raises DataError."""
    if source.evaluation is None:
        return None
    if isinstance(source, HfSource):
        return open_corpus(source.model_copy(update={"split": source.evaluation}))
    return CORPORA[type(source)](source, as_tuple(source.evaluation))
