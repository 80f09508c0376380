"""Data, tasks, optimizer, loop and checkpoints."""
