"""The declaration and price of an n-gram block."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from archspec.blocks.base import BlockConfig, CostContext, Fault, ModelScope, TableRead
from archspec.quantities import Cost
from archspec.schema import Count, PositiveInt

# The hash works modulo this prime, so that products of two residues fit int64. Slots and token ids
# are below it.
HASH_PRIME = 2**31 - 1
MAX_ORDER = 32

Order = Annotated[int, Field(strict=True, ge=1, le=MAX_ORDER)]


class NgramConfig(BlockConfig):
    """Rows of a table that the last n token ids name by hashing, gated by the hidden state.

    After Engram (Cheng et al., arXiv 2601.07372): each of ``num_heads`` hashes per order reads one
    row; the rows, side by side, are projected to a key and a value, and the value is multiplied by
    ``sigmoid(<x, RMSNorm(key)> / sqrt(d_model))``. Left out of Engram: its merged vocabulary, its
    convolution after the gate and its prime table sizes.
    """

    type: Literal["ngram"] = "ngram"
    orders: Annotated[
        tuple[Order, ...],
        Field(
            min_length=1,
            description="Lengths of the n-grams, in tokens, ascending; the last token is the "
            "current one.",
        ),
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    ] = (2, 3)
    num_heads: Annotated[PositiveInt, Field(description="Hash functions per order.")] = 4
    slots: Annotated[
        int,
        Field(ge=1, lt=HASH_PRIME, description="Rows of the table of each order and head."),
    ]
    row_dim: Annotated[PositiveInt, Field(description="Width of a row, in elements.")]
    hash_seed: Annotated[
        Count,
        Field(
            description="Chooses the hash functions; where layers differ in it, n-grams that "
            "collide in one do not in another."
        ),
    ] = 0

    @property
    def num_rows(self) -> int:
        """Rows that a token reads, one per order and head."""
        return len(self.orders) * self.num_heads

    @property
    def lookback(self) -> int:
        """Tokens before the current one that the longest n-gram holds."""
        return self.orders[-1] - 1

    def check(self, scope: ModelScope) -> Iterator[Fault]:
        """Yield the rules broken by the orders and by the size of the vocabulary."""
        if any(one >= other for one, other in pairwise(self.orders)):
            orders = sorted(set(self.orders))
            yield Fault(
                ("orders",),
                f"orders must ascend, each given once, but are {list(self.orders)}; write {orders}",
            )
        if scope.vocab_size >= HASH_PRIME:
            yield Fault(
                (),
                f"hashing needs vocab_size < {HASH_PRIME}, but vocab_size={scope.vocab_size}; use "
                "a smaller vocabulary",
            )

    def size(self) -> str:
        """Say how large the block is, for a table column."""
        orders = ",".join(map(str, self.orders))
        return f"{orders}-grams, {self.num_rows} x {self.slots} x {self.row_dim}"

    def cost(self, context: CostContext) -> Cost:
        """Price the block, w being the width of the rows that a token reads, side by side.

        Stored are all rows, active those read; key and value ``4 d w`` FLOPs, the gate's product
        ``2 d``; hashing, look-up, norm and sigmoid count 0.
        """
        d_model, width = context.scope.d_model, self.num_rows * self.row_dim
        rows = width * self.slots
        projections = 2 * d_model * width
        own = projections + d_model  # and the norm's weights
        return Cost(
            num_params=own + rows,
            num_table_params=rows,
            num_active_params=own + width,
            flops_per_token=2 * projections + 2 * d_model,
            table_bytes_per_token=width * context.table_element_bytes,
            activation_bytes_per_token=self._saved_bytes(context),
        )

    def table_reads(self, context: CostContext) -> tuple[TableRead, ...]:
        """Say what one token reads: a row of each stretch, here as rows of the whole table.

        Each hash reaches its own stretch only; the expected number of distinct rows is the same to
        less than one part in ``slots``.
        """
        read = TableRead(
            table=None,
            slots=self.num_rows * self.slots,
            row_dim=self.row_dim,
            num_heads=self.num_rows,
            top_k=1,
        )
        return (read,)

    def kept_bytes(self, context: CostContext) -> int:
        """Count the rows, key and value, and the product with the key; hashing is done again."""
        elements = 2 * context.scope.d_model + self.num_rows * self.row_dim + 1
        return elements * context.activation_element_bytes

    def _saved_bytes(self, context: CostContext) -> int:
        """Count what autograd keeps per token.

        The input, the rows, the key before and after its norm's division and after its weights, the
        value, and the gate; one factor of the norm in fp32; per row its slot in int64.
        """
        d_model, element = context.scope.d_model, context.activation_element_bytes
        elements = 5 * d_model + self.num_rows * self.row_dim + 1
        return elements * element + max(4, element) + 8 * self.num_rows
