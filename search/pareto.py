"""Designs that no other design beats in everything at once."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from archspec.cost.pricing import QUANTITIES
from archspec.search.results import DesignResult

OBJECTIVES = ("flops_per_token", "num_params")  # beside the metric


def pareto_front(designs: Sequence[DesignResult], direction: str) -> list[DesignResult]:
    """Return the non-dominated designs in metric, FLOPs and parameters, best metric first.

    Metrics are those of the first runs, which every design has, each from as many trainings.
    """
    sign = 1.0 if direction == "minimize" else -1.0
    points = np.array([[sign * d.value, *(d.prices[name] for name in OBJECTIVES)] for d in designs])
    front = []
    for index, design in enumerate(designs):
        as_good = np.all(points <= points[index], axis=1)
        better = np.any(points < points[index], axis=1)
        if not np.any(as_good & better):
            front.append(design)
    return sorted(front, key=lambda design: sign * design.value)


def pareto_csv(designs: Sequence[DesignResult], direction: str) -> str:
    """Write the front as CSV; ``metric`` is that of the first run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["metric", *QUANTITIES, "design", "pools", "source", "spec_hash"])
    for design in pareto_front(designs, direction):
        writer.writerow(
            [
                repr(design.value),
                *(design.prices[name] for name in QUANTITIES),
                design.placement,
                design.pools,
                design.source,
                design.spec_hash,
            ]
        )
    return text.getvalue()
