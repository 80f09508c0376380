"""From the documents of a command line to the designs of a race, at matched FLOPs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from archspec.errors import RunError
from archspec.race.match import Match, flops_per_token, match_flops
from archspec.race.settings import Entrant, Entry, RaceSettings
from archspec.spec.family import family_of
from archspec.spec.load import load_model
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.units import COUNT_UNITS, parse_amount


def enter(
    paths: Sequence[str], as_is: Sequence[str], train: TrainSpec, settings: RaceSettings
) -> tuple[Entrant, ...]:
    """Load the designs and bring their FLOPs together.

    Args:
        paths: Model documents to be matched, the reference first.
        as_is: Model documents that keep their FLOPs.
        train: Its ``seq_len`` is what attention is priced at.
        settings: To what, and how finely.

    Raises:
        SpecError: A document is wrong.
        ArchspecError: A design cannot be matched.
        RunError: Fewer than two designs, or one of them twice.
    """
    if len(paths) + len(as_is) < 2 or not paths:
        raise RunError("a race needs two designs or more, the reference as the first SPEC")
    specs = [load_model(path) for path in (*paths, *as_is)]
    target = _target(specs[0], train, settings)
    names = _names((*paths, *as_is), specs)
    entrants = []
    for index, (path, name, spec) in enumerate(zip((*paths, *as_is), names, specs, strict=True)):
        keeps = target is None or index >= len(paths)
        price = flops_per_token(spec, seq_len=train.seq_len)
        match = match_flops(
            spec.replace(name=name),
            price if keeps or target is None else target,
            seq_len=train.seq_len,
            round_to=settings.round_to,
        )
        if index == 0 and target is not None:
            target = match.flops_per_token  # the others meet the reference, not the wish
        entrants.append(_entrant(name, path, match, _entry(index, keeps=keeps)))
    return tuple(entrants)


def _entry(index: int, *, keeps: bool) -> Entry:
    if index == 0:
        return "reference"
    return "as is" if keeps else "matched"


def _entrant(name: str, source: str, match: Match, entry: Entry) -> Entrant:
    return Entrant(
        name=name,
        source=source,
        spec=match.spec,
        family=family_of(match.spec),
        entry=entry,
        flops_per_token=match.flops_per_token,
        flops_before=match.flops_before,
        hidden_dims=match.hidden_dims,
        hidden_dims_before=match.hidden_dims_before,
    )


def _target(first: ModelSpec, train: TrainSpec, settings: RaceSettings) -> int | None:
    """Return the FLOPs per token that designs are brought to, None to leave them."""
    asked = settings.match_flops
    if asked == "none":
        return None
    if asked == "first":
        return flops_per_token(first, seq_len=train.seq_len)
    if re.match(r"\s*[0-9]", asked) and not Path(asked).exists():
        try:
            return parse_amount(asked, COUNT_UNITS)
        except ValueError as error:
            raise RunError(f"--match-flops: {error}") from None
    return flops_per_token(load_model(asked), seq_len=train.seq_len)


def _names(paths: Sequence[str], specs: Sequence[ModelSpec]) -> list[str]:
    """Name the designs by themselves, else by their file; a name that is taken gets a number."""
    names: list[str] = []
    for path, spec in zip(paths, specs, strict=True):
        plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", spec.name or Path(path).stem).strip(".-")
        name, number = plain or "model", 2
        while name in names:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return names
