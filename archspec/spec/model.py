"""A model: the document as people write it, and the flat value that everything else reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from archspec.blocks.base import BlockConfig, ModelScope
from archspec.blocks.pool.config import PoolConfig
from archspec.schema import PositiveFloat, PositiveInt, Schema
from archspec.spec.attention import AttentionConfig
from archspec.spec.layers import LayersField


class ModelDocument(Schema):
    """An architecture, and nothing else."""

    archspec: Annotated[Literal[1], Field(description="Version of the language.")]
    kind: Annotated[Literal["model"], Field(description="The kind of document.")]
    name: Annotated[str, Field(description="A name for people; not part of the hash.")] = ""
    vocab_size: Annotated[PositiveInt, Field(description="Tokens of the vocabulary.")]
    max_seq_len: Annotated[PositiveInt, Field(description="Longest sequence, in tokens.")]
    d_model: Annotated[PositiveInt, Field(description="Model width, in elements.")]
    tie_embeddings: Annotated[
        bool,
        Field(description="Use the embedding matrix as the output head too."),
    ] = False
    norm_eps: Annotated[PositiveFloat, Field(description="Epsilon of every RMSNorm.")] = 1e-5
    attention: Annotated[AttentionConfig, Field(description="Attention of every layer.")]
    pools: Annotated[
        dict[str, PoolConfig],
        Field(description="Shared tables by name."),
    ] = Field(default_factory=dict)
    blocks: Annotated[
        dict[str, dict[str, Any]],
        Field(description="Block templates by name; each has a `type`."),
    ]
    layers: Annotated[LayersField, Field(description="Which block stands in which layer.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """One layer: attention, then the sum of its blocks.

    Attributes:
        attention: Resolved attention config.
        blocks: The blocks that share the layer's input; their outputs are summed.
        names: The template name of each block, for people; not part of the hash.
    """

    attention: AttentionConfig
    blocks: tuple[BlockConfig, ...]
    names: tuple[str, ...] = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model in flat form: one entry per layer, every default filled in.

    Attributes:
        pools: The pools that some layer reads.
        templates: The named blocks of the document, used or not; a search chooses among them.
        template_pools: The pools of the document, read or not. Like the templates they are no part
            of the model and of its hash.
    """

    name: str = field(compare=False)
    vocab_size: int
    max_seq_len: int
    d_model: int
    tie_embeddings: bool
    norm_eps: float
    pools: Mapping[str, PoolConfig]
    layers: tuple[LayerSpec, ...]
    templates: Mapping[str, BlockConfig] = field(compare=False, default_factory=dict)
    template_pools: Mapping[str, PoolConfig] = field(compare=False, default_factory=dict)

    @functools.cached_property
    def scope(self) -> ModelScope:
        """What blocks may know of this model."""
        return ModelScope(
            d_model=self.d_model,
            num_layers=len(self.layers),
            vocab_size=self.vocab_size,
            pools=self.pools,
        )

    def replace(self, **changes: Any) -> ModelSpec:
        """Return a copy with some fields changed; nothing is checked again."""
        return dataclasses.replace(self, **changes)
