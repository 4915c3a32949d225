"""Sources, download, digests and the cache."""
