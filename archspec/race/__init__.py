"""Designs compared fairly: the same data, tokens, seeds and tuning, at matched FLOPs."""
