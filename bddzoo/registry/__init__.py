"""Schema, loading, queries and checks of `registry.yaml`."""

from __future__ import annotations

from bddzoo.registry.catalog import Registry, default_path, load_registry, load_text

__all__ = ["Registry", "default_path", "load_registry", "load_text"]
