"""The objective ``predicted``: a published law in place of a training, for sizes only."""

from __future__ import annotations

from archspec.blocks.moe.config import MoeConfig
from archspec.cost.summary import summarize
from archspec.errors import ObjectiveError
from archspec.search.achievable import closest_design
from archspec.search.budget import Bound, exact_amount
from archspec.search.feasible import FeasibleSpace
from archspec.search.fidelity import Fidelity
from archspec.search.objective import Outcome
from archspec.search.objectives.laws import LAWS, Law, Range
from archspec.spec.model import ModelSpec
from archspec.spec.search.spec import SearchSpec
from archspec.units import format_count

METRIC = "loss"


class PredictedObjective:
    """Predicts the loss after a number of tokens; the seed does not matter.

    Args:
        law: Name of the law.
        tokens: Tokens of the training that is predicted.

    Raises:
        ObjectiveError: The law was not fitted on so many tokens.
    """

    def __init__(self, law: str, tokens: int) -> None:
        self._law: Law = LAWS[law]
        self._tokens = tokens
        if self._law.tokens is not None:
            _check(self._law, self._law.tokens, tokens, "set `tokens` of the train document")

    @classmethod
    def of(cls, spec: SearchSpec) -> PredictedObjective:
        """Return the law that a search names, for the tokens of its train document."""
        law = spec.document.objective.law
        assert law is not None, "a search without its law was refused"
        return cls(law, spec.train.tokens)

    def __call__(self, spec: ModelSpec, seed: int, *, fidelity: Fidelity | None = None) -> Outcome:
        """Predict. Raises ObjectiveError if the design is outside the fitted range."""
        total = summarize(spec).total
        quantity = self._law.params.quantity
        params, experts = getattr(total, quantity), num_experts(spec)
        way = f"keep designs within it by budgets.{quantity}"
        _check(self._law, self._law.params, params, way)
        _check(self._law, self._law.experts, experts, "vary num_experts within it")
        value = self._law.loss(params, self._tokens, experts)
        return Outcome(value=value, metrics={METRIC: value}, seconds=0.0)


def num_experts(spec: ModelSpec) -> int:
    """Return the experts of every layer, 1 for a dense model.

    Raises:
        ObjectiveError: Layers differ in it, or route in another way than the models of the laws.
    """
    found = set()
    for layer in spec.layers:
        for block in layer.blocks:
            moe = block if isinstance(block, MoeConfig) else None
            if moe is not None and (moe.top_k, moe.shared_width) != (1, 0):
                raise ObjectiveError(
                    "objective.law: the law was fitted on experts that are used one at a time, but "
                    f"a block has top_k={moe.top_k} and a shared width of {moe.shared_width}; use "
                    "top_k: 1 without shared experts, or kind: train"
                )
            found.add(1 if moe is None else moe.num_experts)
    if len(found) > 1:
        raise ObjectiveError(
            "objective.law: the law was fitted on models whose layers are alike, but layers have "
            f"{' and '.join(map(str, sorted(found)))} experts (1: dense); use one kind of layer, "
            "or kind: train"
        )
    return found.pop()


def _check(law: Law, limits: Range, value: float, way: str) -> None:
    if value not in limits:
        low, high = format_count(limits.low), format_count(limits.high)
        fitted = low if low == high else f"{low} to {high}"
        raise ObjectiveError(
            f"objective.law: the law ({law.source}) was fitted for {limits.quantity} "
            f"({limits.symbol}) of {fitted}, but it is {format_count(value)}; {way}, or use "
            "kind: train"
        )


def check_law(spec: SearchSpec, allowed: FeasibleSpace) -> None:
    """Check that a search judged by a law, if it is, stays within what the law was fitted on.

    Raises:
        ObjectiveError: The training, or the design that it names, is outside.
    """
    if spec.document.objective.law is not None:
        PredictedObjective.of(spec)
        check_range(spec.document.objective.law, allowed)


def check_range(law: str, allowed: FeasibleSpace) -> None:
    """Check that a law was fitted on designs as small, and as large, as a search may propose.

    Raises:
        ObjectiveError: It was not; the message has both ranges and the budget that helps.
    """
    limits = LAWS[law].params
    name = limits.quantity
    reached = []
    for side in ("max", "min"):
        bound = Bound(name, "max" if side == "max" else "min", 0)
        design = closest_design(allowed, bound, allowed.bounds)
        assert design is not None, "a search without designs was refused"
        reached.append(allowed.prices(design)[name])
    least, most = reached
    if least not in limits or most not in limits:
        low, high = format_count(limits.low), format_count(limits.high)
        raise ObjectiveError(
            f"objective.law: the law ({LAWS[law].source}) was fitted for {name} ({limits.symbol}) "
            f"of {low} to {high}, but designs have {exact_amount(name, least)} to "
            f"{exact_amount(name, most)}; add budgets.{name}: {{min: {low.replace(' ', '')}, max: "
            f"{high.replace(' ', '')}}}, or use kind: train"
        )
