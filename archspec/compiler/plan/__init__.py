"""What a plan means for a model, as data: shapes, bytes, collectives and time, without torch."""
