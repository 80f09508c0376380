"""What generation keeps of earlier tokens, in bytes."""

from __future__ import annotations

from archspec.quantities import DTYPE_BYTES
from archspec.spec.model import ModelSpec


def kv_cache_bytes(spec: ModelSpec, tokens: int, dtype: str = "bfloat16") -> int:
    """Return the bytes of the cache of one sequence; multiply by the batch.

    Exactly ``kv_bytes_per_token * tokens``, except that a layer with a window keeps no more tokens
    than that; it is what ``model.cache.KVCache`` allocates.

    Args:
        spec: The model.
        tokens: Tokens of the sequence, at most ``max_seq_len``.
        dtype: Element type of activations.

    Raises:
        ValueError: If ``tokens`` is not in 1..max_seq_len or ``dtype`` is unknown.
    """
    if not 1 <= tokens <= spec.max_seq_len:
        raise ValueError(
            f"tokens must be between 1 and max_seq_len={spec.max_seq_len}, but is {tokens}"
        )
    if dtype not in DTYPE_BYTES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPE_BYTES)}, but is {dtype!r}")
    return sum(layer.attention.kv_bytes(tokens, DTYPE_BYTES[dtype]) for layer in spec.layers)
