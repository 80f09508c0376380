"""From what a train document says of a source to the source itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archspec.spec.data.base import SourceConfig
from archspec.spec.data.facts import FactsSource
from archspec.spec.data.text import TextSource
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.train.data.facts import Facts
from archspec.train.data.source import DataSource
from archspec.train.data.text import Text

# What opens each kind of source that archspec/spec/data/registry.py lists.
OPENERS: dict[type[SourceConfig], Callable[[Any, TrainSpec, ModelSpec], DataSource]] = {
    FactsSource: lambda source, train, spec: Facts(
        source,
        vocab_size=spec.vocab_size,
        seq_len=train.seq_len,
        max_asked=train.evaluation.facts,
    ),
    TextSource: lambda source, train, spec: Text(
        source,
        vocab_size=spec.vocab_size,
        seq_len=train.seq_len,
        max_tokens=train.evaluation.text_tokens,
    ),
}


def open_source(source: SourceConfig, train: TrainSpec, spec: ModelSpec) -> DataSource:
    """Open a source for a model. Raises DataError if it cannot be read or does not fit."""
    return OPENERS[type(source)](source, train, spec)
