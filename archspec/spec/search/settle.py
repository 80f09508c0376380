"""The last step of reading a search: what sections ask of each other, once each is sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from archspec.spec.search.check_judging import TIMES
from archspec.spec.search.expand import check_proxy, proxied
from archspec.spec.search.spec import SearchSpec
from archspec.spec.search.variant import Variant
from archspec.spec.validate import Reporter

# The kinds of block each law was fitted on; an empty slot has no size that a law could count wrong.
LAW_KINDS: Mapping[str, frozenset[str]] = {
    "dense": frozenset({"dense", "none"}),
    "moe": frozenset({"dense", "moe"}),
}


def settle(spec: SearchSpec, reporter: Reporter) -> SearchSpec:
    """Return the search with finalists, positions and law as its sections together mean them.

    Raises:
        SpecError: With every problem of these.
    """
    law = spec.document.objective.law
    for message in [] if law is None else check_law(law, spec.variants):
        reporter.report(("objective", "law"), message)
    for goal in spec.goals:
        if goal.name in TIMES and spec.hardware is None:
            reporter.report(
                ("objective", "also", goal.name),
                "a time is that of a device, but none is named; add `hardware: NAME` to the search "
                "or to its plan",
            )
    spec = _with_finalists(spec, reporter)
    if spec.proxy is not None:
        for path, message in check_proxy(spec.proxy, spec.variants, dict(spec.pool_sizes)):
            reporter.report(("proxy", *path), message)
    reporter.raise_problems()
    if spec.proxy is None:
        return spec
    variants = tuple(proxied(variant, spec.proxy) for variant in spec.variants)
    return dataclasses.replace(spec, variants=variants)


def _with_finalists(spec: SearchSpec, reporter: Reporter) -> SearchSpec:
    """Take the number of finalists from the last rung, where it says how many go on."""
    if spec.document.objective.kind == "predicted":
        return _without_finalists(spec, reporter)
    kept = spec.rungs[-1].keep if spec.rungs else None
    if kept is None:
        return spec
    if reporter.root.at(("finalists",)) is not None and spec.finalists != kept:
        reporter.report(
            ("finalists",),
            f"finalists={spec.finalists} and the last rung's keep={kept} say the same thing; "
            "remove one",
        )
    document = spec.document.model_copy(update={"finalists": kept})
    return dataclasses.replace(spec, finalists=kept, document=document)


def _without_finalists(spec: SearchSpec, reporter: Reporter) -> SearchSpec:
    """A law gives every seed the same, so nothing is judged again."""
    if reporter.root.at(("finalists",)) is not None and spec.finalists:
        reporter.report(
            ("finalists",),
            f"a law gives every seed the same, but finalists={spec.finalists}; remove it",
        )
    document = spec.document.model_copy(update={"finalists": 0})
    return dataclasses.replace(spec, finalists=0, document=document)


def check_law(law: str, variants: Sequence[Variant]) -> Iterator[str]:
    """Say why a law of the loss cannot judge these designs.

    Every published law depends on counts alone, so all placements of equal counts tie.
    """
    varied = [
        sum(len(variant.choices[layers[0]]) > 1 for layers in variant.genes) for variant in variants
    ]
    if max(varied) > 1:
        yield (
            f"laws may rank sizes, never placement: they depend on counts only, but {max(varied)} "
            "layers may be chosen apart; tie them all, vary sizes alone, or train (kind: train)"
        )
    used = {
        block.type
        for variant in variants
        for choices in variant.choices
        for layer in choices
        for block in layer.blocks
    }
    strange = sorted(used - LAW_KINDS[law])
    if strange:
        others = [name for name, kinds in LAW_KINDS.items() if used <= kinds]
        way = f"use law: {others[0]}" if others else "no published law was; use kind: train"
        fitted = " and ".join(sorted(LAW_KINDS[law] - {"none"}))
        yield (
            f"the law {law} was fitted on models of {fitted} blocks and not of "
            f"{', '.join(strange)}; {way}"
        )
