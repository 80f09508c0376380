"""A model: the document as people write it, and the flat value that everything else reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from archspec.blocks.base import BlockConfig, ModelScope, NormPosition
from archspec.blocks.pool.config import PoolConfig
from archspec.schema import PositiveFloat, PositiveInt, Schema
from archspec.spec.attention.base import AttentionConfig
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
    norm_position: Annotated[
        NormPosition,
        Field(
            description="Where attention and blocks are normed: pre, their input; post, their "
            "output (OLMo 2); both (Gemma 2)."
        ),
    ] = "pre"
    parallel: Annotated[
        bool,
        Field(
            description="Attention and blocks of a layer read the same input and share its norms "
            "(GPT-J, PaLM), instead of one after the other."
        ),
    ] = False
    attention: Annotated[
        dict[str, Any],
        Field(description="Attention of every layer, or templates by name; see attention types."),
    ]
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
        attention_name: The template name of the attention, empty if it has none; likewise.
    """

    attention: AttentionConfig
    blocks: tuple[BlockConfig, ...]
    names: tuple[str, ...] = field(compare=False)
    attention_name: str = field(compare=False, default="")

    @property
    def has_blocks(self) -> bool:
        """Whether any block of the layer does something."""
        return not all(block.is_identity for block in self.blocks)

    def norms(self, scope: ModelScope) -> tuple[str, ...]:
        """Name the layer's RMSNorms, each over the width of the model.

        What a layer lacks has no norm; in a parallel layer attention and blocks share theirs.
        """
        attends = not self.attention.is_identity
        if scope.parallel:
            branches = [""] if attends or self.has_blocks else []
        else:
            branches = ["attention_"] * attends + ["block_"] * self.has_blocks
        suffixes = {"pre": ["norm"], "post": ["post_norm"], "both": ["norm", "post_norm"]}
        return tuple(b + suffix for b in branches for suffix in suffixes[scope.norm_position])


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model in flat form: one entry per layer, every default filled in.

    Attributes:
        pools: The pools that some layer reads.
        templates: The named blocks of the document, used or not; a search chooses among them.
        graded_templates: Those whose sizes change over depth; here they are as in the first layer.
        template_pools: The pools of the document, read or not. Like the templates they are no part
            of the model and of its hash.
        attention_templates: The attention templates of the document, used or not; likewise.
    """

    name: str = field(compare=False)
    vocab_size: int
    max_seq_len: int
    d_model: int
    tie_embeddings: bool
    norm_eps: float
    norm_position: NormPosition
    parallel: bool
    pools: Mapping[str, PoolConfig]
    layers: tuple[LayerSpec, ...]
    templates: Mapping[str, BlockConfig] = field(compare=False, default_factory=dict)
    graded_templates: frozenset[str] = field(compare=False, default=frozenset())
    template_pools: Mapping[str, PoolConfig] = field(compare=False, default_factory=dict)
    attention_templates: Mapping[str, AttentionConfig] = field(compare=False, default_factory=dict)

    @functools.cached_property
    def scope(self) -> ModelScope:
        """What blocks may know of this model."""
        return ModelScope(
            d_model=self.d_model,
            num_layers=len(self.layers),
            vocab_size=self.vocab_size,
            pools=self.pools,
            norm_position=self.norm_position,
            parallel=self.parallel,
        )

    def replace(self, **changes: Any) -> ModelSpec:
        """Return a copy with some fields changed; nothing is checked again."""
        return dataclasses.replace(self, **changes)
