import optuna
import pytest

from archspec.search.budget import Bound
from archspec.search.feasible import FeasibleSpace
from archspec.search.params import design_of, suggest, to_params
from archspec.search.program import Program
from archspec.search.samplers.base import SpaceExhaustedError
from archspec.search.samplers.registry import SAMPLERS
from archspec.testing.spaces import (
    SyntheticLoss,
    allowed_designs,
    small_model,
    space_over,
    tight_bounds,
)

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
CHOICES = ["ffn", "experts", "private", "shared0"]


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def rare_designs(num_layers: int, share: float) -> FeasibleSpace:
    space = space_over(small_model(num_layers), CHOICES, {"pool0": (8, 16, 24)})
    return allowed_designs(space, tight_bounds(space, share=share))


def run(name: str, allowed: FeasibleSpace, trials: int, *, seed: int = 0) -> optuna.Study:
    loss = SyntheticLoss(allowed.space, seed=seed)
    study = optuna.create_study(sampler=SAMPLERS[name](allowed, seed=seed))
    study.optimize(lambda trial: loss(suggest(allowed.space, trial)), n_trials=trials)
    return study


def designs(study: optuna.Study, allowed: FeasibleSpace):
    return [design_of(allowed.space, trial) for trial in study.trials]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("num_layers", "share"), [(5, 0.05), (14, 0.002)])
def test_every_proposal_fits_and_is_new(name: str, num_layers: int, share: float) -> None:
    allowed = rare_designs(num_layers, share)
    found = designs(run(name, allowed, 60), allowed)
    assert len(set(found)) == 60
    assert allowed.admits(*allowed.space.arrays(found)).all()


def least_bounds(allowed: FeasibleSpace, slack: float) -> FeasibleSpace:
    """Bounds so close to the least FLOPs that random draws practically never fit."""
    space, quantity = allowed.space, "flops_per_token"
    program = Program(space, allowed.table, (), wanted=[quantity])
    least = program.best(program.quantity(quantity))
    limit = int(allowed.prices(least)[quantity] * slack)
    return allowed_designs(space, [Bound(quantity, "max", limit)])


@pytest.mark.parametrize("name", SAMPLERS)
def test_designs_are_found_where_no_random_draw_fits(name: str) -> None:
    space = space_over(small_model(20), CHOICES, {"pool0": (8, 16)})
    allowed = least_bounds(allowed_designs(space, ()), 1.01)
    assert allowed.rejections().num_feasible == 0  # of 20,000 drawn
    found = designs(run(name, allowed, 12), allowed)
    assert len(set(found)) == 12
    assert allowed.admits(*space.arrays(found)).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_end_of_the_space_is_said_and_leaves_nothing_running(name: str) -> None:
    space = space_over(small_model(3), ["ffn", "shared0"], {"pool0": (8, 16)})
    allowed = allowed_designs(space, tight_bounds(space, share=0.6))
    assert allowed.listed is not None
    loss = SyntheticLoss(space)
    study = optuna.create_study(sampler=SAMPLERS[name](allowed))
    with pytest.raises(SpaceExhaustedError):
        study.optimize(lambda trial: loss(suggest(space, trial)), n_trials=100)
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    assert {design_of(space, trial) for trial in complete} == set(allowed.listed)
    assert len(complete) == len(allowed.listed)
    assert not study.get_trials(states=[optuna.trial.TrialState.RUNNING])


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_end_of_a_space_too_large_to_list_is_proved(name: str) -> None:
    space = space_over(small_model(20), ["ffn", "private"], {})
    allowed = least_bounds(allowed_designs(space, ()), 1.0)
    study = optuna.create_study(sampler=SAMPLERS[name](allowed))
    suggest(space, study.ask())
    with pytest.raises(SpaceExhaustedError):
        suggest(space, study.ask())


@pytest.mark.parametrize("seed", range(4))
def test_milp_finds_the_known_optimum_in_a_fraction_of_the_trials(seed) -> None:
    space = space_over(small_model(6), CHOICES, {"pool0": (8, 16)})
    allowed = allowed_designs(space, tight_bounds(space, share=0.25))
    assert allowed.listed is not None
    assert len(allowed.listed) > 1000
    loss = SyntheticLoss(space, seed=seed)
    assert run("milp", allowed, 70, seed=seed).best_value == min(map(loss, allowed.listed))


def test_milp_and_evolution_beat_random() -> None:
    allowed = rare_designs(10, 0.02)
    best = {
        name: sorted(run(name, allowed, 50, seed=seed).best_value for seed in range(3))[1]
        for name in SAMPLERS
    }
    assert best["milp"] < best["evolution"] < best["random"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_maximised_study_goes_up(name: str) -> None:
    allowed = rare_designs(6, 0.3)
    loss = SyntheticLoss(allowed.space)
    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[name](allowed))
    study.optimize(lambda trial: -loss(suggest(allowed.space, trial)), n_trials=60)
    down = run(name, allowed, 60)
    assert study.best_value == -down.best_value


def test_trials_that_were_enqueued_keep_their_design() -> None:
    allowed = rare_designs(5, 0.2)
    assert allowed.listed is not None
    study = optuna.create_study(sampler=SAMPLERS["milp"](allowed))
    study.enqueue_trial(to_params(allowed.space, allowed.listed[3]))
    assert suggest(allowed.space, study.ask()) == allowed.listed[3]


def test_foreign_parameters_are_drawn_at_random() -> None:
    allowed = rare_designs(5, 0.2)
    study = optuna.create_study(sampler=SAMPLERS["random"](allowed))
    trial = study.ask()
    assert 0 <= trial.suggest_float("lr", 0, 1) <= 1
    assert suggest(allowed.space, trial) in allowed


def test_several_objectives_are_refused() -> None:
    allowed = rare_designs(5, 0.2)
    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=SAMPLERS["milp"](allowed)
    )
    with pytest.raises(ValueError, match="one objective, but the study has 2"):
        suggest(allowed.space, study.ask())


def test_parameters_read_well() -> None:
    space = space_over(small_model(12), ["ffn", "ffn+shared0"], {"pool0": (8, 16)}, {0: "ffn"})
    params = to_params(space, space.normal([0] + [1] * 11, [1]))
    assert params["layers.03"] == "ffn+shared0"
    assert params["pools.pool0.num_keys"] == 16
    assert "layers.00" not in params


@pytest.mark.slow
@pytest.mark.parametrize(("name", "trials"), [("random", 1000), ("evolution", 1000), ("milp", 300)])
def test_many_proposals_fit_and_are_new(name: str, trials: int) -> None:
    allowed = rare_designs(12, 0.005)
    found = designs(run(name, allowed, trials), allowed)
    assert len(set(found)) == trials
    assert allowed.admits(*allowed.space.arrays(found)).all()
