"""Digests that say which images and which ground truth a number was measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from bddzoo.errors import MissingError


def digest_names(names: Iterable[str]) -> str:
    """Digest of a list of frame names, independent of their order.

    Returns:
        `sha256:` and 64 hexadecimal digits, over the sorted names, one per line.
    """
    text = "".join(f"{name}\n" for name in sorted(names))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def digest_files(files: Iterable[tuple[str, Path | None]]) -> str:
    """Digest of the ground truth: every frame's name with the SHA-256 of its label file.

    The bytes of the files count, not the decoded pixels: a label set that was packed anew has another
    digest although it may give the same number, which is the safe side.

    Args:
        files: Pairs of frame name and label path; None for a frame without a label file.

    Returns:
        `sha256:` and 64 hexadecimal digits, independent of the order of the pairs.

    Raises:
        MissingError: A label file cannot be read.
    """
    rows = []
    for name, path in files:
        if path is None:
            rows.append(f"{name} -\n")
            continue
        try:
            rows.append(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n")
        except OSError as error:
            raise MissingError(
                f"cannot read label {path}: {error.strerror}",
                hint="check the data set with 'bddzoo data check'",
            ) from error
    return "sha256:" + hashlib.sha256("".join(sorted(rows)).encode()).hexdigest()
