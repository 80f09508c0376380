"""Text that a model writes while it trains; it changes nothing of the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from archspec.errors import DataError
from archspec.model.generate import Draws, generate
from archspec.model.transformer import Transformer
from archspec.spec.model import ModelSpec
from archspec.spec.watch import Samples
from archspec.train.data.stream import random_words
from archspec.train.events import Sample
from archspec.train.vocabulary import NUM_BYTES


class Codec(Protocol):
    """How text becomes tokens and back."""

    def encode(self, text: str) -> Sequence[int]:
        """Return the tokens of a text."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens; what is no text is shown in some way."""


class ByteCodec:
    """The built-in vocabulary: bytes of UTF-8; all other tokens are shown as ``<ID>``."""

    def encode(self, text: str) -> Sequence[int]:
        """Return the bytes."""
        return list(text.encode())

    def decode(self, token_ids: Sequence[int]) -> str:
        """Join bytes to characters; a byte that makes none becomes the replacement character."""
        parts = (bytes([i]) if i < NUM_BYTES else f"<{i}>".encode() for i in token_ids)
        return b"".join(parts).decode(errors="replace")


class Sampler:
    """Lets a model go on from a prompt; the draws depend on the seed and the step alone.

    Args:
        spec: The model.
        settings: What to sample.
        codec: Of the training data.
        dtype: Of activations, where it is not that of the parameters.

    Raises:
        DataError: Prompt and text do not fit the model.
    """

    def __init__(
        self,
        spec: ModelSpec,
        settings: Samples,
        codec: Codec,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._dtype = dtype
        self._prompt = list(codec.encode(settings.prompt))
        _check_fits(spec, settings, self._prompt)

    def is_due(self, step: int) -> bool:
        """Tell whether to sample after a step."""
        return step % self._settings.every_steps == 0

    def sample(self, model: Transformer, step: int) -> Sample:
        """Write a text; every rank of a process group calls it and gets the same."""
        settings = self._settings
        training = model.training
        model.eval()
        prompt = torch.tensor([self._prompt], device=model.embedding.weight.device)
        found = generate(
            model, prompt, settings.max_tokens, draws=self._draws(step), dtype=self._dtype
        )
        model.train(training)
        text = self._codec.decode(found[0, len(self._prompt) :].tolist())
        return Sample(step=step, prompt=settings.prompt, text=text)

    def _draws(self, step: int) -> Draws | None:
        settings = self._settings
        if settings.temperature == 0:
            return None
        words = random_words(settings.seed, "watch.sample", step, settings.max_tokens)
        uniforms = (words >> np.uint64(11)) / 2.0**53
        return Draws(
            temperature=settings.temperature,
            top_k=settings.top_k,
            uniforms=torch.from_numpy(uniforms)[None],
        )


def _check_fits(spec: ModelSpec, settings: Samples, prompt: Sequence[int]) -> None:
    length = len(prompt) + settings.max_tokens
    if length > spec.max_seq_len:
        raise DataError(
            f"watch.sample: the prompt's {len(prompt)} tokens and max_tokens="
            f"{settings.max_tokens} make {length}, but the model has max_seq_len="
            f"{spec.max_seq_len}; lower max_tokens or shorten the prompt"
        )
    if max(prompt) >= spec.vocab_size:
        raise DataError(
            f"watch.sample: the prompt has token {max(prompt)}, but the model has vocab_size="
            f"{spec.vocab_size}; raise it or change the prompt"
        )
