"""What frames are called: by the paths of their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from bddzoo.datasets.openseg.names import frame_stem


def frame_path(name: str) -> str:
    """Path of a frame: that of its picture, labels or prediction, without what tells these apart.

    Args:
        name: Path of the file without suffix, with `/`.
    """
    path = PurePosixPath(name)
    return str(path.with_name(frame_stem(path.name))) if path.name else name


def common_folder(members: Sequence[str]) -> str:
    """Folder, with its slash, that all members are in; empty where they are not in one."""
    folder = ""
    first, last = min(members), max(members)
    for part in PurePosixPath(first).parent.parts:
        if not last.startswith(f"{folder}{part}/"):
            break
        folder += part + "/"
    return folder


def bare_name(name: str) -> str:
    """A frame's name without the suffix of a picture, which frames of JSON files have."""
    path = PurePosixPath(name)
    known = (".jpg", ".jpeg", ".png")
    return str(path.with_suffix("")) if path.suffix.lower() in known else name
