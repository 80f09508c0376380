"""How a search judges designs, put together: proxy, seeds, learning rates, what is remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from archspec.search.objective import AveragedObjective, Objective, StoredObjective
from archspec.search.proxy import ProxyObjective
from archspec.search.sweep import Notes, SweptObjective
from archspec.spec.search.expand import shrink_of
from archspec.spec.search.proxy import Proxy
from archspec.spec.search.spec import SearchSpec

CHECK = "check:"  # the scope of notes about the second proxy


def assemble(
    spec: SearchSpec,
    objective: Objective,
    folder: Path,
    notes: Notes,
    notify: Callable[[str], None],
) -> Objective:
    """Return what judges a design of a search.

    Args:
        spec: The search.
        objective: Judges one model with one seed.
        folder: Keeps the outcome of every training.
        notes: Keep the learning rates.
        notify: Hears that ``folder`` is away.
    """
    return _assembled(spec, StoredObjective(objective, folder, notify), notes, spec.proxy)


def assemble_check(
    spec: SearchSpec,
    objective: Objective,
    folder: Path,
    notes: Notes,
    notify: Callable[[str], None],
) -> Objective | None:
    """Return what judges a design at the size of ``proxy.check``, None if none is asked for."""
    if spec.proxy is None or spec.proxy.check is None:
        return None
    stored = StoredObjective(objective, folder, notify)
    return _assembled(spec, stored, notes, spec.proxy.second(), scope=CHECK)


def _assembled(
    spec: SearchSpec,
    stored: StoredObjective,
    notes: Notes,
    proxy: Proxy | None,
    *,
    scope: str = "",
) -> Objective:
    found: Objective = stored
    if spec.document.objective.sweep:
        found = SweptObjective(found, spec, notes, scope=scope)
    if spec.seeds > 1:
        found = AveragedObjective(found, spec.seeds)
    return found if proxy is None else ProxyObjective(found, shrink_of(spec, proxy))
