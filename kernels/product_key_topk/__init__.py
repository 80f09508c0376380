"""The best slots of a product-key memory, exactly and with deterministic ties."""

import archspec.kernels.product_key_topk.sharding  # noqa: F401 (registers the rules)
from archspec.kernels.product_key_topk.op import product_key_topk, product_key_topk_backward

__all__ = ["product_key_topk", "product_key_topk_backward"]
