"""Small registry files for tests of the command line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml


def write_registry(path: Path, models: dict[str, dict[str, Any]]) -> Path:
    """Write a registry of one zoo.

    Args:
        path: The file.
        models: Model id to its artifacts as `registry.yaml` spells them, by kind.
    """
    zoo = {
        "id": "testzoo",
        "title": "Test zoo",
        "tasks": {
            "sem_seg": {
                "page": "https://127.0.0.1:9/readme",
                "columns": {"Backbone": {"backbone": True}},
                "tables": {"default": {"columns": ["Backbone"]}},
                "methods": [
                    {
                        "name": "FCN",
                        "models": [
                            {"id": name, "backbone": "R-50", "artifacts": artifacts}
                            for name, artifacts in models.items()
                        ],
                    }
                ],
            }
        },
    }
    path.write_text(yaml.safe_dump({"schema": 1, "zoos": [zoo]}, sort_keys=False))
    return path


def weights(name: str, *sources: str, data: bytes | None = None, **fields: Any) -> dict[str, Any]:
    """A weights artifact; with `data` its MD5 and size are in the registry."""
    entry: dict[str, Any] = {"name": name, "sources": list(sources), **fields}
    if data is not None:
        entry["digests"] = [f"md5:{hashlib.md5(data).hexdigest()} published"]
        entry["size"] = len(data)
    return {"weights": entry}
