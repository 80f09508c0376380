"""A pool: a table of value rows with a name and one owner, read by any number of layers."""
