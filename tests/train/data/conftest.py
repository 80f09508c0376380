"""Sources opened for a model, without a train document."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from archspec.spec.data.registry import SourceField
from archspec.train.data.registry import open_source


@pytest.fixture
def opened(spec, settings, tmp_path):
    """A factory of opened sources from what a document says; paths start from ``tmp_path``."""

    def make(values, *, vocab_size=300, seq_len=8, max_tokens=10_000):
        source = TypeAdapter(SourceField).validate_python(values, strict=True).located(tmp_path)
        train = settings(seq_len=seq_len, batch_tokens=seq_len, data=[source])
        evaluation = train.evaluation.model_copy(update={"text_tokens": max_tokens})
        train = train.model_copy(update={"evaluation": evaluation})
        return open_source(source, train, spec.replace(vocab_size=vocab_size, max_seq_len=4096))

    return make


@pytest.fixture
def write_ids(tmp_path):
    """Write a raw file of token ids."""

    def write(name, ids, dtype="uint16"):
        np.asarray(ids, dtype=dtype).tofile(tmp_path / name)
        return tmp_path / name

    return write
