"""What tables of rows have in common, whatever reads them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from archspec.blocks.part import Part
from archspec.errors import ArchspecError
from archspec.kernels.collected_bag import collected_bag, collected_gather_dot
from archspec.kernels.embedding_bag import embedding_bag, gather_dot
from archspec.kernels.row_gradient import RowGradient


class Table(Part):
    """A part whose own parameters are rows of which a token reads few.

    Who trains finds them by this class: they have an optimizer and settings of their own. Their
    gradients are dense, in ``.grad``, or with :meth:`collect_rows` the look-ups that made them.
    Subclasses read their parameters through :meth:`_bag` and :meth:`_dots` only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._row_gradients: dict[str, RowGradient] = {}

    @property
    def row_gradients(self) -> Mapping[str, RowGradient]:
        """Where gradients are collected, by the parameter's name; empty if they are dense."""
        return self._row_gradients

    def collect_rows(self, enabled: bool = True) -> None:
        """Collect look-ups instead of dense gradients, or end that.

        ``.grad`` then stays None, and a ``RowOptimizer`` updates the rows. Unsupported meanwhile:
        double backward, and ``torch.compile(fullgraph=True)`` (without ``fullgraph`` the graph
        breaks at the table). A copy of the table collects for itself.

        Raises:
            ArchspecError: To end while a gradient is held, or while rows owe weight decay.
        """
        if not enabled:
            self._require_settled()
            self._row_gradients = {}
            return
        for name, parameter in self.named_parameters(recurse=False):
            slots, width = parameter.shape
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

    def _bag(self, name: str, indices: Tensor, weights: Tensor) -> Tensor:
        """Sum weighted rows of a parameter, [tokens, width]; see ``embedding_bag``."""
        table: Tensor = getattr(self, name)
        gradient = self._row_gradients.get(name)
        if gradient is None:
            return embedding_bag(indices, weights, table)
        return collected_bag(indices, weights, table, gradient)

    def _dots(self, name: str, indices: Tensor, x: Tensor) -> Tensor:
        """Dot rows of a parameter with their token's vector, [tokens, picks]: ``gather_dot``."""
        table: Tensor = getattr(self, name)
        gradient = self._row_gradients.get(name)
        if gradient is None:
            dots: Tensor = gather_dot(indices, x, table)
            return dots
        return collected_gather_dot(indices, x, table, gradient)


def row_gradients(model: nn.Module) -> dict[nn.Parameter, RowGradient]:
    """Return what the tables of a model collect in, by parameter; dense tables are left out."""
    return {
        table.get_parameter(name): gradient
        for table in model.modules()
        if isinstance(table, Table)
        for name, gradient in table.row_gradients.items()
    }
