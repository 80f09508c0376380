"""The transformer around the blocks: attention, norms, positions, layers."""
