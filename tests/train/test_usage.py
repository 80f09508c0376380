import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archspec.blocks.memory.module import ProductKeyLookup
from archspec.blocks.module import ForwardContext
from archspec.blocks.usage import JoinedRecorder, UsageRecorder, join_recorders
from archspec.compiler.compile import compile
from archspec.spec.plan import PlanSpec
from archspec.spec.watch import Watch
from archspec.testing.ranks import run_on_threads
from archspec.testing.specs import load_document
from archspec.train.usage import UsageWatch, evenness, table_use
from archspec.train.world import World

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any)


def watch(model, *, every=1, window=10, num_steps=1000, **options):
    settings = Watch(usage_every_steps=every, usage_window=window)
    return UsageWatch(model, settings, batch_tokens=2 * 16, num_steps=num_steps, **options)


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randint(320, (2, 16), generator=generator)


def run(model, recorder, token_ids):
    with torch.no_grad():
        model(token_ids, ForwardContext(token_ids=token_ids, usage=recorder))


class Picks:
    """A recorder that keeps what is reported, to count by hand."""

    def __init__(self):
        self.found = {}

    def record(self, owner, picks, size, *, reader):
        self.found.setdefault(id(owner), []).extend(picks.flatten().tolist())


@pytest.fixture
def model(spec):
    return compile(spec)


def test_a_report_is_what_counting_by_hand_gives(model):
    watched, picks = watch(model), Picks()
    watched.report(1)
    for step in (1, 2, 3):
        run(model, JoinedRecorder(watched.recorder(step), picks), batch(step))
    usage = watched.report(1000)
    owners = {name: id(module) for name, module in model.named_modules()}
    assert (usage.counted, usage.step) == (3, 1000)
    assert [use.name for use in usage.tables] == ["layers.0.blocks.0.values", "pools.big"]
    for use in usage.tables:
        found = picks.found[owners[use.name]]
        counts = np.bincount(found, minlength=64)
        assert (use.slots, use.lookups) == (64, len(found))
        assert use.touched == (counts > 0).mean()
        assert use.even == pytest.approx(1 - (1 - 1 / 64) ** len(found))
        assert use.top1 == counts.max() / len(found)  # one of 64 slots is the top 1%
        assert use.dead == pytest.approx((counts == 0).mean())
    (use,) = usage.experts
    counts = np.bincount(picks.found[owners[use.name]], minlength=4)
    assert use.load == pytest.approx(counts / (3 * 32))
    assert use.imbalance == pytest.approx(counts.max() / counts.mean())
    assert sum(use.load) == pytest.approx(2)


def test_readers_of_a_pool_are_counted_apart_and_add_up(spec):
    shared = spec.layers[2]
    model = compile(spec.replace(layers=(shared, shared)))
    watched = watch(model)
    run(model, watched.recorder(1), batch(1))
    whole, *readers = watched.report(1).tables
    assert [use.reader for use in readers] == ["layers.0.blocks.1", "layers.1.blocks.1"]
    assert whole.reader is None
    assert whole.lookups == sum(use.lookups for use in readers)


def test_a_step_is_counted_and_reported_by_its_number_alone(model):
    def steps(first):
        watched = watch(model, every=3, window=2, num_steps=17)
        found = []
        for step in range(first, 18):
            recorder = watched.recorder(step)
            if recorder is not None:
                run(model, recorder, batch(step))
            usage = watched.report(step)
            if usage is not None:
                found.append((step, usage.counted))
        return found

    assert steps(1) == [(1, 1), (4, 1), (10, 2), (16, 2)]
    assert steps(9) == [(10, 1), (16, 2)]  # a resumed run
    assert watch(model, every=None).recorder(1) is None
    assert watch(model, every=None).report(1000) is None


def test_the_last_step_ends_a_window(model):
    watched = watch(model, every=1, window=10, num_steps=4)
    for step in range(1, 5):
        run(model, watched.recorder(step), batch(step))
        usage = watched.report(step)
        assert (usage and usage.counted) == {1: 1, 4: 3}.get(step)


def test_slots_once_used_are_not_dead(model):
    watched = watch(model, window=1)
    dead = []
    for step in range(1, 6):
        run(model, watched.recorder(step), batch(step))
        dead.append(watched.report(step).tables[0].dead)
    assert dead == sorted(dead, reverse=True)
    assert dead[-1] < dead[0]


def test_nothing_is_recorded_twice_or_for_nobody():
    assert join_recorders(None, None) is None
    one = Picks()
    assert join_recorders(None, one) is one


def test_a_table_whose_slots_the_text_decides_says_so():
    document = {
        "archspec": 1,
        "kind": "model",
        "vocab_size": 320,
        "max_seq_len": 32,
        "d_model": 16,
        "attention": {"num_heads": 2},
        "blocks": {"grams": {"type": "ngram", "orders": [2], "slots": 64, "row_dim": 8}},
        "layers": ["grams"],
    }
    model = compile(load_document(document))
    watched = watch(model)
    run(model, watched.recorder(1), batch(1))
    assert all(use.hashed for use in watched.report(1).tables)


@given(COUNTS, st.integers(1, 50))
def test_evenness_lies_between_its_ends(counts, tokens):
    assert 0 <= evenness(torch.tensor(counts), tokens=tokens) <= 1


@pytest.mark.parametrize(("size", "top_k"), [(8, 1), (8, 2), (64, 8)])
def test_evenness_is_zero_for_one_choice_and_one_for_all(size, top_k):
    same = torch.zeros(size, dtype=torch.int64)
    same[:top_k] = 1000
    assert evenness(same, tokens=1000) == pytest.approx(0)
    assert evenness(torch.full((size,), 1000 * top_k // size), tokens=1000) == pytest.approx(1)


def test_few_look_ups_into_a_large_table_can_be_even():
    counts = torch.zeros(10_000, dtype=torch.int64)
    counts[:500:5] = 1
    use = table_use("t", counts, tokens=50, seen=counts > 0)
    assert use.entropy == pytest.approx(1)
    assert use.touched == pytest.approx(use.even, rel=0.01)
    assert use.top1 == 1


def test_experts_without_choice_are_even():
    assert evenness(torch.tensor([9, 9]), tokens=9) == 1


PLAN = PlanSpec(mesh={"dp_shard": 2, "tp": 2}, precision={"compute": "float32"})


def _on_rank(rank, spec):
    model = compile(spec, plan=PLAN)
    world = World(rank=rank, size=4, device=torch.device("cpu"))
    watched = watch(model, add_up=world.sum, copies=2)
    run(model, watched.recorder(1), batch(1)[rank // 2 :][:1])
    return watched.report(1)


def test_counts_are_summed_over_ranks_and_copies_count_once(spec):
    model = compile(spec)
    watched = watch(model)
    run(model, watched.recorder(1), batch(1))
    alone = watched.report(1)
    for usage in run_on_threads(4, _on_rank, spec):
        assert usage.tables == alone.tables
        for use, expected in itertools.zip_longest(usage.experts, alone.experts):
            assert use.load == expected.load


def test_all_queries_equal_is_the_least_even_use(spec):
    model = compile(spec)
    for module in model.modules():
        if isinstance(module, ProductKeyLookup):
            torch.nn.init.zeros_(module.query.weight)
            torch.nn.init.ones_(module.query.bias)
    watched = watch(model)
    run(model, watched.recorder(1), batch(1))
    for use in watched.report(1).tables:
        assert use.entropy < 0.01
        assert use.touched <= 8 / 64  # 2 heads of top_k 4
        assert math.isclose(use.even, 1, abs_tol=0.02)


def test_a_recorder_of_readers_sums_to_the_plain_one(model):
    plain, apart = UsageRecorder(model), UsageRecorder(model, by_reader=True)
    run(model, JoinedRecorder(plain, apart), batch(1))
    assert plain.counts.keys() == apart.counts.keys()
    assert all(torch.equal(plain.counts[name], apart.counts[name]) for name in plain.counts)
    assert plain.readers == {}
