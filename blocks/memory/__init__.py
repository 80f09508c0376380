"""Memory: product-key look-ups into a private table of value rows."""
