"""The whole model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from archspec.blocks.module import BuildContext, ForwardContext
from archspec.blocks.part import Part
from archspec.blocks.pool.module import Pool
from archspec.errors import ArchspecError
from archspec.initialisers import Initialiser, fan_in_normal
from archspec.model.cache import KVCache, LayerCache
from archspec.model.layer import Layer
from archspec.model.norm import RMSNorm
from archspec.model.vocabulary import LocalVocabulary, Vocabulary
from archspec.spec.model import ModelSpec


class Transformer(Part):
    """A decoder-only language model: embedding, layers, norm, head.

    The pools live at ``pools.<name>`` and nowhere else; layers that read one refer to it.

    Attributes:
        vocabulary: How tokens meet embedding and head; whoever lays these over processes replaces
            it.
        sum_over_batch: What a context gets that has none of its own, likewise.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.vocabulary: Vocabulary = LocalVocabulary()
        self.sum_over_batch: Callable[[Tensor], Tensor] | None = None
        self.embedding = nn.Embedding(spec.vocab_size, spec.d_model)
        self.pools = nn.Module()
        pools = {name: Pool(config, d_model=spec.d_model) for name, config in spec.pools.items()}
        for name, pool in pools.items():
            _register_pool(self.pools, name, pool)
        build = BuildContext(scope=spec.scope, norm_eps=spec.norm_eps, pools=pools)
        self.layers = nn.ModuleList(Layer(layer, build) for layer in spec.layers)
        self.norm = RMSNorm(spec.d_model, spec.norm_eps)
        tied = spec.tie_embeddings
        self.head = None if tied else nn.Linear(spec.d_model, spec.vocab_size, bias=False)

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start logits with variance 1; a tied embedding is the head too."""
        start = fan_in_normal(self.spec.d_model)
        head = {} if self.head is None else {"head.weight": start}
        return {"embedding.weight": start, **head}

    def forward(
        self,
        token_ids: Tensor,
        context: ForwardContext | None = None,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Predict the next token at every position.

        Args:
            token_ids: [batch, seq].
            context: Positions, document mask, recorders; by default a plain causal pass.
            counted: [batch, seq] bool on the CPU, the positions that have logits; None for all.

        Returns:
            Logits, [batch, seq, vocab_size], or with ``counted`` [counted, vocab_size].

        Raises:
            ArchspecError: The context's cache has no room, or cannot be used as asked.
        """
        x = self._stream(token_ids, context)
        if counted is not None:
            x = x.flatten(0, 1).index_select(0, _places(counted, x.device))
        return self.vocabulary.logits(x, self._head_weight)

    def nll(
        self,
        token_ids: Tensor,
        targets: Tensor,
        context: ForwardContext | None = None,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Return each target's negative log-likelihood in nats.

        Where the vocabulary is cut, no process ever has all logits.

        Args:
            token_ids: [batch, seq].
            targets: [batch, seq], the token after each.
            context: As for ``forward``.
            counted: [batch, seq] bool, the positions whose target counts; no others have logits.
                On the CPU, whatever the model is on: to find them there would wait for the device.

        Returns:
            [batch, seq], or with ``counted`` [counted] in their order; at least in fp32.

        Raises:
            ArchspecError: As ``forward`` does.
        """
        x = self._stream(token_ids, context).flatten(0, 1)
        flat = targets.flatten()
        if counted is not None and not counted.all():
            places = _places(counted, x.device)
            x, flat = x.index_select(0, places), flat.index_select(0, places)
        nll = self.vocabulary.nll(x, self._head_weight, flat)
        if counted is None:
            nll = nll.view(targets.shape)
        return nll.clone()  # FSDP hooks into what is returned: no view

    @property
    def _head_weight(self) -> Tensor:
        """[vocab_size, d_model]."""
        head = self.embedding if self.head is None else self.head
        return head.weight

    def _stream(self, token_ids: Tensor, context: ForwardContext | None) -> Tensor:
        """Return what the head reads, [batch, seq, d_model]."""
        if context is None:
            context = ForwardContext(token_ids=token_ids)
        if self.sum_over_batch is not None:
            context = dataclasses.replace(context, sum_over_batch=self.sum_over_batch)
        caches: Sequence[LayerCache | None] = [None] * len(self.layers)
        if context.cache is not None:
            assert isinstance(context.cache, KVCache), "attention needs its keys and values"
            caches = context.cache.layers
            context = _continued(context, context.cache, token_ids)
        x = self.vocabulary.embed(token_ids, self.embedding.weight)  # [batch, seq, d_model]
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(x, context, cache)
        normed: Tensor = self.norm(x)
        return normed


def _places(counted: Tensor, device: torch.device) -> Tensor:
    """Return where a mask on the CPU is true, [counted], on a device."""
    return counted.flatten().nonzero()[:, 0].to(device, non_blocking=True)


def _continued(context: ForwardContext, cache: KVCache, token_ids: Tensor) -> ForwardContext:
    """Add tokens to a cache; return the context with their positions, counted from its start."""
    if context.document_mask is not None:
        raise ArchspecError(
            "a cache holds one document per row; leave out document_mask, or the cache"
        )
    start = cache.length
    cache.add(token_ids)
    positions = context.positions
    if positions is None:
        positions = torch.arange(start, cache.length, device=token_ids.device)[None]
    earlier = cache.token_ids[:, max(0, start - cache.lookback) : start]
    return dataclasses.replace(context, positions=positions, earlier_token_ids=earlier)


def _register_pool(pools: nn.Module, name: str, pool: Pool) -> None:
    try:
        pools.register_module(name, pool)
    except KeyError as error:
        raise ArchspecError(
            f"pools.{name}: this name cannot be an attribute of a torch module ({error.args[0]}); "
            "rename the pool"
        ) from None
