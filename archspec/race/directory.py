"""A race's directory: what was asked, the specs as trained, a run directory per training, results.

``race.json`` and ``train.yaml`` are what a resumed race reads; ``specs/`` holds every design as it
is trained; ``sweep/`` and ``runs/`` the trainings; ``results.json`` what came of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from archspec import __version__
from archspec.errors import RunError
from archspec.race.settings import Entrant, RaceSettings
from archspec.race.trainings import spec_path
from archspec.spec.dump import spec_hash, to_yaml
from archspec.spec.load import load_model, load_train
from archspec.spec.train import TrainSpec
from archspec.train.files import new_directory, read_json, replace_text

RACE, TRAIN, RESULTS, SPECS = "race.json", "train.yaml", "results.json", "specs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Race:
    """What is raced, and how."""

    entrants: tuple[Entrant, ...]
    train: TrainSpec
    settings: RaceSettings


def create_race(out: Path, race: Race) -> None:
    """Make a race's directory, complete or not at all. Raises RunError if ``out`` exists."""
    if out.exists():
        raise RunError(
            f"{out}: already exists; go on with it by --resume {out}, or choose another --out"
        )
    try:
        with new_directory(out) as draft:
            write_specs(draft, race.entrants)
            document = race.train.model_dump()
            (draft / TRAIN).write_text(yaml.safe_dump(document, sort_keys=False))
            (draft / RACE).write_text(json.dumps(_as_json(race), indent=1) + "\n")
    except OSError as error:
        raise RunError(f"{out}: the race's directory cannot be made: {error}") from None


def write_specs(out: Path, entrants: Sequence[Entrant]) -> None:
    """Write every design as it is trained, a document that loads again to the same."""
    (out / SPECS).mkdir()
    for entrant in entrants:
        text = to_yaml(entrant.spec, comment=_comment(entrant))
        (out / spec_path(entrant.name)).write_text(text)


def _comment(entrant: Entrant) -> str:
    cost = f"{entrant.flops_per_token:,} FLOPs per token"
    if entrant.hidden_dims == entrant.hidden_dims_before:
        return f"{entrant.source} as it is, {cost}"
    return (
        f"{entrant.source}, hidden_dim of its dense blocks changed from "
        f"{widths_text(entrant.hidden_dims_before)} to {widths_text(entrant.hidden_dims)}:\n"
        f"{cost} instead of {entrant.flops_before:,}"
    )


def widths_text(widths: Sequence[int]) -> str:
    """Write inner widths in brief, ``128`` or ``120-128``."""
    low, high = min(widths), max(widths)
    return str(low) if low == high else f"{low}-{high}"


def load_race(out: Path) -> Race:
    """Read back what a race is. Raises RunError if ``out`` holds none."""
    for name in (RACE, TRAIN):
        if not (out / name).is_file():
            raise RunError(
                f"{out}: not a race's directory, it has no {name}; start one with --out {out}"
            )
    content = read_json(out / RACE)
    try:
        settings = TypeAdapter(RaceSettings).validate_python(content["settings"])
        entrants = tuple(_entrant(out, entry) for entry in content["entrants"])
    except (KeyError, TypeError, ValidationError) as error:
        raise RunError(f"{out / RACE}: is damaged: {error}") from None
    return Race(entrants=entrants, train=load_train(out / TRAIN), settings=settings)


def set_seeds(out: Path, race: Race, seeds: int) -> Race:
    """Change how many seeds a race has."""
    settings = dataclasses.replace(race.settings, seeds=seeds)
    settings.check(race.train)
    changed = dataclasses.replace(race, settings=settings)
    replace_text(out / RACE, json.dumps(_as_json(changed), indent=1) + "\n")
    return changed


def _entrant(out: Path, entry: dict[str, Any]) -> Entrant:
    """Read a design, and check that its file is what was raced."""
    path = out / spec_path(entry["name"])
    spec = load_model(path)
    if spec_hash(spec) != entry.pop("spec_hash"):
        raise RunError(f"{path}: was changed since the race began; restore it or race anew")
    for name in ("hidden_dims", "hidden_dims_before"):
        entry[name] = tuple(entry[name])
    return Entrant(spec=spec, **entry)


def _as_json(race: Race) -> dict[str, Any]:
    entrants = []
    for entrant in race.entrants:
        fields = {field.name: getattr(entrant, field.name) for field in dataclasses.fields(entrant)}
        entrants.append({**fields, "spec": None, "spec_hash": spec_hash(entrant.spec)})
        del entrants[-1]["spec"]
    return {
        "archspec": __version__,
        "settings": dataclasses.asdict(race.settings),
        "entrants": entrants,
    }
