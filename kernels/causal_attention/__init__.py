"""Causal attention over whole sequences."""

from archspec.kernels.causal_attention.op import causal_attention

__all__ = ["causal_attention"]
