"""Every sampler of ours under the contract that samplers of others can inherit as well."""

from collections.abc import Sequence
from typing import ClassVar

from archspec.search.feasible import FeasibleSpace
from archspec.search.samplers.base import PlacementSampler
from archspec.search.samplers.registry import SAMPLERS, make_sampler
from archspec.testing.samplers import SamplerContract


class OfTheRegistry(SamplerContract):
    name: ClassVar[str]

    def make(
        self, allowed: FeasibleSpace, *, seed: int, priced: Sequence[str] = ()
    ) -> PlacementSampler:
        return make_sampler(self.name, allowed, seed=seed, priced=priced)


class TestMilp(OfTheRegistry):
    name = "milp"


class TestEvolution(OfTheRegistry):
    name = "evolution"


class TestRandom(OfTheRegistry):
    name = "random"


class TestExhaustive(OfTheRegistry):
    name = "exhaustive"
    needs_list = True


class TestTpe(OfTheRegistry):
    name = "tpe"


class TestNsga2(OfTheRegistry):
    name = "nsga2"


def test_no_sampler_goes_without() -> None:
    assert {kind.name for kind in OfTheRegistry.__subclasses__()} == set(SAMPLERS)
