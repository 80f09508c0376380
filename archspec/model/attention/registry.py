"""The attention modules, as one literal table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archspec.blocks.module import BuildContext
from archspec.model.attention.base import Attention
from archspec.model.attention.gqa import GqaAttention
from archspec.model.attention.mla import MlaAttention
from archspec.spec.attention.base import AttentionConfig

MODULES: Mapping[str, Any] = {
    "gqa": GqaAttention,
    "mla": MlaAttention,
}


def build_attention(config: AttentionConfig, build: BuildContext) -> Attention | None:
    """Construct the module of an attention config; there is none where a layer has no attention."""
    if config.is_identity:
        return None
    attention: Attention = MODULES[config.type](config, build)
    return attention
