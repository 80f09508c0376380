"""The contract every placement sampler passes, ours and those of others.

A test file inherits :class:`SamplerContract` once per sampler and says how to make it.
"""

from __future__ import annotations

import functools
import pickle
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState, create_trial

from archspec.search.achievable import closest_design
from archspec.search.budget import Bound
from archspec.search.feasible import FeasibleSpace
from archspec.search.params import design_of, distributions, suggest, to_params
from archspec.search.samplers.base import SpaceExhaustedError
from archspec.search.space import Design
from archspec.testing.spaces import (
    SyntheticLoss,
    allowed_designs,
    random_ruled_space,
    small_model,
    space_over,
    tight_bounds,
)

CHOICES = ("ffn", "experts", "private", "shared0")
PRICE = "flops_per_token"


@functools.lru_cache(maxsize=8)
def rare_designs(num_layers: int, share: float) -> FeasibleSpace:
    """Return a space of which so small a share keeps to two budgets."""
    space = space_over(small_model(num_layers), CHOICES, {"pool0": (8, 16, 24)})
    return allowed_designs(space, tight_bounds(space, share=share))


@functools.lru_cache(maxsize=8)
def least_designs(choices: tuple[str, ...], slack: float) -> FeasibleSpace:
    """Return 20 layers with a bound so close to the least FLOPs that random draws never fit."""
    space = space_over(small_model(20), choices, {"pool0": (8, 16)})
    everything = allowed_designs(space, ())
    least = closest_design(everything, Bound(PRICE, "max", 0))
    assert least is not None, "without bounds there is a design"
    limit = int(everything.prices(least)[PRICE] * slack)
    return allowed_designs(space, [Bound(PRICE, "max", limit)])


def designs_of(study: optuna.Study, allowed: FeasibleSpace) -> list[Design]:
    """Return the designs of a study's trials, oldest first; each trial has one."""
    found = [design_of(allowed.space, trial) for trial in study.get_trials(deepcopy=False)]
    assert None not in found, "a trial has no design"
    return [design for design in found if design is not None]


def assert_fit_and_new(designs: Sequence[Design], allowed: FeasibleSpace) -> None:
    """Demand that no design breaks a rule or a budget, and that none occurs twice."""
    assert allowed.admits(*allowed.space.arrays(designs)).all()
    assert len(set(designs)) == len(designs)


class SamplerContract(ABC):
    """What a study may rely on, whichever sampler it has.

    Attributes:
        needs_list: Whether the sampler refuses spaces that are too large to list.
        goals: With how many objectives it works at most.
    """

    needs_list: ClassVar[bool] = False
    goals: ClassVar[int] = 3

    @abstractmethod
    def make(self, allowed: FeasibleSpace, *, seed: int, priced: Sequence[str] = ()) -> BaseSampler:
        """Return the sampler; ``priced`` are the objectives after the first, all of them prices."""

    @pytest.fixture(autouse=True)
    def _quiet(self) -> Iterator[None]:
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
        optuna.logging.set_verbosity(before)

    def study(
        self,
        allowed: FeasibleSpace,
        trials: int,
        *,
        seed: int = 0,
        signs: tuple[int, ...] = (1,),
        priced: tuple[str, ...] = (),
    ) -> optuna.Study:
        """Run a study on a loss without noise.

        Args:
            allowed: The designs.
            trials: How many to evaluate.
            seed: Of the sampler.
            signs: For each objective -1 to maximise it; the loss is negated then, prices are not.
            priced: The objectives after the first.
        """
        loss = SyntheticLoss(allowed.space)
        study = optuna.create_study(
            directions=["minimize" if sign > 0 else "maximize" for sign in signs],
            sampler=self.make(allowed, seed=seed, priced=priced),
        )
        for _ in range(trials):
            trial = study.ask()
            design = suggest(allowed.space, trial)
            prices = allowed.prices(design)
            study.tell(trial, [signs[0] * loss(design), *(prices[name] for name in priced)])
        return study

    @pytest.mark.parametrize("share", [0.05, 0.5])
    def test_every_proposal_fits_and_is_new(self, share: float) -> None:
        """Few or many designs may fit; none that breaks a budget is proposed, none twice."""
        allowed = rare_designs(5, share)
        assert_fit_and_new(designs_of(self.study(allowed, 40), allowed), allowed)

    def test_it_finds_its_way_in_spaces_too_large_to_list(self) -> None:
        """So it is where designs cannot be listed; whoever needs the list says so at once."""
        if self.needs_list:
            with pytest.raises(ValueError, match=r"at most [\d,]+ designs.*this one has [\d,]+"):
                self.make(rare_designs(14, 0.002), seed=0)
            return
        allowed = rare_designs(14, 0.002)
        assert allowed.listed is None
        assert_fit_and_new(designs_of(self.study(allowed, 30), allowed), allowed)

    @pytest.mark.parametrize("seed", [1, 3, 6])
    def test_rules_between_layers_ties_and_variants_are_kept(self, seed: int) -> None:
        """So it is with counts, forbidden neighbours, tied layers and several variants."""
        allowed = allowed_designs(random_ruled_space(seed), ())
        trials = min(30, len(allowed.listed or ()))
        assert trials > 1
        assert_fit_and_new(designs_of(self.study(allowed, trials), allowed), allowed)

    def test_designs_are_found_where_no_random_draw_fits(self) -> None:
        """So it is where of all designs drawn at random none fits."""
        if self.needs_list:
            pytest.skip("such spaces are too large to list")
        allowed = least_designs(CHOICES, 1.01)
        assert allowed.rejections().num_feasible == 0  # of those drawn
        assert_fit_and_new(designs_of(self.study(allowed, 12), allowed), allowed)

    @pytest.mark.parametrize("told", [0, 14])
    def test_trials_in_parallel_are_different(self, told: int) -> None:
        """Trials whose results are not in yet are proposed to nobody else."""
        allowed = rare_designs(5, 0.05)
        study = self.study(allowed, told)
        for _ in range(10):
            suggest(allowed.space, study.ask())
        assert_fit_and_new(designs_of(study, allowed), allowed)

    def test_the_end_of_the_space_is_said_and_leaves_nothing_running(self) -> None:
        """Every design comes once, then ``SpaceExhaustedError``."""
        space = space_over(small_model(3), ["ffn", "shared0"], {"pool0": (8, 16)})
        allowed = allowed_designs(space, tight_bounds(space, share=0.6))
        assert allowed.listed is not None
        loss = SyntheticLoss(space)
        study = optuna.create_study(sampler=self.make(allowed, seed=0))
        with pytest.raises(SpaceExhaustedError):
            study.optimize(lambda trial: loss(suggest(space, trial)), n_trials=100)
        complete = study.get_trials(states=[TrialState.COMPLETE])
        found = [design_of(space, trial) for trial in complete]
        assert len(found) == len(set(found)) == len(allowed.listed)
        assert set(found) == set(allowed.listed)
        assert not study.get_trials(states=[TrialState.RUNNING])

    def test_the_end_of_a_space_too_large_to_list_is_proved(self) -> None:
        """Where one design of a million fits, the second question is the last."""
        if self.needs_list:
            pytest.skip("such spaces are too large to list")
        allowed = least_designs(("ffn", "private"), 1.0)
        study = optuna.create_study(sampler=self.make(allowed, seed=0))
        suggest(allowed.space, study.ask())
        with pytest.raises(SpaceExhaustedError):
            suggest(allowed.space, study.ask())

    def test_equal_histories_lead_to_equal_proposals(self) -> None:
        """A study can be repeated; another seed is another study."""
        allowed = rare_designs(5, 0.05)
        one, other = (designs_of(self.study(allowed, 25), allowed) for _ in range(2))
        assert one == other
        assert designs_of(self.study(allowed, 25, seed=1), allowed) != one

    def test_a_study_goes_on_with_other_proposals_than_it_began_with(self) -> None:
        """Whoever starts again with the same seed does not ask for the same again."""
        allowed = rare_designs(5, 0.05)
        storage = optuna.storages.InMemoryStorage()
        proposed: list[list[Design]] = []
        for _ in range(3):
            study = optuna.create_study(
                storage=storage, study_name="s", load_if_exists=True,
                sampler=self.make(allowed, seed=0),
            )  # fmt: skip
            trials = [study.ask() for _ in range(3)]  # killed before any of them is told
            proposed.append([suggest(allowed.space, trial) for trial in trials])
        assert len({design for designs in proposed for design in designs}) == 9

    @pytest.mark.parametrize("trials", [3, 25])
    def test_nothing_is_remembered_but_in_the_study(self, trials: int) -> None:
        """A used, a fresh and a pickled sampler propose the same."""
        allowed = rare_designs(5, 0.05)
        study = self.study(allowed, trials)
        used, fresh = study.sampler, self.make(allowed, seed=0)
        proposals = []
        for sampler in (pickle.loads(pickle.dumps(used)), fresh, used):  # noqa: S301 - our own
            copy = optuna.create_study(sampler=sampler)
            copy.add_trials(study.get_trials())
            proposals.append(suggest(allowed.space, copy.ask()))
        assert len(set(proposals)) == 1

    def test_trials_of_any_state_and_of_others_are_borne(self) -> None:
        """Designs over budget, infinite losses, pruned, failed and foreign trials do no harm."""
        allowed = rare_designs(5, 0.05)
        assert allowed.listed is not None
        study = self.study(allowed, 3)
        known = distributions(allowed.space)
        outside = allowed.space.designs(allowed.space.draw(np.random.default_rng(0), 200))
        strangers = [design for design in outside if design not in allowed][:2]
        taken = designs_of(study, allowed)
        inside = [design for design in allowed.listed if design not in taken][:20]
        states = [TrialState.COMPLETE] * 13 + [TrialState.PRUNED] * 3 + [TrialState.FAIL] * 4
        rows = [*zip(inside, states, strict=True), *((d, TrialState.COMPLETE) for d in strangers)]
        for number, (design, state) in enumerate(rows):
            value = float("inf") if number == 5 else float(number)
            study.add_trial(
                create_trial(
                    state=state,
                    params=to_params(allowed.space, design),
                    distributions=known,
                    value=value if state == TrialState.COMPLETE else None,
                )
            )
        study.add_trial(
            create_trial(params={"lr": 0.1}, distributions={"lr": FloatDistribution(0, 1)}, value=0)
        )
        study.enqueue_trial(to_params(allowed.space, strangers[0]))
        assert suggest(allowed.space, study.ask()) == strangers[0]
        new = [suggest(allowed.space, study.ask()) for _ in range(4)]
        assert_fit_and_new([*new, *inside], allowed)

    def test_trials_that_were_enqueued_keep_their_design(self) -> None:
        """What somebody enqueued is tried as it is."""
        allowed = rare_designs(5, 0.05)
        assert allowed.listed is not None
        study = optuna.create_study(sampler=self.make(allowed, seed=0))
        for design in allowed.listed[:2]:
            study.enqueue_trial(to_params(allowed.space, design))
        assert [suggest(allowed.space, study.ask()) for _ in range(2)] == list(allowed.listed[:2])

    def test_parameters_of_others_are_drawn(self) -> None:
        """Parameters outside the space can be searched beside it."""
        allowed = rare_designs(5, 0.05)
        study = optuna.create_study(sampler=self.make(allowed, seed=0))
        trial = study.ask()
        assert 0 <= trial.suggest_float("lr", 0, 1) <= 1
        assert suggest(allowed.space, trial) in allowed

    def test_maximising_is_minimising_the_opposite(self) -> None:
        """Direction is a matter of sign, to the last proposal."""
        allowed = rare_designs(5, 0.05)
        down, up = (self.study(allowed, 30, signs=(sign,)) for sign in (1, -1))
        assert designs_of(up, allowed) == designs_of(down, allowed)
        assert up.best_value == -down.best_value

    @pytest.mark.parametrize("priced", [(PRICE,), (PRICE, "num_params")])
    def test_several_objectives(self, priced: tuple[str, ...]) -> None:
        """Loss and prices together: everything fits and is new."""
        if len(priced) >= self.goals:
            pytest.skip("more objectives than it promises")
        for allowed in (rare_designs(5, 0.05), rare_designs(14, 0.002)):
            if self.needs_list and allowed.listed is None:
                continue
            study = self.study(allowed, 24, signs=(1,) * (1 + len(priced)), priced=priced)
            assert_fit_and_new(designs_of(study, allowed), allowed)

    def test_several_objectives_may_have_several_directions(self) -> None:
        """Each objective has a sign of its own."""
        if self.goals < 2:
            pytest.skip("more objectives than it promises")
        allowed = rare_designs(5, 0.05)
        one, other, third = (
            designs_of(self.study(allowed, 24, signs=signs, priced=(PRICE,)), allowed)
            for signs in ((1, 1), (-1, 1), (1, -1))
        )
        assert one == other
        assert_fit_and_new(third, allowed)
