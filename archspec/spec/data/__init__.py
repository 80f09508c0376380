"""Sources of data, one file a kind: what a train document says of them, without reading any."""
