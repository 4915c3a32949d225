"""The BDD100K metrics, streaming and from disk."""
