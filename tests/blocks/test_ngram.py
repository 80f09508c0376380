"""N-gram blocks: their hash, what they see, and their formula."""

from collections import Counter
from typing import ClassVar

import pytest
import torch

from archspec.blocks.module import ForwardContext
from archspec.blocks.ngram.config import HASH_PRIME, NgramConfig
from archspec.blocks.ngram.hashing import find_slots, hash_weights, recent_ids
from archspec.blocks.usage import UsageRecorder
from archspec.testing.blocks import (
    SCOPE,
    BlockContract,
    build_rig,
    context_of,
    random_input,
    random_token_ids,
)


def ngram(**changes):
    return NgramConfig(**({"slots": 23, "row_dim": 6} | changes))


GOLDEN_WEIGHTS = [359254946, 835892883, 1658768834]
GOLDEN_SLOTS = [
    [641713, 113058, 278072, 411473],
    [221514, 850121, 153641, 333559],
    [994149, 931981, 12240, 809955],
    [221514, 850121, 984779, 363479],
]


class TestContract(BlockContract):
    cases: ClassVar = {
        "default": ngram(),
        "unigrams": ngram(orders=(1,), num_heads=1),
        "long": ngram(orders=(1, 3, 7), num_heads=2, slots=1, row_dim=5),
        "seeded": ngram(orders=(4,), num_heads=3, slots=64, row_dim=9, hash_seed=5),
    }


def slots_by_hand(config, ids):
    """The rows of the n-grams that end at the last of ``ids``, with plain integers."""
    found = []
    for weights in hash_weights(config):
        total = weights[0]
        for back, weight in enumerate(weights[1:]):
            total += weight * (ids[-1 - back] + 1 if back < len(ids) else 0)
        found.append(total % HASH_PRIME % config.slots)
    return found


def slots_of(config, ids, **context):
    context = ForwardContext(token_ids=torch.tensor(ids), **context)
    return find_slots(torch.tensor(hash_weights(config)), context, config.slots)


def test_the_hash_is_its_formula_at_every_place():
    config = ngram(orders=(1, 2, 4), num_heads=2, slots=1009)
    ids = random_token_ids(2, 9)
    found = slots_of(config, ids.tolist())
    for row in range(2):
        for end in range(9):
            expected = slots_by_hand(config, ids[row, : end + 1].tolist())
            assert found[row, end].tolist() == expected


def test_the_hash_stays_what_it_was():
    """Rows are found by it, so a change would scramble every trained table."""
    assert hash_weights(ngram(orders=(2,), num_heads=1)) == [GOLDEN_WEIGHTS]
    found = slots_of(ngram(slots=1_000_003, num_heads=2), [[5, 70_000, 5, 70_000]])
    assert found[0].tolist() == GOLDEN_SLOTS


def test_the_largest_ids_do_not_overflow():
    config = ngram(orders=(3,), slots=HASH_PRIME - 1)
    ids = [HASH_PRIME - 2] * 3
    assert slots_of(config, [ids])[0, -1].tolist() == slots_by_hand(config, ids)


def test_slots_are_used_evenly_and_heads_collide_apart():
    config = ngram(orders=(2,), num_heads=2, slots=101)
    pairs = torch.cartesian_prod(torch.arange(90), torch.arange(90))
    found = slots_of(config, pairs.tolist())[:, -1]  # [8100, 2]
    for head in range(2):
        counts = torch.bincount(found[:, head], minlength=101)
        assert counts.min() > 40
        assert counts.max() < 120
    both = Counter(map(tuple, found.tolist()))
    assert len(both) > 0.5 * 101**2  # 8,100 n-grams over 10,201 pairs of slots; 5,594 by chance


def test_seeds_orders_and_heads_differ():
    forms = [tuple(w) for seed in (0, 1) for w in hash_weights(ngram(hash_seed=seed))]
    assert len(set(forms)) == len(forms) == 16


def test_a_changed_token_is_seen_from_here_to_the_longest_order():
    rig = build_rig(ngram(orders=(2, 4), slots=10_007))
    x, ids = random_input(1, 10), random_token_ids(1, 10)
    changed = ids.clone()
    changed[0, 3] = (ids[0, 3] + 1) % SCOPE.vocab_size
    before, after = (rig(x, ForwardContext(token_ids=t)) for t in (ids, changed))
    differs = (before != after).any(-1)[0].tolist()
    assert differs == [False] * 3 + [True] * 4 + [False] * 3


def test_the_start_of_a_document_is_the_start_of_a_sequence():
    config = ngram(orders=(2, 3))
    rig = build_rig(config)
    x, ids = random_input(1, 9), random_token_ids(1, 9)
    documents = torch.tensor([[0, 0, 0, 0, 1, 2, 2, 2, 2]])
    mask = (documents[:, :, None] == documents[:, None, :]).tril()[:, None]
    packed = rig(x, ForwardContext(token_ids=ids, document_mask=mask))
    for start, stop in ((0, 4), (4, 5), (5, 9)):
        part = slice(start, stop)
        alone = rig(x[:, part], ForwardContext(token_ids=ids[:, part]))
        torch.testing.assert_close(packed[:, part], alone, rtol=1e-12, atol=1e-12)
    assert not torch.equal(packed, rig(x, ForwardContext(token_ids=ids)))


@pytest.mark.parametrize("kept", [2, 6])
def test_a_continued_pass_knows_the_tokens_before_it(kept):
    """Also with a mask over all keys, of which only the ids that are needed were kept."""
    config = ngram(orders=(3,), slots=997)
    ids = random_token_ids(2, 9)
    documents = torch.tensor([[0] * 9, [0] * 5 + [1] * 4])
    mask = (documents[:, :, None] == documents[:, None, :]).tril()[:, None]
    whole = slots_of(config, ids.tolist(), document_mask=mask)
    part = slots_of(
        config,
        ids[:, 6:].tolist(),
        earlier_token_ids=ids[:, 6 - kept : 6],
        document_mask=mask[:, :, 6:],
    )
    assert torch.equal(part, whole[:, 6:])


def test_recent_ids_keep_zero_for_no_token():
    context = ForwardContext(token_ids=torch.tensor([[0, 7]]))
    assert [ids.tolist() for ids in recent_ids(context, 3)] == [[[1, 8]], [[0, 1]], [[0, 0]]]


def test_is_its_formula():
    config = ngram(orders=(1, 2), num_heads=2)
    rig = build_rig(config)
    block, x, ids = rig.block, random_input(2, 5), random_token_ids(2, 5)
    with torch.no_grad():
        block.key_norm.uniform_(0.5, 2.0)
    rows = block.table.weight.view(4, 23, 6)
    for batch in range(2):
        for place in range(5):
            slots = slots_by_hand(config, ids[batch, : place + 1].tolist())
            found = torch.cat([rows[i, slot] for i, slot in enumerate(slots)])
            key = block.key.weight @ found
            key = key / (key.square().mean() + 1e-5).sqrt() * block.key_norm
            gate = torch.sigmoid(x[batch, place] @ key / SCOPE.d_model**0.5)
            expected = gate * (block.value.weight @ found)
            result = rig(x, ForwardContext(token_ids=ids))[batch, place]
            torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-12)


def test_gate_logits_start_with_standard_deviation_one():
    block = build_rig(ngram(slots=500, row_dim=32)).block
    x = random_input(8, 64)
    found = block.table(block._rows(context_of(x))).flatten(2)
    key = torch.nn.functional.rms_norm(block.key(found), (SCOPE.d_model,))
    logits = (x * key).sum(-1) / SCOPE.d_model**0.5
    assert logits.std().item() == pytest.approx(1.0, abs=0.2)


def test_records_the_rows_it_reads():
    rig = build_rig(ngram())
    x = random_input(2, 6)
    context = context_of(x)
    context.usage = UsageRecorder(rig)
    rig(x, context)
    counts = context.usage.counts["block.table"]
    assert counts.view(8, 23).sum(1).tolist() == [12] * 8
