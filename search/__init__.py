"""Placement search: space, budgets, samplers, objectives and the study around them."""

if __name__ == "search":
    raise ImportError(
        "'search' is a folder of the archspec package and only works under that name; "
        "write 'import archspec.search'"
    )
