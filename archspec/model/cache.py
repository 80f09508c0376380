"""What generation keeps of earlier tokens, allocated once from the spec.

A cache's life: ``KVCache(spec, ...)`` allocates; each forward pass with ``ForwardContext.cache``
reads the tokens before and adds its own; ``reset`` starts over. Inference only: tensors are written
in place.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archspec.errors import ArchspecError
from archspec.model.attention.visible import (
    CAUSAL,
    EVERYTHING,
    Visible,
    in_window,
)
from archspec.spec.attention.base import AttentionConfig
from archspec.spec.model import ModelSpec


class LayerCache:
    """What one layer's attention keeps; token i stands in slot i modulo the number of slots.

    Attributes:
        parts: Each [batch, slots, *shape of the part]; a sliding window has as many slots as it
            sees tokens.
        length: Tokens seen so far.
    """

    def __init__(
        self,
        config: AttentionConfig,
        *,
        batch: int,
        max_tokens: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        slots = config.cached_tokens(max_tokens)
        self.parts = tuple(
            torch.zeros(batch, slots, *shape, dtype=dtype, device=device)
            for shape in config.cache_shapes.values()
        )
        self.length = 0
        self._slots = slots
        self._window = slots if slots < max_tokens else None

    @property
    def num_bytes(self) -> int:
        """Bytes that are allocated."""
        return sum(part.nbytes for part in self.parts)

    def extend(self, *new: Tensor) -> tuple[tuple[Tensor, ...], Visible]:
        """Add tokens.

        Args:
            new: The parts of the new tokens, each [batch, tokens, *shape of the part].

        Returns:
            The parts of all tokens that a new one may see, and which it does.
        """
        count, start = new[0].shape[1], self.length
        self.length += count
        if self.length <= self._slots:
            return self._append(new, start)
        if count == 1:
            self._write(new, start)
            return self.parts, EVERYTHING
        return self._slide(new, start)

    def _append(self, new: tuple[Tensor, ...], start: int) -> tuple[tuple[Tensor, ...], Visible]:
        """Add tokens where none has to go."""
        for part, fresh in zip(self.parts, new, strict=True):
            part[:, start : self.length] = fresh
        seen = tuple(part[:, : self.length] for part in self.parts)
        if start == 0:
            return seen, CAUSAL
        if self.length == start + 1:
            return seen, EVERYTHING
        return seen, self._visible(torch.arange(self.length, device=new[0].device), start)

    def _slide(self, new: tuple[Tensor, ...], start: int) -> tuple[tuple[Tensor, ...], Visible]:
        """Add several tokens to a window that forgets some, which the first of them still see."""
        held = min(start, self._slots)
        device = new[0].device
        slots = torch.arange(held, device=device)
        old = start - 1 - (start - 1 - slots) % self._slots if start else slots
        keys = torch.cat((old, torch.arange(start, self.length, device=device)))
        seen = tuple(
            torch.cat((part[:, :held], fresh), dim=1)
            for part, fresh in zip(self.parts, new, strict=True)
        )
        kept = min(new[0].shape[1], self._slots)
        self._write(tuple(fresh[:, -kept:] for fresh in new), self.length - kept)
        return seen, self._visible(keys, start)

    def _write(self, new: tuple[Tensor, ...], start: int) -> None:
        stop = start + new[0].shape[1]
        slots = torch.arange(start, stop, device=new[0].device) % self._slots
        for part, fresh in zip(self.parts, new, strict=True):
            part.index_copy_(1, slots, fresh)

    def _visible(self, keys: Tensor, start: int) -> Visible:
        queries = torch.arange(start, self.length, device=keys.device)
        return Visible(in_window(queries, keys, self._window), is_causal=False)


class KVCache:
    """The caches of a model's layers, for sequences that grow together.

    Attributes:
        layers: One for each layer, None where there is no attention.
        token_ids: [batch, max_tokens]; the first ``length`` of each row were seen.
        length: Tokens seen so far.
        lookback: How many earlier token ids some block of the model hashes.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        batch: int,
        max_tokens: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Allocate.

        Args:
            spec: The model.
            batch: Sequences.
            max_tokens: Longest sequence to hold; default ``max_seq_len``.
            dtype: That of the model's activations.
            device: That of the model.

        Raises:
            ArchspecError: The sequences are longer than the model's.
        """
        tokens = spec.max_seq_len if max_tokens is None else max_tokens
        if not 1 <= tokens <= spec.max_seq_len:
            raise ArchspecError(
                f"max_tokens must be between 1 and max_seq_len={spec.max_seq_len}, but is {tokens}"
            )
        self.max_tokens = tokens
        self.lookback = max(block.lookback for layer in spec.layers for block in layer.blocks)
        self.length = 0
        self.token_ids = torch.zeros(batch, tokens, dtype=torch.long, device=device)
        self.layers = tuple(
            None
            if layer.attention.is_identity
            else LayerCache(
                layer.attention, batch=batch, max_tokens=tokens, dtype=dtype, device=device
            )
            for layer in spec.layers
        )

    @property
    def num_bytes(self) -> int:
        """Bytes of keys, values and latents that are allocated."""
        return sum(layer.num_bytes for layer in self.layers if layer is not None)

    def add(self, token_ids: Tensor) -> None:
        """Take note of the tokens, [batch, seq], that a forward pass is about to add.

        Raises:
            ArchspecError: There is no room for them.
        """
        batch, count = token_ids.shape
        if batch != self.token_ids.shape[0] or self.length + count > self.max_tokens:
            raise ArchspecError(
                f"the cache has room for {self.token_ids.shape[0]} sequences of "
                f"{self.max_tokens} tokens and holds {self.length}, so {batch} of {count} more do "
                "not fit; allocate a larger one or reset it"
            )
        self.token_ids[:, self.length : self.length + count] = token_ids
        self.length += count

    def reset(self) -> None:
        """Forget all tokens and keep the memory."""
        self.length = 0
        for layer in self.layers:
            if layer is not None:
                layer.length = 0
