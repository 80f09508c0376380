import json

import pytest
import torch
from safetensors.torch import load_file

from archspec.compiler.compile import compile
from archspec.errors import RunError
from archspec.spec.train import Optimizer, TableOptimizer
from archspec.train.checkpoint import State, load_checkpoint, save_checkpoint
from archspec.train.export import export_weights
from archspec.train.load import load_model_from
from archspec.train.loop import train
from archspec.train.optimizer import build_optimizer, settle_decay
from archspec.train.storage import read_index
from archspec.train.tables import TableGradients

RULES = {
    "adam": TableOptimizer(),
    "adam, decay": TableOptimizer(weight_decay=0.5),
    "adam without a first moment": TableOptimizer(beta1=0.0, weight_decay=0.5),
    "rowwise_adam": TableOptimizer(rule="rowwise_adam"),
    "rowwise_adagrad": TableOptimizer(rule="rowwise_adagrad", weight_decay=0.5),
    "sgd": TableOptimizer(rule="sgd"),
}


def new_state(spec, tables, seed=0):
    model = compile(spec, seed=seed)
    rows = TableGradients(model).rows
    return State(spec, model, build_optimizer(model, Optimizer(lr=1e-2, tables=tables), rows))


def advance(state, step):
    tokens = torch.arange(32).reshape(2, 16) * (step + 1) % 320
    loss = state.model(tokens).square().mean()
    loss.backward()
    state.optimizer.step()
    state.optimizer.zero_grad()
    return loss.item()


def values(state):
    kept = {
        f"{name}/{key}": value
        for name, parameter in state.model.named_parameters()
        for key, value in state.optimizer.state.get(parameter, {}).items()
    }
    return {**state.model.state_dict(), **kept}


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("tables", RULES.values(), ids=RULES)
def test_every_rule_goes_on_bit_by_bit(tmp_path, spec, tables):
    state, other = new_state(spec, tables), new_state(spec, tables, seed=1)
    state.extra.update(seen=[0.1, 1e-300], count=3.0)
    for step in range(3):
        advance(state, step)
    path = save_checkpoint(tmp_path, state, step=3, keep=1)
    advance(other, 7)  # what is there is replaced
    assert load_checkpoint(path, other) == 3
    assert other.extra == {"seen": [0.1, 1e-300], "count": 3.0}
    assert equal(values(other), values(state))
    for step in range(3, 6):
        assert advance(other, step) == advance(state, step)
    assert equal(values(other), values(state))


def test_a_state_before_the_first_step_is_saved_and_loaded(tmp_path, spec):
    state, other = new_state(spec, RULES["adam"]), new_state(spec, RULES["adam"], seed=1)
    path = save_checkpoint(tmp_path, state, step=1, keep=1)
    advance(other, 0)
    load_checkpoint(path, other)
    assert not any(other.optimizer.state.values())
    assert advance(state, 0) == advance(other, 0)
    assert equal(values(other), values(state))


def test_a_table_that_never_had_a_gradient_has_no_state(tmp_path, spec):
    state, other = new_state(spec, RULES["adam, decay"]), new_state(spec, RULES["adam, decay"], 1)
    state.model(torch.arange(32).reshape(2, 16)).square().mean().backward()
    (pool,) = state.model.pools.children()
    pool.row_gradients["weight"].clear()
    state.optimizer.step()
    path = save_checkpoint(tmp_path, state, step=1, keep=1)
    assert not any(name.startswith("optimizer/pools.big") for name in read_index(path))
    load_checkpoint(path, other)
    assert equal(values(other), values(state))


def test_a_state_of_another_rule_is_refused(tmp_path, spec):
    state = new_state(spec, RULES["sgd"])
    advance(state, 0)
    path = save_checkpoint(tmp_path, state, step=1, keep=1)
    with pytest.raises(RunError, match=r"missing: optimizer/layers.0.*values.weight/square_sum"):
        load_checkpoint(path, new_state(spec, RULES["rowwise_adagrad"]))


@pytest.mark.parametrize("name", ["adam, decay", "rowwise_adagrad"])
def test_who_reads_the_weights_alone_gets_what_rows_owe_applied(tmp_path, spec, name):
    state = new_state(spec, RULES[name])
    for step in range(4):
        advance(state, step)
    path = save_checkpoint(tmp_path, state, step=4, keep=1)
    owing = {key: value.clone() for key, value in state.model.state_dict().items()}
    settle_decay(state.optimizer)
    settled = state.model.state_dict()
    assert not torch.equal(owing["pools.big.weight"], settled["pools.big.weight"])
    _, model = load_model_from(path)
    export_weights(path, tmp_path / "weights.safetensors")
    for found in (model.state_dict(), load_file(tmp_path / "weights.safetensors")):
        for key, value in settled.items():
            torch.testing.assert_close(found[key], value, rtol=1e-6, atol=0)


def test_a_trained_model_is_loaded_from_its_run(tmp_path, spec, settings):
    train(spec, settings(), out=tmp_path / "run")
    found, model = load_model_from(tmp_path / "run")
    assert found == spec
    path = tmp_path / "run" / "checkpoints" / "step_000012"
    _, same = load_model_from(path)
    tokens = torch.arange(16)[None]
    assert torch.equal(model(tokens), same(tokens))
    head = json.loads((path / "state.json").read_text())
    head["spec"]["vocab_size"] = 400
    (path / "state.json").write_text(json.dumps(head))
    with pytest.raises(RunError, match="the spec inside is not the one of its hash"):
        load_model_from(path)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(RunError, match="there is no such directory"):
        load_model_from(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"state.json: cannot be read"):
        load_model_from(tmp_path)
