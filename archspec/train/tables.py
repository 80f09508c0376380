"""The gradients of value tables in one form, whatever the plan: the rows that a step looked up."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from archspec.blocks.pool.module import Pool
from archspec.blocks.table import Lookup, Table
from archspec.compiler.boxes import held
from archspec.kernels.row_gradient import RowGradient


class TableGradients:
    """Has the tables of a model collect their look-ups, and turns dense gradients into the same.

    A step is the same step however the tables are laid over ranks: it changes the rows that get a
    gradient. A table that FSDP gathers has a dense one, whose rows of zeros are left out; where
    look-ups are collected, those of tokens without influence on a counted target are.
    """

    def __init__(self, model: nn.Module) -> None:
        """Find the tables, once they are laid out."""
        self._collected: dict[nn.Parameter, RowGradient] = {}
        self._dense: dict[nn.Parameter, RowGradient] = {}
        self._lookups: list[tuple[Lookup, RowGradient]] = []
        for table in (module for module in model.modules() if isinstance(module, Table)):
            if table.is_gathered:
                self._dense.update(_carriers(table))
                continue
            table.collect_rows()
            for name, gradient in table.row_gradients.items():
                self._collected[table.get_parameter(name)] = gradient
                if isinstance(table, Pool):
                    self._lookups.append((table.lookup, gradient))

    @property
    def rows(self) -> Mapping[nn.Parameter, RowGradient]:
        """Where each parameter's gradient is after :meth:`finish`."""
        return MappingProxyType({**self._collected, **self._dense})

    @property
    def has_dense(self) -> bool:
        """Whether look-ups of any table pass its carrier by, as do those that FSDP gathers."""
        return bool(self._dense)

    @torch.no_grad()
    def finish(self, *, all_counted: bool) -> None:
        """Average over ranks and drop untouched rows, after the last backward of a step.

        Every rank calls it.

        Args:
            all_counted: Whether every target of the batch counts, so that every token has influence
                (on some target, its own at least).
        """
        for lookup, gradient in self._lookups:
            lookup.average(gradient)
        if not all_counted:
            for gradient in self._collected.values():
                gradient.drop_idle()
        for parameter, gradient in self._dense.items():
            if parameter.grad is not None and held(parameter).numel():
                _append_touched(gradient, held(parameter.grad))
            parameter.grad = None


def _carriers(table: Table) -> Mapping[nn.Parameter, RowGradient]:
    shapes = {p: held(p.detach()).shape for p in table.parameters(recurse=False)}
    return {p: RowGradient(slots=shape[0], width=shape[1]) for p, shape in shapes.items()}


def _append_touched(gradient: RowGradient, dense: Tensor) -> None:
    touched = dense.ne(0).any(dim=1).nonzero()  # [rows, 1]
    values = dense if len(touched) == len(dense) else dense.index_select(0, touched[:, 0])
    weights = torch.ones(touched.shape, dtype=values.dtype, device=values.device)
    gradient.append(touched, weights, values)
