"""Trainings of a small model in place of the target, and whether its ranking can be believed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archspec.cost.summary import summarize
from archspec.search.agreement import rank_agreement
from archspec.search.fidelity import Fidelity
from archspec.search.objective import Objective, Outcome, judge
from archspec.search.stage_results import ProxyResult, RungEntry, RungResult
from archspec.spec.model import ModelSpec
from archspec.spec.search.shrink import Shrink


class ProxyObjective:
    """Judges a design of the target by its proxy.

    Args:
        objective: Judges proxies.
        shrink: Makes them.
    """

    def __init__(self, objective: Objective, shrink: Shrink) -> None:
        self._objective = objective
        self._shrink = shrink

    def __call__(self, spec: ModelSpec, seed: int, *, fidelity: Fidelity | None = None) -> Outcome:
        """Judge the proxy."""
        return judge(self._objective, self._shrink(spec), seed, fidelity)


def spread(first: RungResult, count: int) -> list[RungEntry]:
    """Return designs evenly over the ranking of a rung, the best and the worst among them."""
    sound = first.sound
    places = np.linspace(0, len(sound) - 1, min(count, len(sound)))
    return [sound[index] for index in sorted({round(place) for place in places.tolist()})]


def proxy_result(
    target: ModelSpec,
    proxy: ModelSpec,
    *,
    check_d_model: int | None = None,
    pairs: Sequence[tuple[float, float]] = (),
) -> ProxyResult:
    """Describe what stood for the target.

    Args:
        target: The best design.
        proxy: Its proxy.
        check_d_model: Width of the second proxy, if there was one.
        pairs: What each checked design was worth at the first and at the second size.
    """
    check = None
    if check_d_model is not None:
        check = rank_agreement((f"d_model={proxy.d_model}", f"d_model={check_d_model}"), pairs)
    return ProxyResult(
        num_layers=len(proxy.layers),
        d_model=proxy.d_model,
        num_params=summarize(proxy).total.num_params,
        target_num_params=summarize(target).total.num_params,
        check=check,
        check_d_model=check_d_model,
    )
