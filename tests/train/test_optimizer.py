import pytest
import torch

from archspec.compiler.compile import compile
from archspec.spec.train import Optimizer, TableOptimizer
from archspec.train.optimizer import build_optimizer, parameter_groups, set_lr_share

SETTINGS = Optimizer(
    lr=1e-3, weight_decay=0.1, tables=TableOptimizer(lr_multiplier=5, weight_decay=0.01)
)


@pytest.fixture
def model(spec):
    return compile(spec)


def names_of(model, group):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter] for parameter in group["params"]}


def test_every_parameter_is_in_one_group(model):
    groups = parameter_groups(model, SETTINGS)
    held = [parameter for group in groups for parameter in group["params"]]
    assert len(held) == len(set(held)) == len(list(model.parameters()))


def test_tables_have_their_own_rate_and_decay(model):
    matrices, vectors, tables = parameter_groups(model, SETTINGS)
    assert names_of(model, tables) == {"pools.big.weight", "layers.0.blocks.0.values.weight"}
    assert (tables["lr"], tables["weight_decay"]) == (pytest.approx(5e-3), 0.01)
    assert (matrices["lr"], matrices["weight_decay"]) == (1e-3, 0.1)
    assert (vectors["lr"], vectors["weight_decay"]) == (1e-3, 0.0)


def test_norms_and_biases_do_not_decay_and_codebooks_do(model):
    matrices, vectors, _ = parameter_groups(model, SETTINGS)
    assert "layers.0.blocks.0.codebooks" in names_of(model, matrices)
    assert {
        "norm.weight",
        "layers.0.blocks.0.query.bias",
        "layers.0.blocks.0.query_norm",
    } <= names_of(model, vectors)


def test_the_schedule_moves_all_groups(model):
    optimizer = build_optimizer(model, SETTINGS)
    set_lr_share(optimizer, 0.5)
    set_lr_share(optimizer, 0.1)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"matrices": 1e-4, "vectors": 1e-4, "tables": 5e-4})


def test_adam_matches_its_formula_on_the_first_step():
    layer = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    layer.weight.grad = torch.full_like(layer.weight, 7.0)
    build_optimizer(layer, SETTINGS).step()
    # Decay by lr * weight_decay, then one step of size lr, as both moments are 7 up to powers.
    assert layer.weight.item() == pytest.approx(2.0 * (1 - 1e-4) - 1e-3, abs=1e-6)
