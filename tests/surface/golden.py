"""The golden files of this folder: compared with what there is now, or written anew.

`BDDZOO_UPDATE_SURFACE=1 python -m pytest tests/surface` writes them; look at the difference before it is
committed. The folder `samples` is not among them: it holds files as earlier versions wrote them, and is never
written anew (see its README).
"""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SAMPLES = HERE / "samples"


def assert_golden(name: str, value: Any) -> None:
    """Compare a value with a golden file; the message is their difference."""
    path = HERE / "golden" / f"{name}.json"
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get("BDDZOO_UPDATE_SURFACE") == "1":
        path.write_text(text, encoding="utf-8")
    known = path.read_text(encoding="utf-8").splitlines()
    difference = list(
        difflib.unified_diff(known, text.splitlines(), "as it was", "as it is", lineterm="", n=4)
    )
    assert not difference, f"the surface changed (see tests/surface/golden.py): {name}\n" + "\n".join(
        difference
    )


def form(value: Any) -> Any:
    """The form of a JSON value: keys and types; an array's form is that of all its items at once."""
    if isinstance(value, dict):
        return {key: form(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_merged([form(item) for item in value])] if value else []
    return "null" if value is None else type(value).__name__


def _merged(forms: list[Any]) -> Any:
    """One form for all: a key that some items lack ends in `?`, types are joined with `|`."""
    objects = [f for f in forms if isinstance(f, dict)]
    arrays = [f for f in forms if isinstance(f, list)]
    names = {name for f in forms if isinstance(f, str) for name in f.split("|")}
    found: list[Any] = ["|".join(sorted(names))] if names else []
    if objects:
        keys = {key.rstrip("?") for f in objects for key in f}
        merged = {}
        for key in keys:
            values = [f[k] for f in objects for k in (key, f"{key}?") if k in f]
            merged[key if all(key in f for f in objects) else f"{key}?"] = _merged(values)
        found.append(merged)
    if arrays:
        items = [item for f in arrays for item in f]
        found.append([_merged(items)] if items else [])
    return found[0] if len(found) == 1 else {"one of": found}
