"""Which implementations carried something out: seen, not predicted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from archspec.kernels import dispatch


@contextmanager
def observed_words() -> Iterator[list[str]]:
    """Note the word of every implementation that an op takes meanwhile, each once, in order."""
    words: list[str] = []
    explain = dispatch.explain

    def noted(op_name: str, call: dispatch.Call) -> dispatch.Choice:
        choice = explain(op_name, call)
        if choice.implementation.word not in words:
            words.append(choice.implementation.word)
        return choice

    with mock.patch.object(dispatch, "explain", noted):
        yield words
