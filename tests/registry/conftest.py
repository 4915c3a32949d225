"""The registry itself, for all tests of this room."""

from __future__ import annotations

import pytest

from bddzoo.registry import Registry, load_registry


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry()
