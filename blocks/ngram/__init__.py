"""N-gram: rows found by hashing the last few token ids."""
