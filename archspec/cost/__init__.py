"""What a spec costs, counted from its configs before anything is built."""
