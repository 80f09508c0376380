import pytest

from archspec.cost.device import device_bytes
from archspec.cost.summary import cost_context, summarize
from archspec.cost.tables import model_tables
from archspec.cost.training import (
    ADAMW,
    OPTIMIZERS,
    RoleBytes,
    training_flops,
    training_memory,
    training_work,
)
from archspec.cost.work import total_work
from archspec.spec.load import load_model
from archspec.testing.specs import random_spec

DENSE = load_model("specs/models/dense_1.3b.yaml")
MEMORY_PLUS = load_model("specs/models/memory_plus_1.3b_1m.yaml")
ROWS = 1024**2


def memory_of(spec, **options):
    return training_memory(spec, cost_context(spec), tokens=4096, **options)


def test_mixed_precision_adamw_takes_18_bytes_a_parameter():
    memory = memory_of(DENSE)
    assert memory.total - memory.activations == 18 * 1_261_529_088
    assert memory.table_weights == 0


def test_tables_are_a_role_of_their_own():
    memory = memory_of(MEMORY_PLUS, tables=OPTIMIZERS["row_adagrad"])
    assert memory.table_weights == 2 * ROWS * 2048
    assert memory.table_masters == 0
    assert memory.table_optimizer == 4 * ROWS
    missed = (1 - 32 / ROWS) ** (3 * 4 * 4096)  # three readers, four heads, 4,096 tokens
    assert memory.table_gradients == pytest.approx(4 * 2048 * ROWS * (1 - missed))
    assert memory.weights == 2 * (3_368_142_848 - ROWS * 2048)


def test_the_budget_of_a_device_is_the_same_books():
    fp32 = RoleBytes(weight=4, master=0)
    for seed in range(20):
        spec = random_spec(seed)
        context = cost_context(spec, dtype="float32")
        memory = training_memory(spec, context, tokens=64, weights=fp32, tables=fp32)
        budget = device_bytes(summarize(spec, dtype="float32").total, micro_tokens=64)
        assert memory.total == budget


def test_tables_are_found_once_with_all_readers():
    (table,) = model_tables(MEMORY_PLUS, cost_context(MEMORY_PLUS))
    assert (table.name, table.slots, len(table.reads)) == ("values", ROWS, 3)
    for seed in range(50):
        spec = random_spec(seed)
        tables = model_tables(spec, cost_context(spec))
        stored = summarize(spec).total.num_table_params
        assert sum(table.num_params for table in tables) == stored


def test_touched_rows_never_pass_the_slots():
    (table,) = model_tables(MEMORY_PLUS, cost_context(MEMORY_PLUS))
    assert table.touched_rows(1) == pytest.approx(3 * 128, rel=1e-3)
    assert table.touched_rows(1e12) == ROWS


def test_training_flops_are_three_times_forward_and_four_in_recomputed_layers():
    context = cost_context(DENSE)
    forward, head = 2_760_900_608, 2 * 32000 * 2048
    assert training_flops(DENSE, context) == 3 * forward
    assert training_flops(DENSE, context, "selective") == 3 * forward
    assert training_flops(DENSE, context, "full") == 4 * forward - head


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_the_work_of_a_step_has_the_training_flops(recompute):
    for seed in range(20):
        spec = random_spec(seed)
        context = cost_context(spec)
        parts = training_work(spec, context, tokens=8, micro_batches=3, recompute=recompute)
        per_token = training_flops(spec, context, recompute)
        assert total_work(parts).flops == 24 * per_token
        assert [part.index for part in parts if part.name == "layer"] == list(
            range(len(spec.layers))
        )


def test_the_bytes_of_a_dense_layer_by_hand():
    tokens, context = 4096, cost_context(DENSE)
    parts = training_work(DENSE, context, tokens=tokens)
    work = next(part.work for part in parts if part.index == 0)
    weights = 4 * 2048 * 2048 + 3 * 2048 * 5632 + 2 * 2048
    assert work.weight_bytes == weights * (2 + 2 + 4)  # forward, backward, gradient
    saved = summarize(DENSE).layers[0].cost.activation_bytes_per_token
    assert work.activation_bytes == 5 * saved * tokens


def test_the_update_reads_and_writes_its_state():
    parts = training_work(DENSE, cost_context(DENSE), tokens=4096)
    update = parts[-1]
    assert update.name == "update"
    # gradient read, master and two moments read and written, weight written
    assert update.work.state_bytes == 1_261_529_088 * (4 + 2 * 4 + 2 * 8 + 2)


def test_updating_touched_rows_moves_fewer_bytes():
    context = cost_context(MEMORY_PLUS)
    dense, rows = (
        training_work(MEMORY_PLUS, context, tokens=256, tables=role)[-1].work.moved_bytes
        for role in (ADAMW, OPTIMIZERS["row_adam"])
    )
    assert rows < dense / 2
