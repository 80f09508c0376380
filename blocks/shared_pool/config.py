"""The declaration and price of one reader of a shared pool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from archspec.blocks.base import CostContext, Fault, ModelScope, TableRead
from archspec.blocks.memory.config import ProductKeyConfig
from archspec.quantities import Cost


class SharedPoolConfig(ProductKeyConfig):
    """A product-key look-up into a pool; differs from ``memory`` only in where the slots live."""

    type: Literal["shared_pool"] = "shared_pool"
    pool: Annotated[str, Field(description="Name of the pool that is read, a key of `pools`.")]

    @property
    def pool_name(self) -> str:
        """The pool this block reads."""
        return self.pool

    def check(self, scope: ModelScope) -> Iterator[Fault]:
        """Yield the rules broken between the look-up and its pool; unknown pools are not ours."""
        if self.pool in scope.pools:
            pool = scope.pools[self.pool]
            yield from self.check_lookup(pool.num_keys, keys_of=f"pools.{self.pool}.num_keys")
            if self.expert != pool.expert:
                yield Fault(
                    ("expert",),
                    "expert must be that of the pool, which decides what its slots hold, but "
                    f"expert={self.expert} and pools.{self.pool}.expert={pool.expert}; change one",
                )

    def size(self) -> str:
        """Say how large the block is, for a table column."""
        return f"{self.pool}, {self.num_heads} x top {self.top_k}"

    def cost(self, context: CostContext) -> Cost:
        """Price the look-up; the pool's rows are priced once, by the model."""
        return self.lookup_cost(context.scope.pools[self.pool], context)

    def table_reads(self, context: CostContext) -> tuple[TableRead, ...]:
        """Say what one token reads of the pool."""
        return self.lookup_reads(context.scope.pools[self.pool], context, name=self.pool)

    def kept_bytes(self, context: CostContext) -> int:
        """Count what the look-up keeps."""
        return self.lookup_kept_bytes(context.scope.pools[self.pool], context)
