"""CPU kernels: thresholds first, so that only a few scores are ever ordered.

Inside a half, keys fall into groups, and ``top_k`` groups whose maxima reach a threshold prove that
the ``top_k`` best scores do. Few keys reach it, about 1.15 ``top_k`` of random scores, whatever
``num_keys`` is. Of the pairs of ranks, those with ``(a + 1)(b + 1) <= top_k`` can win; the best
corner of a rectangle of ``top_k`` ranks is again a threshold. What is left is ordered by counting,
for each candidate, those above it: no branches, and all lanes of a vector at work. Ties, which real
scores hardly have, show in the counts, and are ordered apart.

The floor is a read of all half scores, 4 bytes each, which scoring leaves in the cache.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from archspec.kernels.arrays import as_array
from archspec.kernels.grouped_matmul.cpu import grouped_matmul
from archspec.kernels.intrinsics import LANES, count_above
from archspec.kernels.jit import compiled
from archspec.kernels.product_key_topk import stock
from archspec.kernels.product_key_topk.reference import slot_dtype
from archspec.kernels.threads import even_bounds, run_ranges

# Half scores held at a time: 16 MB in fp32. Smaller chunks, for smaller caches, were no faster.
_CHUNK_ELEMENTS = 1 << 22
_LEAST_MACS = 1 << 21  # from which our matmul is worth its start
_LEAST_WORK = 256  # tokens times heads for a thread: below, starting it costs more than it brings
_GROUP_STEP = 64  # groups come in multiples of it, whole vectors of any machine
_MAX_HALVINGS = 12


def product_key_topk(queries: Tensor, codebooks: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.product_key_topk.reference.product_key_topk`."""
    (tokens, heads), num_keys = queries.shape[:2], codebooks.shape[2]
    if slot_dtype(num_keys) != torch.int32:
        return stock.product_key_topk(queries, codebooks, top_k)
    scores = queries.new_empty(tokens, heads, top_k, dtype=torch.float32)
    slots = queries.new_empty(tokens, heads, top_k, dtype=torch.int32)
    keys = codebooks.float()
    chunk = max(1, _CHUNK_ELEMENTS // max(1, 2 * heads * num_keys))  # tokens
    for start in range(0, tokens, chunk):
        part = slice(start, start + chunk)
        select(_half_scores(queries[part].float(), keys), scores[part], slots[part])
    return scores, slots


def _half_scores(queries: Tensor, codebooks: Tensor) -> Tensor:
    """Score the keys of both halves, [2, heads, tokens, num_keys].

    A group of our matmul is a half of a head. It took half the time of ``torch.matmul``.
    """
    queries, keys = queries.permute(2, 1, 0, 3), codebooks.mT
    halves, heads, tokens, half_dim = queries.shape
    is_small = queries.numel() * codebooks.shape[2] < _LEAST_MACS
    if is_small or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return torch.matmul(queries, keys)
    ends = torch.arange(1, halves * heads + 1, dtype=torch.int32) * tokens
    rows, matrices = queries.reshape(-1, half_dim), keys.flatten(0, 1)
    return grouped_matmul(rows, matrices, ends).view(halves, heads, tokens, -1)


def select(halves: Tensor, scores: Tensor, slots: Tensor) -> None:
    """Write the best slots, given the scores of both halves.

    Args:
        halves: [2, heads, tokens, num_keys].
        scores: [tokens, heads, top_k], written to.
        slots: [tokens, heads, top_k], written to.
    """
    ranks = _winning_ranks(scores.shape[-1])
    arrays = (as_array(halves.contiguous()), ranks, as_array(scores), as_array(slots))
    tokens, heads, _ = scores.shape
    bounds = even_bounds(tokens, least=_LEAST_WORK // max(1, heads))
    run_ranges(lambda start, stop: _select_tokens(start, stop, *arrays), bounds)


def _winning_ranks(top_k: int) -> np.ndarray:
    """List the pairs of ranks that can win, [2, pairs]."""
    pairs = [(a, b) for a in range(top_k) for b in range(top_k // (a + 1))]
    return np.array(pairs, dtype=np.uint32).T.copy()


@compiled
def _select_tokens(start, stop, halves, ranks, scores, slots):
    """Select for a range of tokens, all heads."""
    heads, num_keys, top_k = halves.shape[1], halves.shape[3], scores.shape[2]
    maxima = np.empty(_num_groups(num_keys, top_k), halves.dtype)
    groups = np.empty(len(maxima) + 1, np.uint32)
    candidates = np.empty(max(num_keys, ranks.shape[1]) + LANES, halves.dtype)
    ids = np.empty(len(candidates), slots.dtype)
    places = np.empty(len(candidates), np.int32)
    corners = _corners(top_k)
    best = np.empty((3, top_k + 1), halves.dtype)
    best_ids = np.empty((3, top_k + 1), slots.dtype)
    for head in range(heads):
        for token in range(start, stop):
            for half in range(2):
                row = halves[half, head, token]
                _take_maxima(row, maxima)
                threshold = _threshold(maxima, top_k)
                count = _collect(row, threshold, maxima, groups, candidates, ids)
                if count > 2 * top_k:
                    count = _drop_ties(threshold, top_k, candidates[:count], ids[:count])
                winners, winner_ids = best[half], best_ids[half]
                if not _order(count, candidates, ids, places, winners, winner_ids):
                    _order_ties(count, candidates, ids, winners, winner_ids)
            count = _collect_pairs(best, best_ids, num_keys, ranks, corners, candidates, ids)
            if not _order(count, candidates, ids, places, best[2], best_ids[2]):
                _order_ties(count, candidates, ids, best[2], best_ids[2])
            scores[token, head] = best[2, :top_k]
            slots[token, head] = best_ids[2, :top_k]


@compiled
def _num_groups(num_keys, top_k):
    """Balance the work on groups against that on members of the groups that stay."""
    even = int(np.sqrt(num_keys * top_k))
    return min(num_keys, (even + _GROUP_STEP - 1) // _GROUP_STEP * _GROUP_STEP)


# Loops run over slices: their indices count from 0, which is what lets them become vector code.


@compiled
def _take_maxima(row, maxima):
    """Take the maximum of each group g, the keys k with ``k % groups == g``; NaN is passed over."""
    maxima[:] = -np.inf
    for first in range(0, len(row), len(maxima)):
        part = row[first : first + len(maxima)]
        for group in range(len(part)):
            maxima[group] = part[group] if part[group] > maxima[group] else maxima[group]


@compiled
def _threshold(maxima, top_k):
    """Find a score that at least ``top_k`` of the maxima reach, and few more."""
    low, high = _extremes(maxima)
    reaching = len(maxima)
    half = maxima.dtype.type(0.5)
    for _ in range(_MAX_HALVINGS):
        if reaching <= top_k + top_k // 4:
            return low
        middle = half * low + half * high
        count = _count_reaching(maxima, middle)
        if count >= top_k:
            low, reaching = middle, count
        else:
            high = middle
    return _kth_largest(maxima, top_k)


@compiled
def _extremes(values):
    low, high = values[0], values[0]
    for i in range(len(values)):
        low, high = min(low, values[i]), max(high, values[i])
    return low, high


@compiled
def _count_reaching(values, bound):
    count = 0
    for i in range(len(values)):
        count += values[i] >= bound
    return count


@compiled
def _kth_largest(values, k):
    """Find it by counting: for ties and outliers, where halving the range leads nowhere."""
    for i in range(len(values)):
        above, reaching = 0, 0
        for j in range(len(values)):
            above += values[j] > values[i]
            reaching += values[j] >= values[i]
        if above < k <= reaching:
            return values[i]
    return values.dtype.type(-np.inf)


@compiled
def _collect(row, threshold, maxima, groups, candidates, ids):
    """List the keys that reach the threshold, in ascending order; return their number."""
    found = np.uint64(0)
    for group in range(len(maxima)):
        groups[found] = group
        found += np.uint64(maxima[group] >= threshold)
    kept = groups[:found]
    count = np.uint64(0)
    for first in range(0, len(row), len(maxima)):
        part = row[first : first + len(maxima)]
        for i in range(len(kept)):
            group = kept[i]
            if group >= len(part):  # the last part may be short
                break
            candidates[count] = part[group]
            ids[count] = first + group
            count += np.uint64(part[group] >= threshold)
    return count


@compiled
def _drop_ties(threshold, top_k, candidates, ids):
    """Keep only the first ``top_k`` of the candidates at the threshold, the lowest keys."""
    count, equal = 0, 0
    for i in range(len(candidates)):
        score, key = candidates[i], ids[i]
        equal += score == threshold
        candidates[count], ids[count] = score, key
        count += score > threshold or equal <= top_k
    return count


@compiled
def _corners(top_k):
    """Return b for each rank a: ``top_k`` pairs or more lie up to (a, b), none of a smaller sum."""
    corners = np.empty(top_k, np.uint32)
    for a in range(top_k):
        corners[a] = (top_k + a) // (a + 1) - 1
    return corners


@compiled
def _collect_pairs(best, keys, num_keys, ranks, corners, candidates, ids):
    """List the pairs of ranks whose sums reach one that ``top_k`` pairs reach."""
    first, second = best[0], best[1]
    first_keys, second_keys = keys[0], keys[1]
    first_ranks, second_ranks = ranks[0], ranks[1]
    top_k = len(first) - 1
    threshold = first[0] + second[top_k - 1]
    for a in range(top_k):
        corner = first[a] + second[corners[a]]
        threshold = corner if corner > threshold else threshold
    count = np.uint64(0)
    for pair in range(len(first_ranks)):
        a, b = first_ranks[pair], second_ranks[pair]
        score = first[a] + second[b]
        candidates[count] = score
        ids[count] = first_keys[a] * num_keys + second_keys[b]
        count += np.uint64(score >= threshold)
    return count


# numba counts the references to arrays, which takes a third of the time of ordering, except in
# functions that call no others. So these two are apart.


@compiled
def _order(count, candidates, ids, places, best, best_ids):
    """Write the best of ``count`` candidates by score descending; say whether no two are equal.

    ``best`` and ``best_ids`` have one place more than are wanted, for all that lose: without a
    branch, which would be guessed wrong.
    """
    count, top_k = np.int64(count), len(best) - 1
    for first in range(0, count, LANES):
        count_above(candidates, first, count, places)
    best[count:], best_ids[count:] = np.nan, 0  # NaN can leave too few candidates
    taken = 0
    for i in range(count):
        taken += min(places[i], top_k)
    for i in range(count):
        place = np.uint32(min(places[i], top_k))
        best[place], best_ids[place] = candidates[i], ids[i]
    # Equal scores among the best share a place, which makes the sum of all places smaller.
    return count >= top_k and taken == count * top_k - top_k * (top_k + 1) // 2


@compiled
def _order_ties(count, candidates, ids, best, best_ids):
    """Write the best of ``count`` candidates by score descending, then id ascending."""
    count, top_k = np.int64(count), len(best) - 1
    for i in range(count):
        place = 0
        for j in range(count):
            is_lower = ids[j] < ids[i]
            place += candidates[j] > candidates[i] or (candidates[j] == candidates[i] and is_lower)
        place = min(place, top_k)
        best[place], best_ids[place] = candidates[i], ids[i]
