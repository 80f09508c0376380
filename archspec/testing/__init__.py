"""Contracts, numerics and distributed helpers that tests inherit."""
