"""None: an empty slot, so that a layer is attention alone."""
