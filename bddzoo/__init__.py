"""Checkpoint registry and benchmarking CLI for the BDD100K model zoos."""

__version__ = "0.1.0"
