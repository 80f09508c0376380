"""Text that a model writes while it trains; it changes nothing of the training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from archspec.errors import DataError
from archspec.model.generate import Draws, generate
from archspec.model.transformer import Transformer
from archspec.spec.data.base import BYTES
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.spec.watch import Samples
from archspec.train.data.source import DataSource
from archspec.train.data.stream import random_words
from archspec.train.data.tokenizer import Tokenizer, check_tokenizer, open_tokenizer
from archspec.train.events import Sample


def open_codec(train: TrainSpec, sources: Sequence[DataSource], *, vocab_size: int) -> Tokenizer:
    """Open what samples are written in: what ``watch.sample`` names, or that of the sources.

    Args:
        train: The document, which samples and, of sources that say, was found to name one codec.
        sources: Opened; files of token ids may know what they were made by.
        vocab_size: Of the model.

    Raises:
        DataError: It cannot be opened, or all sources are of others.
    """
    assert train.watch.sample is not None, "only asked for where samples are"
    name = train.watch.sample.tokenizer or next(iter(train.codecs), BYTES)
    codec = open_tokenizer(None if name == BYTES else name)
    if name != BYTES:
        check_tokenizer(codec, vocab_size, "watch.sample")
    if codec.sha256 not in {source.codec_sha256 or codec.sha256 for source in sources}:
        made = ", ".join(source.name for source in sources)
        raise DataError(
            f"watch.sample: text would be of {name}, but the token ids of {made} were made by "
            "another tokenizer; name its file by watch.sample.tokenizer, or leave sample out"
        )
    return codec


class Sampler:
    """Lets a model go on from a prompt; the draws depend on the seed and the step alone.

    Args:
        spec: The model.
        settings: What to sample.
        tokenizer: Of the training data.
        dtype: Of activations, where it is not that of the parameters.

    Raises:
        DataError: Prompt and text do not fit the model.
    """

    def __init__(
        self,
        spec: ModelSpec,
        settings: Samples,
        tokenizer: Tokenizer,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._settings = settings
        self._tokenizer = tokenizer
        self._dtype = dtype
        (ids,) = tokenizer.encode([settings.prompt])
        self._prompt: list[int] = ids.tolist()
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
        return Sample(step=step, prompt=settings.prompt, text=self._continuation(found[0].tolist()))

    def _continuation(self, token_ids: Sequence[int]) -> str:
        """Return what follows the prompt; decoders may drop a space where a text begins."""
        begun, whole = self._tokenizer.decode(self._prompt), self._tokenizer.decode(token_ids)
        if whole.startswith(begun):
            return whole[len(begun) :]
        return self._tokenizer.decode(token_ids[len(self._prompt) :])

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
    if not prompt:
        raise DataError(
            f"watch.sample: the tokenizer makes no token of the prompt {settings.prompt!r}; give "
            "another prompt"
        )
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
