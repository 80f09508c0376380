"""The YAML language: schema, loading, resolving, checking, writing."""
