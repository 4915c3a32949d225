"""Pictures that a user names: files, and folders at any depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bddzoo.datasets.layout import IMAGE_SUFFIXES, walk
from bddzoo.errors import MissingError, UsageError


def find_pictures(inputs: Sequence[Path], out: Path) -> dict[str, Path]:
    """Pictures of files and folders by file name, in the order given.

    Args:
        inputs: Files and folders.
        out: Folder of the predictions; where it lies in one of the folders, it is passed over.

    Raises:
        MissingError: A file or folder is not there, or a folder holds no picture.
        UsageError: The outputs of two pictures would have the same name.
    """
    pictures: dict[str, Path] = {}
    stems: dict[str, Path] = {}
    target = out.resolve()
    for item in inputs:
        if item.is_dir():
            paths = walk(item, IMAGE_SUFFIXES)
            if item.resolve() in target.parents:
                paths = [path for path in paths if not path.parent.resolve().is_relative_to(target)]
            if not paths:
                raise MissingError(
                    f"no picture in folder {item}", hint=f"looked for {', '.join(sorted(IMAGE_SUFFIXES))}"
                )
        elif item.exists():
            paths = [item]
        else:
            raise MissingError(f"no such file or folder: {item}")
        for path in paths:
            other = stems.setdefault(path.stem, path)
            if other is not path:
                same = other.resolve() == path.resolve()
                what = "is given twice" if same else f"and {other} would write outputs of the same name"
                raise UsageError(
                    f"{path} {what}", hint="give it once" if same else "rename one, or use two --out folders"
                )
            pictures[path.name] = path
    return pictures
