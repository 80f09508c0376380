"""The claims of "Memory Layers at Scale" in miniature: what the race says of each of them."""
