"""What every block is once it is built: a torch module that maps the residual stream to a change.

A module's life: ``compiler.build`` constructs it on the meta device, ``compiler.initialise`` asks
it for ``initialisers`` and fills the parameters, then ``forward`` runs. A block knows nothing of
ranks: how it is laid over devices is data beside it, applied to the finished module.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from archspec.blocks.base import ModelScope
from archspec.blocks.part import Part
from archspec.blocks.pool.module import Pool
from archspec.blocks.usage import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """What a block gets to build itself from, beside its config.

    Attributes:
        scope: Sizes of the model around the block.
        norm_eps: Epsilon of every RMSNorm.
        pools: The model's pools; a block that reads one holds it without registering it.
    """

    scope: ModelScope
    norm_eps: float
    pools: Mapping[str, Pool]

    @property
    def residual_gain(self) -> float:
        """Scale of initial output projections: 2 * num_layers of them add up to variance 1."""
        return float((2 * self.scope.num_layers) ** -0.5)


class Cache(Protocol):
    """What a block may know of earlier tokens; ``model.cache`` has more for attention.

    Attributes:
        token_ids: [batch, max_tokens]; the first ``length`` of each row were seen, those of the
            running pass included.
        length: How many.
    """

    token_ids: Tensor
    length: int


class LossRecorder(Mapping[str, list[Tensor]]):
    """Auxiliary losses by name.

    Neither a dict nor a dataclass: those FSDP rebuilds, with the tensors in them, whenever it hands
    a layer its arguments, and what a layer adds to the copy would be lost.
    """

    def __init__(self) -> None:
        self._losses: dict[str, list[Tensor]] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Add one block's loss."""
        self._losses.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[Tensor]:
        return self._losses[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._losses)

    def __len__(self) -> int:
        return len(self._losses)


def _alone(counts: Tensor) -> Tensor:
    """Leave counts as they are, where one process has the whole batch."""
    return counts


@dataclass(slots=True, kw_only=True, eq=False)
class ForwardContext:
    """What travels through one forward pass beside the activations.

    Attributes:
        token_ids: [batch, seq].
        earlier_token_ids: [batch, earlier], the ids right before ``token_ids`` when a pass goes on
            with a sequence; at least as many as the largest ``lookback`` of the model's blocks, or
            all there are. None where the sequence starts with this pass.
        positions: [batch, seq], or None to count from 0.
        document_mask: [batch, 1, seq, keys], True where a query (third axis) may attend to a key;
            it includes causality, and the last key is the last query's own. None is plain causal
            attention.
        cache: Earlier tokens, whose place ``token_ids`` continue; None outside of inference.
        losses: Auxiliary losses by name, one tensor per block that has one, without coefficient.
        usage: Counts the use of experts and slots, if given.
        sum_over_batch: Adds up counts over the processes that share a batch; one by default.
    """

    token_ids: Tensor
    earlier_token_ids: Tensor | None = None
    positions: Tensor | None = None
    document_mask: Tensor | None = None
    cache: Cache | None = None
    losses: LossRecorder = field(default_factory=LossRecorder)
    usage: Recorder | None = None
    sum_over_batch: Callable[[Tensor], Tensor] = _alone

    def add_loss(self, name: str, value: Tensor) -> None:
        """Hand an auxiliary loss to whoever trains; its coefficient is theirs."""
        self.losses.add(name, value)


class Block(Part):
    """One block of a layer. Subclasses are final and are constructed as ``(config, build)``."""

    @abstractmethod
    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """Return the change to the residual stream; both are [batch, seq, d_model].

        A token's result depends on that token, and on the ids of as many tokens before it as the
        config's ``lookback`` says; on nothing else.
        """
