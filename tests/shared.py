"""Where other people's files and the large golden data lie while developing; absent elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "shared"


def shared(relative: str) -> Path:
    """Path of a shared file or folder; skips the test, with a reason, where there is none."""
    path = ROOT / relative
    if not path.exists():
        pytest.skip(f"needs {relative}, which does not travel with the project")
    return path
