"""Exact metrics, as accumulators that take one image after another."""
