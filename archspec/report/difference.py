"""What two models differ in, value by value, as text that fits any terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rich.console import Group
from rich.text import Text

from archspec.cost.difference import Change, Effect, ModelDifference
from archspec.report.origins import value_text
from archspec.units import format_bytes, format_count

_LONGEST = 60  # characters of a value; --json has all of it

_QUANTITIES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "num_params": ("parameters", format_count),
    "num_active_params": ("active", format_count),
    "flops_per_token": ("FLOPs a token", format_count),
    "table_bytes_per_token": ("table bytes a token", format_bytes),
    "kv_bytes_per_token": ("KV cache a token", format_bytes),
}


def difference_view(difference: ModelDifference) -> Group:
    """Return every changed value with origins and its effect alone, then the effect of all."""
    if not difference.changes:
        return Group(Text("The two documents declare the same values."))
    lines = [line for change in difference.changes for line in _change(change)]
    count = len(difference.changes)
    lines += [
        Text(f"together, {count} value{'s' * (count != 1)}: {_effect(difference.total)}", "bold"),
        Text(
            f"Each effect alone is that of one change to the first model; FLOPs forward at "
            f"{difference.seq_len} tokens, causal half; bytes in bf16."
        ),
    ]
    return Group(*lines)


def _change(change: Change) -> Iterator[Text]:
    yield Text(f"{change.path}: {_value(change, 'before')} -> {_value(change, 'after')}", "bold")
    yield Text(f"  {change.origin_before} -> {change.origin_after}")
    if change.effect is None:
        yield Text(f"  not valid alone: {change.problem}")
    else:
        yield Text(f"  alone: {_effect(change.effect)}")
    yield Text("")


def _value(change: Change, side: str) -> str:
    if getattr(change, f"origin_{side}") == "absent":
        return "absent"
    text = value_text(getattr(change, side))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _effect(effect: Effect) -> str:
    if effect.is_none:
        return "nothing that is counted changes"
    return ", ".join(
        f"{title} {_signed(effect.added[name], write)}{_share(effect, name)}"
        for name, (title, write) in _QUANTITIES.items()
        if effect.added[name]
    )


def _signed(value: int, write: Callable[[float], str]) -> str:
    return f"{'+' if value > 0 else '-'}{write(abs(value))}"


def _share(effect: Effect, name: str) -> str:
    base = effect.base[name]
    return f" ({effect.added[name] / base:+.1%})" if base else ""
