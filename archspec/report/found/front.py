"""The Pareto front: the metric against every other goal, hand designs marked."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from archspec.report.found.figure import NORMAL, SMALL, Picture, plain
from archspec.report.palette import BETTER, INK, QUIET
from archspec.search.budget import format_amount
from archspec.search.findings import Findings
from archspec.search.pareto import as_losses, front_goals, front_values, non_dominated
from archspec.search.results import DesignResult, SearchResults
from archspec.spec.search.objective import Goal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HAND = "#C08A00"
_MOST_PANELS = 3


def front_picture(results: SearchResults, findings: Findings) -> Picture:
    """Return the picture: a panel for each goal beside the metric, three at most."""
    others = front_goals(results)[1 : 1 + _MOST_PANELS]
    return Picture(
        name="front",
        title="The Pareto front",
        width=max(8.6, 4.3 * len(others)),
        height=4.3,
        draw=lambda figure: _draw(figure, results, findings, others),
    )


def _draw(figure: Any, results: SearchResults, findings: Findings, others: Sequence[Goal]) -> None:
    metric = front_goals(results)[0]
    panels = figure.subplots(1, len(others), sharey=True, squeeze=False)[0]
    for axes, goal in zip(panels, others, strict=True):
        plain(axes)
        _line(axes, results, metric, goal)
        _points(axes, results, findings, metric, goal)
        _limit(axes, results, goal)
        axes.set_xlabel(_axis_name(goal), fontsize=NORMAL, color=INK)
        axes.xaxis.set_major_formatter(lambda value, _, goal=goal: _written(goal, value))
        axes.locator_params(axis="x", nbins=5)
    panels[0].set_ylabel(_axis_name(metric), fontsize=NORMAL, color=INK)
    _legend(figure, results)


def _axis_name(goal: Goal) -> str:
    return f"{goal.name} ({'lower' if goal.direction == 'minimize' else 'higher'} is better)"


def _written(goal: Goal, value: float) -> str:
    return format_amount(goal.name, round(value)) if goal.source == "price" else f"{value:g}"


def _value(results: SearchResults, design: DesignResult, goal: Goal) -> float:
    return front_values(results, design)[front_goals(results).index(goal)]


def _line(axes: Axes, results: SearchResults, metric: Goal, goal: Goal) -> None:
    """Draw the edge of what these two goals alone allow."""
    goals = (goal, metric)
    values = [[_value(results, design, g) for g in goals] for design in results.top]
    losses = as_losses(values, goals)
    edge = sorted(losses[non_dominated(losses)].tolist())
    across = [goal.sign * x for x, _ in edge]
    up = [metric.sign * y for _, y in edge]
    where: Literal["post", "pre"] = "post" if goal.sign > 0 else "pre"
    axes.step(across, up, where=where, color=BETTER, linewidth=1.5, alpha=0.75)


def _points(
    axes: Axes,
    results: SearchResults,
    findings: Findings,
    metric: Goal,
    goal: Goal,
) -> None:
    letters = hand_letters(results)
    for design in results.top:
        x, y = _value(results, design, goal), _value(results, design, metric)
        on_front = design.trial in findings.front
        hand = design.is_hand_design
        colour = _HAND if hand else BETTER if on_front else QUIET
        filled = on_front or hand
        axes.scatter(
            [x], [y], s=46 if on_front else 26, marker="D" if hand else "o",
            facecolors=colour if filled else "none", edgecolors=colour, linewidths=1.1,
            alpha=1.0 if filled else 0.6, zorder=4 if hand else 3,
        )  # fmt: skip
        if design is results.best:
            axes.scatter([x], [y], s=190, facecolors="none", edgecolors=INK, linewidths=1.6,
                         zorder=5)  # fmt: skip
        if hand:
            axes.annotate(
                letters[design.trial], (x, y), (6, 3), textcoords="offset points",
                fontsize=NORMAL, fontweight="bold", color=INK,
            )  # fmt: skip


def hand_letters(results: SearchResults) -> dict[int, str]:
    """Give the hand designs letters, by trial, best first."""
    hand = [design for design in results.hand_designs if design in results.top]
    names = [*string.ascii_lowercase, *(a + b for a in "abc" for b in string.ascii_lowercase)]
    return {design.trial: name for design, name in zip(hand, names, strict=False)}


def _limit(axes: Axes, results: SearchResults, goal: Goal) -> None:
    """Mark a budget that lies near the designs."""
    low, high = axes.get_xlim()
    for budget in results.budgets:
        if budget.quantity == goal.name and low <= budget.limit <= high + 0.25 * (high - low):
            axes.axvline(budget.limit, color=INK, linewidth=1.0, linestyle=(0, (2, 2)))
            axes.annotate(
                "budget", (budget.limit, 0.99), (3, 0), xycoords=axes.get_xaxis_transform(),
                textcoords="offset points", rotation=90, ha="left", va="top", fontsize=SMALL,
                color=QUIET,
            )  # fmt: skip


def _legend(figure: Any, results: SearchResults) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", label=label, **style)

    letters = hand_letters(results)
    named: list[DesignResult] = [d for d in results.hand_designs if d.trial in letters]
    handles = [
        mark("winner", marker="o", markersize=11, markerfacecolor="none", markeredgecolor=INK),
        mark("on the front", marker="o", color=BETTER),
        mark("another design", marker="o", markerfacecolor="none", markeredgecolor=QUIET),
        *(mark(f"{letters[d.trial]}  {d.source}", marker="D", color=_HAND) for d in named),
    ]
    figure.legend(
        handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=SMALL,
        labelcolor=INK,
    )  # fmt: skip
