"""From what a train document says of a source to the source itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archspec.spec.data.base import SourceConfig
from archspec.spec.data.copy import CopySource
from archspec.spec.data.facts import FactsSource
from archspec.spec.data.memorization import MemorizationSource
from archspec.spec.data.recall import RecallSource
from archspec.spec.data.text import HfSource, JsonlSource, ParquetSource, TextSource
from archspec.spec.data.tokens import TokensSource
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.train.data.copy import Copy
from archspec.train.data.facts import Facts
from archspec.train.data.files import open_text, open_tokens
from archspec.train.data.memorization import Memorization
from archspec.train.data.recall import Recall
from archspec.train.data.source import DataSource

# What opens each kind of source that archspec/spec/data/registry.py lists.
OPENERS: dict[type[SourceConfig], Callable[[Any, TrainSpec, ModelSpec], DataSource]] = {
    CopySource: lambda source, train, spec: Copy(
        source, max_asked=train.evaluation.questions, **_sizes(train, spec)
    ),
    FactsSource: lambda source, train, spec: Facts(
        source, max_asked=train.evaluation.facts, **_sizes(train, spec)
    ),
    MemorizationSource: lambda source, train, spec: Memorization(
        source, max_asked=train.evaluation.questions, **_sizes(train, spec)
    ),
    RecallSource: lambda source, train, spec: Recall(
        source, max_asked=train.evaluation.questions, **_sizes(train, spec)
    ),
    TokensSource: open_tokens,
    TextSource: open_text,
    JsonlSource: open_text,
    ParquetSource: open_text,
    HfSource: open_text,
}


def open_source(source: SourceConfig, train: TrainSpec, spec: ModelSpec) -> DataSource:
    """Open a source for a model. Raises DataError if it cannot be read or does not fit."""
    return OPENERS[type(source)](source, train, spec)


def _sizes(train: TrainSpec, spec: ModelSpec) -> dict[str, int]:
    return {"vocab_size": spec.vocab_size, "seq_len": train.seq_len}
