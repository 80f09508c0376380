"""What is particular to our samplers; what all have in common is in test_contract.py."""

import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import optuna
import pytest

from archspec.errors import SamplerError
from archspec.search.feasible import FeasibleSpace
from archspec.search.params import design_of, suggest, to_params
from archspec.search.samplers.milp import weighed
from archspec.search.samplers.registry import SAMPLERS, make_sampler, sampler_of
from archspec.search.study import start_search
from archspec.spec.load import load_search
from archspec.spec.search.document import SearchDocument
from archspec.testing.samplers import CHOICES, assert_fit_and_new, designs_of, rare_designs
from archspec.testing.spaces import (
    SyntheticLoss,
    allowed_designs,
    small_model,
    space_over,
    tight_bounds,
)

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def run(name: str, allowed: FeasibleSpace, trials: int, *, seed: int = 0) -> optuna.Study:
    loss = SyntheticLoss(allowed.space, seed=seed)
    study = optuna.create_study(sampler=make_sampler(name, allowed, seed=seed))
    study.optimize(lambda trial: loss(suggest(allowed.space, trial)), n_trials=trials)
    return study


@pytest.mark.parametrize("seed", range(4))
def test_milp_finds_the_known_optimum_in_a_fraction_of_the_trials(seed: int) -> None:
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
        for name in ("milp", "evolution", "random")
    }
    assert best["milp"] < best["evolution"] < best["random"]


def test_milp_searches_goals_that_are_no_prices() -> None:
    allowed = rare_designs(6, 0.2)
    losses = [SyntheticLoss(allowed.space, seed=seed) for seed in (0, 1)]

    def front(name: str) -> np.ndarray:
        study = optuna.create_study(
            directions=["minimize", "maximize"], sampler=make_sampler(name, allowed, seed=0)
        )
        for _ in range(40):
            trial = study.ask()
            design = suggest(allowed.space, trial)
            study.tell(trial, [losses[0](design), -losses[1](design)])
        assert_fit_and_new(designs_of(study, allowed), allowed)
        return np.array([[trial.values[0], -trial.values[1]] for trial in study.trials])

    everything = np.array([[loss(design) for loss in losses] for design in allowed.listed or ()])
    weights = np.linspace(0, 1, 9)[:, None] * [1, -1] + [0, 1]

    def regret(points: np.ndarray) -> float:  # of the best compromise, by the weights of the goals
        gaps = (weights @ points.T).min(axis=1) - (weights @ everything.T).min(axis=1)
        return float(gaps.mean())

    assert regret(front("milp")) < 0.5 * regret(front("random"))


def test_weighings_put_what_is_best_in_all_goals_first() -> None:
    losses = np.array([[1.0, 20.0], [0.0, 10.0], [3.0, 10.0], [0.5, 40.0]])
    for seed in range(20):
        found = weighed(losses, np.random.default_rng(seed))
        assert found.argmin() == 1
        assert np.isfinite(found).all()
    assert not weighed(np.ones((3, 2)), np.random.default_rng(0)).any()


def test_documents_name_every_sampler() -> None:
    assert set(get_args(SearchDocument.model_fields["sampler"].annotation)) == set(SAMPLERS)


@pytest.mark.parametrize(
    ("also", "priced"),
    [("{}", ()), ("{flops_per_token: minimize}", ("flops_per_token",)),
     ("{flops_per_token: minimize, facts.accuracy: maximize}", ())],
)  # fmt: skip
def test_a_search_tells_its_sampler_which_goals_are_prices(search_file, also, priced) -> None:
    text = search_file.read_text().replace("facts.nll}", f"facts.nll, also: {also}}}")
    search_file.write_text(text)
    spec = load_search(search_file)
    assert sampler_of(spec, FeasibleSpace.of(spec)).priced == priced


def test_a_space_too_large_to_list_is_refused_by_exhaustive() -> None:
    with pytest.raises(SamplerError, match=r"at most 100,000 designs.* has [\d,]+; vary less"):
        make_sampler("exhaustive", rare_designs(14, 0.002), seed=0)


def test_a_search_that_its_sampler_cannot_do_leaves_nothing_behind(search_file, tmp_path) -> None:
    model = search_file.with_name("model.yaml")
    model.write_text(model.read_text().replace("num_layers: 5", "num_layers: 12"))
    search_file.write_text(search_file.read_text() + "sampler: exhaustive\n")
    with pytest.raises(SamplerError, match="take sampler milp"):
        start_search(load_search(search_file), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_prices_that_nobody_knows_are_refused() -> None:
    with pytest.raises(ValueError, match="'loss' has no price here; what has one: flops_per_token"):
        make_sampler("milp", rare_designs(5, 0.2), seed=0, priced=["loss"])


def test_parameters_read_well() -> None:
    space = space_over(small_model(12), ["ffn", "ffn+shared0"], {"pool0": (8, 16)}, {0: "ffn"})
    params = to_params(space, space.normal([0] + [1] * 11, [1]))
    assert params["layers.03"] == "ffn+shared0"
    assert params["pools.pool0.num_keys"] == 16
    assert "layers.00" not in params


def test_a_value_that_is_no_choice_makes_no_design() -> None:
    allowed = rare_designs(5, 0.2)
    assert allowed.listed is not None
    params = to_params(allowed.space, allowed.listed[0])
    study = optuna.create_study(sampler=make_sampler("random", allowed, seed=0))
    for wrong in (["ffn"], "fnf", None):
        study.enqueue_trial({**params, "layers.0": wrong})
    assert [design_of(allowed.space, trial) for trial in study.trials] == [None] * 3


def test_the_study_in_the_documentation_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", Path("docs/search.md").read_text(), re.DOTALL)
    (block,) = (block for block in blocks if "make_sampler" in block)
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["study"].best_value == 1.0
    assert len(names["model"].layers) == 6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "trials"), [("random", 3000), ("evolution", 800), ("milp", 200)])
def test_many_proposals_fit_and_are_new(name: str, trials: int) -> None:
    allowed = rare_designs(14, 0.0008)
    assert_fit_and_new(designs_of(run(name, allowed, trials), allowed), allowed)
