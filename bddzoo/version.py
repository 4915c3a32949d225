"""The version, once; `tools/release.py` sets it."""

__version__ = "0.1.0"
