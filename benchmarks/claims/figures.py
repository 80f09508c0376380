"""The figures of docs/claims.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from archspec.cost.summary import cost_context
from archspec.race.results import DesignResult, RaceResults
from archspec.race.statistics import mean
from archspec.spec.load import load_model
from benchmarks.claims.verdicts import ACCURACY, DENSE, DENSE_2X, MEMORY, MOE, SHARED

mpl.use("Agg")  # before pyplot: no display is needed
from matplotlib import pyplot as plt

COLORS = {
    DENSE: "#7f7f7f",
    DENSE_2X: "#3f3f3f",
    MOE: "#d08c2f",
    MEMORY: "#6a9f58",
    **dict(zip(SHARED, ("#9ecae1", "#4292c6", "#08519c"), strict=True)),
}
ROOT = Path(__file__).parents[2]
BUCKETS = ("rare", "medium", "common", "held_out")
MILLION = 1e6


def draw_figures(results: RaceResults, folder: Path) -> tuple[Path, ...]:
    """Draw every figure into a folder; return the files."""
    paths = tuple(folder / f"claims_{name}.png" for name in ("curves", "slots", "kinds"))
    for draw, path in zip((_draw_curves, _draw_slots, _draw_kinds), paths, strict=True):
        figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
        draw(results, axes)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e5e5e5")
        axes.set_axisbelow(True)
        # Without the version of matplotlib in it, a file changes only with what it shows.
        figure.savefig(path, dpi=120, metadata={"Software": None})
        plt.close(figure)
    return paths


def _draw_curves(results: RaceResults, axes: Any) -> None:
    """Accuracy against tokens: a line over seeds, and a band from the lowest to the highest."""
    for design in results.designs:
        curves = [run.curve for run in design.finished]
        tokens = [point.tokens / MILLION for point in curves[0]]
        values = list(zip(*([p.metrics[ACCURACY] for p in curve] for curve in curves), strict=True))
        color = COLORS[design.name]
        axes.plot(tokens, [sum(v) / len(v) for v in values], color=color, label=design.name)
        axes.fill_between(tokens, list(map(min, values)), list(map(max, values)), color=color,
                          alpha=0.2, linewidth=0)  # fmt: skip
    axes.set(xlabel="tokens, millions", ylabel="facts.accuracy", ylim=(0, None))
    axes.set_title("Facts learned along the way; bands are from the lowest to the highest seed",
                   fontsize=10)  # fmt: skip
    axes.legend(frameon=False)


def _draw_slots(results: RaceResults, axes: Any) -> None:
    """Accuracy against slots at equal FLOPs, with intervals; what has no table is a line across."""
    designs = {design.name: design for design in results.designs}
    slots = [_slots(designs[name]) for name in SHARED]
    _errorbar(axes, slots, [designs[name] for name in SHARED], label="shared pool, 3 readers")
    _errorbar(axes, [_slots(designs[MEMORY])], [designs[MEMORY]], label="private, 1 layer")
    for name, style in ((DENSE, "-"), (DENSE_2X, "--"), (MOE, ":")):
        value = mean([run.metrics[ACCURACY] for run in designs[name].finished]).value
        axes.axhline(value, color=COLORS[name], linestyle=style, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(slots, [f"{count:,}" for count in slots])
    axes.set(xlabel="slots of the table", ylabel="facts.accuracy", ylim=(0, None))
    axes.set_title(f"More slots at equal FLOPs; only {DENSE_2X} has more", fontsize=10)
    axes.legend(frameon=False)


def _errorbar(axes: Any, slots: list[int], designs: list[DesignResult], *, label: str) -> None:
    means = [mean([run.metrics[ACCURACY] for run in design.finished]) for design in designs]
    axes.errorbar(
        slots,
        [m.value for m in means],
        yerr=[m.margin or 0.0 for m in means],
        color=COLORS[designs[-1].name],
        marker="o",
        capsize=3,
        label=label,
    )


def _slots(design: DesignResult) -> int:
    """Return the slots of a design's only table, read from its document."""
    spec = load_model(ROOT / design.source)
    tables = [read.slots for layer in spec.layers for block in layer.blocks
              for read in block.table_reads(cost_context(spec))]  # fmt: skip
    return tables[0]


def _draw_kinds(results: RaceResults, axes: Any) -> None:
    """Accuracy by how often a fact is seen, and where it is asked in a wording never trained on."""
    kinds = [kind for kind in BUCKETS if f"{ACCURACY}.{kind}" in results.metrics]
    width = 0.8 / len(results.designs)
    for index, design in enumerate(results.designs):
        means = [
            mean([run.metrics[f"{ACCURACY}.{kind}"] for run in design.finished]) for kind in kinds
        ]
        axes.bar(
            [place + (index + 0.5) * width - 0.4 for place in range(len(kinds))],
            [m.value for m in means],
            width,
            yerr=[m.margin or 0.0 for m in means],
            error_kw={"linewidth": 0.8},
            color=COLORS[design.name],
            label=design.name,
        )
    titles = {"held_out": "all, in wordings\nnever trained on"}
    axes.set_xticks(range(len(kinds)), [titles.get(kind, f"{kind} third") for kind in kinds])
    axes.set(ylabel="accuracy", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
