"""Training measured beside other libraries: the same weights, batches and updates on both sides."""
