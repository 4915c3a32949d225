"""Schema, loading, queries and checks of `registry.yaml`."""
