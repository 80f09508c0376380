"""Bytes that a perfect kernel moves, by reason.

Every look-up counts in the forward, as if no row were found in a cache; so where caches serve some
of them (small tables, skewed look-ups), the rate may pass that of copying. The backward and the
update can be ordered by row, so there each distinct row counts once. Sorting, launches and
workspace count nothing: they are what a real kernel adds to the perfect one.
"""

from __future__ import annotations

INDEX_BYTES = 4
MOMENT_BYTES = 4  # fp32


def forward_traffic(*, tokens: int, picks: int, width: int, element: int) -> dict[str, int]:
    """Count ``result[t] = sum_p weights[t, p] * table[indices[t, p]]``.

    Args:
        tokens: Bags.
        picks: Look-ups of a bag.
        width: Elements of a row.
        element: Bytes of one, of the table, the weights and the result.
    """
    lookups = tokens * picks
    return {
        "table rows": lookups * width * element,
        "indices and weights": lookups * (INDEX_BYTES + element),
        "result": tokens * width * element,
    }


def backward_traffic(
    *, tokens: int, picks: int, width: int, element: int, distinct: int, written: int
) -> dict[str, int]:
    """Count both gradients, of the weights and of the table.

    Args:
        tokens: Bags.
        picks: Look-ups of a bag.
        width: Elements of a row.
        element: Bytes of one.
        distinct: Rows that look-ups name.
        written: Rows of the gradient that is written: ``distinct`` if compact, all if dense, 0 if
            it is used where it is summed.
    """
    lookups = tokens * picks
    return {
        "table rows": distinct * width * element,
        "gradient of tokens": tokens * width * element,
        "indices and weights": lookups * (INDEX_BYTES + element),
        "gradient of weights": lookups * element,
        "gradient of rows": written * width * element,
    }


def update_traffic(*, width: int, element: int, distinct: int) -> dict[str, int]:
    """Count Adam on the touched rows: they and both moments are read and written once.

    Args:
        width: Elements of a row.
        element: Bytes of one.
        distinct: Touched rows.
    """
    return {
        "updated rows": 2 * distinct * width * element,
        "moments": 4 * distinct * width * MOMENT_BYTES,
    }


def selection_traffic(
    *, tokens: int, heads: int, num_keys: int, half_dim: int, top_k: int, element: int
) -> dict[str, int]:
    """Count queries and codebooks in, scores and slots out; half scores never leave the chip."""
    return {
        "queries": tokens * heads * 2 * half_dim * element,
        "codebooks": 2 * heads * num_keys * half_dim * element,
        "scores and slots": tokens * heads * top_k * (4 + INDEX_BYTES),
    }


def ranking_traffic(*, tokens: int, heads: int, num_keys: int, top_k: int) -> dict[str, int]:
    """Count the selection alone: fp32 scores of both halves in, scores and slots out."""
    return {
        "half scores": 2 * tokens * heads * num_keys * 4,
        "scores and slots": tokens * heads * top_k * (4 + INDEX_BYTES),
    }


def grouped_traffic(
    *, rows: int, experts: int, in_dim: int, out_dim: int, element: int
) -> dict[str, int]:
    """Count rows and every expert's matrix in, rows out."""
    return {
        "rows": rows * in_dim * element,
        "matrices": experts * in_dim * out_dim * element,
        "result": rows * out_dim * element,
    }
