"""Shared pool: product-key look-ups into a named table that other layers read too."""
