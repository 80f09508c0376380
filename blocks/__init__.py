"""Block kinds, one folder each: what a layer holds beside attention."""

if __name__ == "blocks":
    raise ImportError(
        "'blocks' is a folder of the archspec package and only works under that name; "
        "write 'import archspec.blocks'"
    )
