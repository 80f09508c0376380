"""Sums of look-ups grouped by row, which dense gradients and the row optimizer both need."""
