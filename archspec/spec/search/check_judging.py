"""What is wrong with how a search document judges designs: objective and rungs together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archspec.errors import Path
from archspec.spec.model import ModelSpec
from archspec.spec.search.budgets import Budgets
from archspec.spec.search.objective import Objective, check_objective
from archspec.spec.search.proxy import Proxy
from archspec.spec.search.rungs import check_rungs
from archspec.spec.train import TrainSpec

PRICES = tuple(name for name in Budgets.model_fields if name not in ("tokens", "micro_tokens"))
TIMES = ("step_time", "decode_time")


def check_judging(
    fields: Mapping[str, Any], train: TrainSpec | None, base: ModelSpec | None
) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the valid fields of a document, each with its path.

    Args:
        fields: The fields of a ``SearchDocument`` that are valid.
        train: The train document, None if it is missing or wrong.
        base: The base model, likewise.
    """
    objective: Objective | None = fields.get("objective")
    if objective is not None and train is not None:
        for path, message in check_objective(objective, train, PRICES):
            yield ("objective", *path), message
    rungs = fields.get("rungs", [])
    for path, message in check_rungs(rungs, train, trials=fields.get("trials")):
        yield ("rungs", *path), message
    if rungs and objective is not None and objective.kind == "predicted":
        yield ("rungs",), "a law needs no rungs, as it trains nothing; remove them"
    proxy: Proxy | None = fields.get("proxy")
    if proxy is not None and objective is not None and objective.kind == "predicted":
        yield ("proxy",), "a law needs no proxy, as it trains nothing; remove it"
    if objective is None or train is None or base is None or objective.kind == "predicted":
        return
    longest = base.max_seq_len
    if proxy is not None and proxy.max_seq_len is not None:
        longest = proxy.max_seq_len
    if train.seq_len > longest:
        trained = "base" if longest == base.max_seq_len else "proxy"
        yield (
            ("objective", "train"),
            f"seq_len <= max_seq_len must hold, but {objective.train} has seq_len={train.seq_len} "
            f"and the {trained} has max_seq_len={longest}; shorten one or raise the other",
        )
