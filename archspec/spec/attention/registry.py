"""The attention types, as one literal table."""

from __future__ import annotations

from collections.abc import Mapping

from archspec.spec.attention.base import AttentionConfig
from archspec.spec.attention.gqa import GqaConfig
from archspec.spec.attention.mla import MlaConfig
from archspec.spec.attention.none import NoAttentionConfig

DEFAULT_TYPE = "gqa"
ATTENTIONS: Mapping[str, type[AttentionConfig]] = {
    "gqa": GqaConfig,
    "mla": MlaConfig,
    "none": NoAttentionConfig,
}
