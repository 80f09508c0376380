"""docs/training_speed.md, every figure and every judgement in it from a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archspec.units import format_duration
from benchmarks.training.goals import Goal, Verdict, goals, growth
from benchmarks.training.report import Report, Row, one_for_each_size, same_size, threads_text
from benchmarks.training.slots import STOCK

_TITLES = {
    "dense": "Dense models",
    "moe": "Mixtures of experts",
    "memory": "Memory layers",
    "slots": "From 64k to 16M slots",
}
_TEXTS = {
    "dense": "Ours beside `LlamaForCausalLM` with the same weights: rotary positions, RMSNorm, "
    "SwiGLU, causal attention on both sides. A label is `d_model x layers`.",
    "moe": "Ours beside Mixtral and Qwen2-MoE with each way that transformers has to run experts "
    "on a CPU: `grouped_mm` (torch's grouped matmul), `batched_mm` (a copy of the weights for "
    "every pair of token and expert) and `eager` (a loop over experts). Losses without a balance "
    "term, which the libraries define differently.",
    "memory": "One layer: forward, backward, and the update of all its parameters. The package's "
    "look-up table gets a dense gradient and AdamW over every row; its second column tells its "
    "`EmbeddingBag` to give sparse gradients instead, for SparseAdam. Its layer norm of the "
    "queries is taken out, because our block has none there; values are as wide as the model.",
    "slots": "A model of four layers, one of them a memory layer with rows of 32 elements, so that "
    "the largest table fits into memory with a dense gradient and both moments. The stock sides "
    "differ from ours in the table alone: three `torch.topk`, `F.embedding_bag`, and AdamW over "
    "all rows or SparseAdam over those read. Each meets ours in rounds of its own; the times of "
    "ours are those beside AdamW.",
}
_HOW = """How it is done:

- **The same work.** Both sides start from the same weights and see the same batches. Before a clock
  starts, each takes two steps on one batch, and their losses (for the memory layer: results and
  gradients) are compared: fp32 losses agree to 1e-5 before the first update and to 1e-4 after it,
  bf16 losses to 1e-2 and 2e-2. A difference beyond that is an error, and nothing is written.
- **Side by side.** A step is forward, backward, the fused AdamW of torch (our tables: the row
  optimizer) and forgetting the gradients. Everybody runs once a round, in an order drawn for the
  round. A figure like `1.60x (1.55-1.64)` says that the other took 1.6 times as long as ours: the
  median of the ratios within rounds, and in parentheses where the true median lies (the sign test's
  interval, 95% from six rounds on).
- **Noise.** "Beyond noise" means: missed only if the whole interval lies below the bound."""


def page(report: Report, plot_name: str) -> str:
    """Write the whole page.

    Args:
        report: The run.
        plot_name: Where the plot is, as the page refers to it.
    """
    lines = [
        "# How fast training is",
        "",
        "Written by `make bench-train`; do not edit. Measured on "
        f"{report.started[:10]} in {report.seconds / 60:.0f} minutes: {_machine(report)}.",
        "",
        *(["A quick run: tiny sizes, whose figures mean nothing.", ""] if report.quick else []),
        *_summary(goals(report)),
        *_slots_summary(report),
        "",
        f"![How many times as long the others take, and time over slots]({plot_name})",
        "",
        _HOW,
    ]
    for case, title in _TITLES.items():
        rows = [row for row in report.rows if row.case == case]
        if rows:
            lines += ["", f"## {title}", "", _TEXTS[case], "", *_table(rows)]
    return "\n".join(lines) + "\n"


def _machine(report: Report) -> str:
    found = report.machine
    versions = ", ".join(f"{name} {of}" for name, of in found["versions"].items() if of)
    return f"{found['name']}, {found['cores']} cores; {versions}"


def _summary(found: Sequence[Goal]) -> Iterator[str]:
    for goal in found:
        yield f"- {goal.words}: {_outcome(goal)}"


def _outcome(goal: Goal) -> str:
    total = len(goal.verdicts)
    if not total:
        return "**not measured**."
    medians = [verdict.ratio.median for verdict in goal.verdicts]
    if not goal.missed:
        return f"**met** in all {total} rows, medians {min(medians):.2f}x to {max(medians):.2f}x."
    missed = "; ".join(map(_shortfall, goal.missed))
    return f"**missed** in {len(goal.missed)} of {total} rows: {missed}."


def _shortfall(verdict: Verdict) -> str:
    row, ratio = verdict.row, verdict.ratio
    return (
        f"{row.label}, {row.dtype}, {threads_text(row)}, against {verdict.rival}: "
        f"{ratio.median:.2f}x ({ratio.low:.2f}-{ratio.high:.2f}), wanted {verdict.bound:.1f}x"
    )


def _slots_summary(report: Report) -> Iterator[str]:
    parts = []
    for name in ("", *STOCK):
        found = growth(report, name)
        if found is not None:
            small, large, factor = found
            who = name or "ours"
            parts.append(
                f"{who} takes {factor:.1f} times as long at {large.label} as at {small.label}"
            )
    if parts:
        yield f"- How a step grows with the table: {'; '.join(parts)}."


def _table(rows: Sequence[Row]) -> Iterator[str]:
    names = list(dict.fromkeys(timing.name for row in rows for timing in row.others))
    yield _line("", "dtype", "threads", "our step", "tokens a second", *names)
    yield "|---|---|" + "---:|" * (3 + len(names))
    ran = [row for row in rows if row.ours.seconds]
    for row in one_for_each_size(ran):
        yield _line(
            row.label,
            row.dtype,
            str(row.threads),
            format_duration(row.ours.median),
            f"{row.tokens_per_second:,.0f}",
            *(_ratio([other for other in ran if same_size(other, row)], name) for name in names),
        )
    notes = dict.fromkeys(_notes(rows))
    if notes:
        yield ""
        yield from notes


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.skipped is not None:
            yield f"- not run: {row.label}: {row.skipped}"
        for timing in row.others:
            if timing.skipped is not None:
                yield f"- not run: {timing.name} at {row.label}: {timing.skipped}"


def _ratio(rows: Sequence[Row], name: str) -> str:
    found = [ratio for row in rows if (ratio := row.ratio(name)) is not None]
    return f"{found[0].median:.2f}x ({found[0].low:.2f}-{found[0].high:.2f})" if found else "-"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
