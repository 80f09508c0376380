import pytest
import torch

from archspec.compiler.compile import compile
from archspec.errors import RunError
from archspec.spec.plan import Precision
from archspec.spec.train import Optimizer, TableOptimizer
from archspec.train.optimizer import build_optimizer, check_rounding, set_lr_share
from archspec.train.tables import TableGradients

SETTINGS = Optimizer(
    lr=1e-3, weight_decay=0.1, tables=TableOptimizer(lr_multiplier=5, weight_decay=0.01)
)


@pytest.fixture
def model(spec):
    return compile(spec)


def groups_of(model, settings=SETTINGS):
    optimizer = build_optimizer(model, settings, TableGradients(model).rows)
    return {group["name"]: group for group in optimizer.param_groups}


def names_of(model, group):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter] for parameter in group["params"]}


def test_every_parameter_is_in_one_group(model):
    held = [parameter for group in groups_of(model).values() for parameter in group["params"]]
    assert len(held) == len(set(held)) == len(list(model.parameters()))


def test_tables_have_their_own_rate_and_decay(model):
    groups = groups_of(model)
    tables, matrices, vectors = groups["tables"], groups["matrices"], groups["vectors"]
    assert names_of(model, tables) == {"pools.big.weight", "layers.0.blocks.0.values.weight"}
    assert (tables["lr"], tables["weight_decay"]) == (pytest.approx(5e-3), 0.01)
    assert (matrices["lr"], matrices["weight_decay"]) == (1e-3, 0.1)
    assert (vectors["lr"], vectors["weight_decay"]) == (1e-3, 0.0)


def test_tables_take_the_moments_of_the_rest_unless_they_have_their_own(model):
    assert groups_of(model)["tables"]["betas"] == (0.9, 0.95)
    own = Optimizer(tables=TableOptimizer(rule="rowwise_adam", beta1=0.0, beta2=0.99))
    tables = groups_of(model, own)["tables"]
    assert (tables["rule"], tables["betas"]) == ("rowwise_adam", (0.0, 0.99))


def test_norms_and_biases_do_not_decay_and_codebooks_do(model):
    groups = groups_of(model)
    assert "layers.0.blocks.0.codebooks" in names_of(model, groups["matrices"])
    assert {
        "norm.weight",
        "layers.0.blocks.0.query.bias",
        "layers.0.blocks.0.query_norm",
    } <= names_of(model, groups["vectors"])


def test_the_schedules_move_all_groups(model):
    optimizer = build_optimizer(model, SETTINGS, TableGradients(model).rows)
    set_lr_share(optimizer, 0.5, 0.5)
    set_lr_share(optimizer, 0.1, 0.2)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"matrices": 1e-4, "vectors": 1e-4, "tables": 1e-3})


def test_rows_of_bf16_that_would_lose_updates_are_refused():
    with pytest.raises(RunError, match="set table_rounding: stochastic or tables: float32"):
        check_rounding(Precision(tables="bfloat16"))
    check_rounding(Precision(tables="bfloat16", table_rounding="stochastic"))
    check_rounding(Precision())


def test_rows_of_fp16_are_refused(model):
    for parameter in model.pools.parameters():
        parameter.data = parameter.data.half()
    with pytest.raises(RunError, match=r"tables cannot be trained: .*not torch.float16"):
        groups_of(model)


def test_adam_matches_its_formula_on_the_first_step():
    layer = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    layer.weight.grad = torch.full_like(layer.weight, 7.0)
    build_optimizer(layer, SETTINGS).step()
    # Decay by lr * weight_decay, then one step of size lr, as both moments are 7 up to powers.
    assert layer.weight.item() == pytest.approx(2.0 * (1 - 1e-4) - 1e-3, abs=1e-6)
