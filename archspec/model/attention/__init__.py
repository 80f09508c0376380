"""Attention modules, one file a type, named as their configs in ``archspec.spec.attention``."""
