"""The declaration and price of a memory block, and of the look-up it shares with shared pools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from archspec.blocks.base import BlockConfig, CostContext, Fault, ModelScope, TableRead
from archspec.blocks.pool.config import Expert, PoolConfig
from archspec.quantities import Cost
from archspec.schema import PositiveInt


class ProductKeyConfig(BlockConfig):
    """A product-key look-up (Lample et al., arXiv 1907.05242; Berges et al., arXiv 2412.09764).

    A query net makes ``num_heads`` queries; each is cut in halves that are scored against
    ``num_keys`` half-keys; the ``top_k`` best of the ``num_keys ** 2`` pairs are weighted by a
    softmax, and the rows of all heads are summed into one vector of ``value_dim``. Everything but
    the slots belongs to the placement.

    With ``expert: rank1`` a slot is an expert of one hidden unit (PEER; He, arXiv 2407.04153): the
    slots' rows v are weighted by ``softmax(score) * gelu(<u, x>)``, u being their second row.
    """

    num_heads: Annotated[PositiveInt, Field(description="Independent queries per token.")] = 4
    top_k: Annotated[PositiveInt, Field(description="Slots read per head and token.")] = 32
    key_dim: Annotated[PositiveInt, Field(description="Full key width, both halves; even.")]
    expert: Annotated[
        Expert,
        Field(
            description="What a slot holds: value is a row of value_dim; rank1 (PEER) is an expert "
            "of one hidden unit, a row of d_model in and a row of value_dim out."
        ),
    ] = "value"
    gate: Annotated[
        Literal["none", "swilu"],
        Field(
            description="swilu multiplies the value by silu(x W_g) before the output projection."
        ),
    ] = "none"
    qk_norm: Annotated[
        bool,
        Field(description="RMSNorm over each half of queries and keys, one weight vector each."),
    ] = False
    bias: Annotated[
        bool,
        Field(description="Biases on the query, gate and output projections."),
    ] = True

    def has_output(self, *, d_model: int, value_dim: int) -> bool:
        """Tell whether the summed value passes an output projection."""
        return self.gate != "none" or value_dim != d_model

    def check_lookup(self, num_keys: int, *, keys_of: str) -> Iterator[Fault]:
        """Yield the rules broken between this look-up and a table of ``num_keys ** 2`` slots."""
        if self.key_dim % 2:
            yield Fault(
                ("key_dim",),
                f"key_dim must be even, because it is cut in two halves, but is {self.key_dim}; "
                f"use {self.key_dim + 1}",
            )
        if self.top_k > num_keys:
            yield Fault(
                ("top_k",),
                f"top_k <= num_keys must hold, but top_k={self.top_k} and {keys_of}={num_keys}; "
                "lower top_k or raise num_keys",
            )

    def heads_on_rank(self, tp: int) -> int:
        """Return the heads that one of ``tp`` ranks looks up: all, if tp does not divide them."""
        return self.num_heads // tp if self.num_heads % tp == 0 else self.num_heads

    def lookup_cost(self, table: PoolConfig, context: CostContext, *, tp: int = 1) -> Cost:
        """Price one reader of ``table``, without the table's rows, on one of ``tp`` ranks.

        Query net ``2 d m q``, scores ``2 m n q``, value sum ``2 m t v`` and for rank-1 experts
        their hidden units ``2 m t d``, swilu gate and output ``2 d v`` each; selection, softmax,
        gelu and norms count 0 FLOPs.
        """
        d_model, heads, num_keys = context.scope.d_model, self.heads_on_rank(tp), table.num_keys
        gated, value_dim = self.gate != "none", table.value_dim // tp
        has_output = self.has_output(d_model=d_model, value_dim=table.value_dim)
        query = d_model * heads * self.key_dim
        codebooks = heads * num_keys * self.key_dim
        projections = (gated + has_output) * d_model * value_dim
        biases = heads * self.key_dim + gated * value_dim + has_output * d_model
        norms = self.key_dim * self.qk_norm  # one vector of key_dim / 2 for queries, one for keys
        read = self.num_heads * self.top_k * (table.row_dim(d_model) // tp)
        own = query + codebooks + projections + biases * self.bias + norms
        return Cost(
            num_params=own,
            num_active_params=own + read,
            flops_per_token=2 * (query + codebooks + read + projections),
            table_bytes_per_token=read * context.table_element_bytes,
            activation_bytes_per_token=self._saved_bytes(table, context, tp),
        )

    def _saved_bytes(self, table: PoolConfig, context: CostContext, tp: int) -> int:
        """Count what autograd keeps per token.

        Input, queries, the summed value, and for the gate its input, silu of it and the product; a
        norm keeps its queries before and after the division too, and one factor per half (stock
        rms_norm; a fused one keeps one vector less). Per pick, weight in fp32 and slot in int32,
        and in fp32 a rank-1 expert's hidden unit before and after gelu and its product with the
        weight.
        """
        picks = self.num_heads * self.top_k
        queries = self.heads_on_rank(tp) * self.key_dim
        gated, value_dim = self.gate != "none", table.value_dim // tp
        has_output = self.has_output(d_model=context.scope.d_model, value_dim=table.value_dim)
        elements = (
            context.scope.d_model
            + queries * (3 if self.qk_norm else 1)
            + value_dim * (4 * gated + (has_output and not gated))
        )
        element = context.activation_element_bytes
        in_fp32 = (
            picks * (4 if self.expert == "rank1" else 1) + 2 * self.heads_on_rank(tp) * self.qk_norm
        )
        return elements * element + in_fp32 * max(4, element) + 4 * picks

    def lookup_reads(
        self, table: PoolConfig, context: CostContext, *, name: str | None
    ) -> tuple[TableRead, ...]:
        """Say what one token reads of ``table``."""
        read = TableRead(
            table=name,
            slots=table.slots,
            row_dim=table.row_dim(context.scope.d_model),
            num_heads=self.num_heads,
            top_k=self.top_k,
        )
        return (read,)

    def lookup_kept_bytes(self, table: PoolConfig, context: CostContext, *, tp: int = 1) -> int:
        """Count queries, scores in fp32 and slots in int32, the summed value, gate and output.

        A slot that is an expert adds its hidden unit, in fp32.
        """
        d_model, element = context.scope.d_model, context.activation_element_bytes
        gated = self.gate != "none"
        has_output = self.has_output(d_model=d_model, value_dim=table.value_dim)
        elements = self.heads_on_rank(tp) * self.key_dim + table.value_dim // tp * (1 + gated)
        elements += d_model * has_output
        in_fp32 = 2 if self.expert == "rank1" else 1
        picks = self.num_heads * self.top_k
        return elements * element + picks * (in_fp32 * max(4, element) + 4)


class MemoryConfig(ProductKeyConfig):
    """A product-key look-up into a table of its own."""

    type: Literal["memory"] = "memory"
    num_keys: Annotated[
        PositiveInt,
        Field(description="Keys per half; the table has num_keys ** 2 rows (slots)."),
    ]
    value_dim: Annotated[PositiveInt, Field(description="Width of a value row, in elements.")]

    @property
    def table(self) -> PoolConfig:
        """The private table."""
        return PoolConfig(num_keys=self.num_keys, value_dim=self.value_dim, expert=self.expert)

    def check(self, scope: ModelScope) -> Iterator[Fault]:
        """Yield the rules broken between the look-up and its table."""
        yield from self.check_lookup(self.num_keys, keys_of="num_keys")

    def size(self) -> str:
        """Say how large the block is, for a table column."""
        return f"{self.table.size()}, {self.num_heads} x top {self.top_k}"

    def cost(self, context: CostContext) -> Cost:
        """Price the look-up and the table."""
        return self.table.cost(context.scope.d_model) + self.lookup_cost(self.table, context)

    def table_reads(self, context: CostContext) -> tuple[TableRead, ...]:
        """Say what one token reads of the table."""
        return self.lookup_reads(self.table, context, name=None)

    def kept_bytes(self, context: CostContext) -> int:
        """Count what the look-up keeps."""
        return self.lookup_kept_bytes(self.table, context)
