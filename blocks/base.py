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
from archspec.quantities import Cost, expected_distinct
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRead:
    """What one token reads from a value table: ``top_k`` distinct rows for each head.

    Attributes:
        table: A private table has no name; a pool has the model's.
        slots: Rows of the table.
        row_dim: Width of a row, in elements.
        num_heads: Look-ups per token, independent of one another.
        top_k: Distinct rows of one look-up.
    """

    table: str | None
    slots: int
    row_dim: int
    num_heads: int
    top_k: int

    def rows(self, tokens: float) -> float:
        """Expect how many distinct rows ``tokens`` tokens read, if access is uniform."""
        return expected_distinct(self.slots, self.top_k, self.num_heads * tokens)


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

    def table_reads(self, context: CostContext) -> tuple[TableRead, ...]:
        """Say which tables a token reads, and how much of them."""
        return ()

    def touched_params(self, context: CostContext, tokens: float) -> float:
        """Expect how many parameters, table rows apart, one pass over ``tokens`` tokens reads."""
        cost = self.cost(context)
        return cost.num_params - cost.num_table_params

    def kept_bytes(self, context: CostContext) -> int:
        """Count the activation bytes per token that selective recompute keeps.

        The results of matmuls, selections and look-ups, whether or not autograd needs them; not the
        block's input. A block that does not say keeps all that autograd keeps.
        """
        return self.cost(context).activation_bytes_per_token
