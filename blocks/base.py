"""What every block kind declares: a frozen config that checks and prices itself before it exists.

A block's life: the loader picks the config class by ``type`` and validates it; ``check`` judges it
within its model; ``cost`` prices it; only then does ``registry.module_class`` import torch and
build it. Everything up to the last step is torch-free.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from archspec.blocks.pool.config import PoolConfig
from archspec.errors import Path
from archspec.quantities import Cost
from archspec.schema import Schema

NormPosition = Literal["pre", "post", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScope:
    """What a block may know of the model around it."""

    d_model: int
    num_layers: int
    vocab_size: int
    pools: Mapping[str, PoolConfig]
    norm_position: NormPosition = "pre"
    parallel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CostContext:
    """The conventions under which a cost is computed.

    Attributes:
        scope: The model around the block.
        seq_len: Tokens per sequence; only attention depends on it.
        table_element_bytes: Bytes of one element of a value table.
        activation_element_bytes: Bytes of one element of an activation.
        causal: Count the causal half of the attention core, otherwise all of it.
    """

    scope: ModelScope
    seq_len: int
    table_element_bytes: int = 2
    activation_element_bytes: int = 2
    causal: bool = True


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that a config breaks within its model; ``path`` is relative to the config."""

    path: Path
    message: str


class BlockConfig(Schema):
    """The declaration of one block. Subclasses are final, one per ``type``."""

    type: str

    def check(self, scope: ModelScope) -> Iterator[Fault]:
        """Yield every rule that this config breaks inside the model ``scope``."""
        yield from ()

    @property
    def pool_name(self) -> str | None:
        """The pool this block reads, if any."""
        return None

    @property
    def is_identity(self) -> bool:
        """Whether the block adds nothing; a layer of such blocks alone has no norm for them."""
        return False

    @property
    def lookback(self) -> int:
        """How many tokens before a token its result may depend on, by their ids alone.

        0 for a block that works on every token by itself. Whoever decodes incrementally keeps this
        many token ids and hands them on as ``ForwardContext.earlier_token_ids``.
        """
        return 0

    @abstractmethod
    def size(self) -> str:
        """Say how large the block is, in a few words for a table column."""

    @abstractmethod
    def cost(self, context: CostContext) -> Cost:
        """Price one placement of the block; a pool it reads is priced apart, once."""
