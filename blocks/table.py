"""What tables of rows have in common, whatever reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from archspec.blocks.part import Part, local
from archspec.errors import ArchspecError
from archspec.kernels.collected_bag import collected_bag, collected_gather_dot
from archspec.kernels.embedding_bag import embedding_bag, gather_dot
from archspec.kernels.row_gradient import RowGradient


@dataclass(frozen=True, slots=True)
class Rows:
    """A parameter of a table as look-ups meet it: what this process holds, and its gradient.

    Attributes:
        parameter: [slots, width], of the whole table wherever it is laid.
        gradient: Where look-ups are collected; None if the gradient is dense.
    """

    parameter: Tensor
    gradient: RowGradient | None

    @property
    def held(self) -> Tensor:
        """The rows, or columns of them, that this process holds."""
        return local(self.parameter)

    def bag(self, indices: Tensor, weights: Tensor, owned: Tensor | None = None) -> Tensor:
        """Sum weighted rows held here, [tokens, held width]; see ``embedding_bag``.

        Look-ups that are not ``owned`` have weight 0, and touch no row.
        """
        if self.gradient is None:
            return embedding_bag(indices, weights, self.held)
        return collected_bag(indices, weights, self._read_only(), self.gradient, owned)

    def dots(self, indices: Tensor, x: Tensor, owned: Tensor | None = None) -> Tensor:
        """Dot rows held here with their token's vector, [tokens, picks]; see ``gather_dot``.

        Dots that are not ``owned`` go unused, and touch no row.
        """
        if self.gradient is not None:
            return collected_gather_dot(indices, x, self._read_only(), self.gradient, owned)
        result: Tensor = gather_dot(indices, x, self.held)
        return result

    def _read_only(self) -> Tensor:
        """Return what is held, cut off from the parameter: its ``.grad`` is not to be filled."""
        return local(self.parameter.detach()).requires_grad_(self.parameter.requires_grad)


class Lookup(Protocol):
    """How look-ups meet the rows: in one process, or wherever a table is laid over several."""

    def sum_rows(self, slots: Tensor, weights: Tensor, rows: Rows) -> Tensor:
        """Sum each token's weighted rows, [tokens, width], as ``embedding_bag`` does.

        Where columns are shared out among processes that see the same tokens, this process gets
        its own.
        """

    def dot_rows(self, slots: Tensor, tokens: Tensor, rows: Rows) -> Tensor:
        """Dot each token, [tokens, width], with its rows, [tokens, picks], as ``gather_dot``."""

    def average(self, gradient: RowGradient) -> None:
        """Turn what this process collected into the gradient of the mean over all processes."""


class LocalLookup:
    """Look-ups into rows that this process holds."""

    def sum_rows(self, slots: Tensor, weights: Tensor, rows: Rows) -> Tensor:
        """See :class:`Lookup`."""
        return rows.bag(slots, weights)

    def dot_rows(self, slots: Tensor, tokens: Tensor, rows: Rows) -> Tensor:
        """See :class:`Lookup`."""
        return rows.dots(slots, tokens)

    def average(self, gradient: RowGradient) -> None:
        """See :class:`Lookup`."""


class Table(Part):
    """A part whose own parameters are rows of which a token reads few.

    Who trains finds them by this class: they have an optimizer and settings of their own. Their
    gradients are dense, in ``.grad``, or with :meth:`collect_rows` the look-ups that made them.
    Subclasses read their parameters through :meth:`rows` only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._row_gradients: dict[str, RowGradient] = {}

    @property
    def row_gradients(self) -> Mapping[str, RowGradient]:
        """Where gradients are collected, by the parameter's name; empty if they are dense."""
        return self._row_gradients

    @property
    def is_gathered(self) -> bool:
        """Whether FSDP gathers the table whenever it is read; such a table collects nothing."""
        return any(_gathering_ranks(self, p) > 1 for p in self.parameters(recurse=False))

    def collect_rows(self, enabled: bool = True) -> None:
        """Collect look-ups instead of dense gradients, or end that.

        ``.grad`` then stays None, and a ``RowOptimizer`` updates the rows. Unsupported meanwhile:
        double backward, and ``torch.compile(fullgraph=True)`` (without ``fullgraph`` the graph
        breaks at the table). A copy of the table collects for itself.

        Raises:
            ArchspecError: To end while a gradient is held, or while rows owe weight decay; or the
                table is gathered by FSDP whenever it is read.
        """
        if not enabled:
            self._require_settled()
            self._row_gradients = {}
            return
        for name, parameter in self.named_parameters(recurse=False):
            _require_in_place(self, name, parameter)
            slots, width = local(parameter).shape
            self._row_gradients.setdefault(name, RowGradient(slots=slots, width=width))

    def _require_settled(self) -> None:
        for name, gradient in self._row_gradients.items():
            if not gradient.is_empty:
                raise ArchspecError(
                    f"{type(self).__name__}.{name}: collecting rows cannot end while a gradient of "
                    f"{gradient.num_lookups} look-ups is held; call the optimizer's step or "
                    "zero_grad first"
                )
            if gradient.decay is not None:
                raise ArchspecError(
                    f"{type(self).__name__}.{name}: collecting rows cannot end while the optimizer "
                    "decays rows lazily; call its settle_decay(release=True) first"
                )

    def rows(self, name: str) -> Rows:
        """Return a parameter as look-ups meet it."""
        return Rows(self.get_parameter(name), self._row_gradients.get(name))


def _require_in_place(table: Table, name: str, parameter: Tensor) -> None:
    ranks = _gathering_ranks(table, parameter)
    if ranks > 1:
        raise ArchspecError(
            f"{type(table).__name__}.{name}: rows are collected where they are held, but FSDP over "
            f"{ranks} ranks gathers this table whenever it is read; fold it "
            "(`memory` of the plan's mesh), or leave its gradient dense"
        )


def _gathering_ranks(table: Table, parameter: Tensor) -> int:
    """Return over how many ranks FSDP has laid a parameter; 1 if it leaves it alone."""
    if type(parameter) in (Tensor, nn.Parameter):
        return 1
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    if isinstance(table, FSDPModule) and isinstance(parameter, DTensor):
        return parameter.device_mesh.size()
    return 1


def row_gradients(model: nn.Module) -> dict[nn.Parameter, RowGradient]:
    """Return what the tables of a model collect in, by parameter; dense tables are left out."""
    return {
        table.get_parameter(name): gradient
        for table in model.modules()
        if isinstance(table, Table)
        for name, gradient in table.row_gradients.items()
    }
