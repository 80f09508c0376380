"""How much of every budget the finalists use."""

from __future__ import annotations

from typing import Any

from archspec.report.found.figure import NORMAL, SMALL, Picture, bare, design_name
from archspec.report.found.shown import rank_of, shown_designs
from archspec.report.palette import BETTER, FAINT, INK, QUIET
from archspec.search.budget import format_amount
from archspec.search.results import BudgetResult, DesignResult, SearchResults


def upper_limits(results: SearchResults) -> list[BudgetResult]:
    """Return the budgets of which a share can be used."""
    return [budget for budget in results.budgets if budget.side == "max" and budget.limit]


def budgets_picture(results: SearchResults) -> Picture:
    """Return the picture: a panel for each budget, a bar for each design."""
    designs = shown_designs(results)
    return Picture(
        name="budgets",
        title="How much of the budgets the designs use",
        width=max(6.4, 1.6 + 2.2 * len(upper_limits(results))),
        height=0.75 + 0.27 * len(designs),
        draw=lambda figure: _draw(figure, results, designs),
    )


def _draw(figure: Any, results: SearchResults, designs: list[DesignResult]) -> None:
    limits = upper_limits(results)
    panels = figure.subplots(1, len(limits), sharey=True, squeeze=False)[0]
    for axes, budget in zip(panels, limits, strict=True):
        bare(axes)
        for place, design in enumerate(designs):
            share = design.prices[budget.quantity] / budget.limit
            axes.barh(place, 1.0, height=0.66, color=FAINT)
            axes.barh(place, share, height=0.66, color=BETTER)
            axes.text(1.03, place, f"{share:.0%}", va="center", fontsize=SMALL, color=INK)
        axes.set_xlim(0, 1.28)
        axes.set_ylim(len(designs) - 0.4, -0.6)
        axes.set_xticks([])
        title = f"{budget.quantity}\nat most {format_amount(budget.quantity, budget.limit)}"
        axes.set_title(title, fontsize=SMALL, color=QUIET, loc="left")
    names = [f"{rank_of(results, design)}  {design_name(design)}" for design in designs]
    panels[0].set_yticks(range(len(designs)), names, fontsize=NORMAL - 1, color=INK)
