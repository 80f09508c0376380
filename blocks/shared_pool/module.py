"""One reader of a shared pool."""

from __future__ import annotations

from archspec.blocks.memory.module import ProductKeyLookup
from archspec.blocks.module import BuildContext
from archspec.blocks.pool.module import Pool
from archspec.blocks.shared_pool.config import SharedPoolConfig


class SharedPoolBlock(ProductKeyLookup):
    """A look-up into a pool that the model owns."""

    _pool: Pool

    def __init__(self, config: SharedPoolConfig, build: BuildContext) -> None:
        super().__init__(config, build.scope.pools[config.pool], build)
        # Unregistered, so that the pool has one name in the model: its owner's.
        object.__setattr__(self, "_pool", build.pools[config.pool])

    @property
    def pool(self) -> Pool:
        """The slots."""
        return self._pool
