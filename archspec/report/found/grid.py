"""Placements and effects by layer as lines of characters, readable without colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from archspec.report.found.figure import design_name
from archspec.report.found.shown import rank_of, shown_designs, shown_value
from archspec.search.importance import Effect, Factor, Importance
from archspec.search.results import DesignResult, SearchResults

# Names that every terminal has.
_STYLES = {"dense": "blue", "moe": "yellow", "memory": "red", "shared_pool": "magenta"}
_BARS = "▁▂▃▄▅▆▇█"
_LARGE = 0.5  # of the largest effect
_NAME = 18


def placement_lines(results: SearchResults, width: int) -> Iterator[Text]:
    """Write the finalists, a letter for each layer and under them the readers of each pool."""
    designs = shown_designs(results)
    depth = max(len(design.layers) for design in designs)
    step = 2 if _NAME + 2 * depth + 12 <= width else 1
    yield Text(f"{'layer':<{_NAME}}{_ruler(depth, step)}", "dim")
    for design in designs:
        name = f"{rank_of(results, design)}  {design_name(design)}"
        line = Text(f"{name[: _NAME - 1]:<{_NAME}}")
        for label in design.layers:
            line.append(_letter(results, label).ljust(step), _style(results, label))
        line.append(
            f"{'':<{step * (depth - len(design.layers))}}  {shown_value(results, design):#.4g}"
        )
        yield line
        for pool in results.space.pools:
            marks = _marks(results, design, pool, step)
            if marks:
                yield Text(f"{'   reads ' + pool:<{_NAME}.{_NAME - 1}}{marks}", "dim")


def _ruler(depth: int, step: int) -> str:
    """Number every fourth layer, or every layer of a shallow model that is written apart."""
    every = 1 if step == 2 and depth <= 10 else 4
    text = ""
    for layer in range(0, depth, every):
        text = text.ljust(layer * step) + str(layer)
    return text


def _letter(results: SearchResults, label: str) -> str:
    choice = results.space.choices.get(label)
    return choice.letter[:1] if choice else "?"


def _style(results: SearchResults, label: str) -> str:
    choice = results.space.choices.get(label)
    return f"bold {_STYLES.get(choice.kinds[0], 'cyan')}" if choice else ""


def _marks(results: SearchResults, design: DesignResult, pool: str, step: int) -> str:
    choices = results.space.choices
    readers = [
        layer
        for layer, label in enumerate(design.layers)
        if label in choices and pool in choices[label].pools
    ]
    if not readers:
        return ""
    line = [" "] * (step * len(design.layers))
    line[step * readers[0] : step * readers[-1] + 1] = "─" * (step * (readers[-1] - readers[0]) + 1)
    for layer in readers:
        line[step * layer] = "●"
    return "".join(line).rstrip()


def effect_lines(results: SearchResults, found: Importance, width: int) -> Iterator[Text]:
    """Write a line for each block with a sign for each position, and the positions' weights."""
    positions = found.positions
    step = 2 if _NAME + 2 * len(positions) <= width else 1
    largest = max((abs(e.value) for f in positions for e in f.effects), default=0.0)
    yield Text(f"{'layer':<{_NAME}}{_names(positions, step)}", "dim")
    for block in [effect.name for effect in found.sums]:
        line = Text(f"{block[: _NAME - 1]:<{_NAME}}")
        for factor in positions:
            sign, style = _sign(results, _of(factor, block), largest)
            line.append(sign.ljust(step), style)
        yield line
    most = max((factor.weight for factor in positions), default=0.0)
    bars = "".join(_bar(factor.weight, most).ljust(step) for factor in positions)
    yield Text(f"{'decides':<{_NAME}}{bars}")


def _names(positions: Sequence[Factor], step: int) -> str:
    text = ""
    for place, factor in enumerate(positions):
        wanted = place * step
        if len(text) <= wanted and (step == 1 or not text or len(text) < wanted):
            text = text.ljust(wanted) + str(factor.layers[0])
    return text


def _of(factor: Factor, block: str) -> Effect | None:
    return next((effect for effect in factor.effects if effect.name == block), None)


def _sign(results: SearchResults, effect: Effect | None, largest: float) -> tuple[str, str]:
    """Return a sign and its style: better or worse if that is clear, larger if it is large."""
    if effect is None:
        return " ", ""
    if not effect.is_clear:
        return "·", "dim"
    large = abs(effect.value) >= _LARGE * largest
    if results.sign * effect.value < 0:
        return ("⊕" if large else "+"), "bold blue"
    return ("⊖" if large else "-"), "bold red"


def _bar(weight: float, most: float) -> str:
    if weight <= 0.0 or most <= 0.0:
        return _BARS[0]
    return _BARS[min(len(_BARS) - 1, round(weight / most * (len(_BARS) - 1)))]
