"""Where records lie: the results folder, and in it a folder for each model and a name for each content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from bddzoo.errors import IntegrityError, MissingError
from bddzoo.files import home_folder
from bddzoo.results.codec import encode_record
from bddzoo.results.environment import project_checkout
from bddzoo.results.record import Record

NAME_DIGITS = 16


def default_root(results: Path | None = None) -> Path:
    """Folder that records are written to and read from.

    In this order: the folder given with `--results`, `$BDDZOO_RESULTS`, `benchmarks/results` of the checkout
    of this project that the current folder is in, `$XDG_DATA_HOME/bddzoo/results`.
    """
    if results is not None:
        return results
    if chosen := os.environ.get("BDDZOO_RESULTS"):
        return Path(chosen)
    with contextlib.suppress(OSError):
        if checkout := project_checkout(Path.cwd()):
            return checkout / "benchmarks" / "results"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else home_folder() / ".local" / "share") / "bddzoo" / "results"


def record_path(record: Record, root: Path) -> Path:
    """Where a record belongs: `<root>/<zoo>/<task>/<model>/<first digits of its SHA-256>.json`."""
    folder = root.joinpath(*(path_part(part) for part in (record.zoo, record.task, record.model)))
    return folder / f"{hashlib.sha256(encode_record(record)).hexdigest()[:NAME_DIGITS]}.json"


def check_root(root: Path) -> None:
    """Look whether records could be written below a folder, before hours are spent on one; makes nothing.

    Raises:
        MissingError: The folder cannot be made or written to.
    """
    nearest = next((p for p in (root, *root.parents) if p.exists()), None)
    if nearest is not None and nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return
    reason = "no permission" if nearest is None or nearest.is_dir() else f"{nearest} is a file"
    raise cannot_write(root, reason)


def cannot_write(folder: Path, reason: str) -> MissingError:
    """The error for a place where no record can be written, with the reason."""
    return MissingError(
        f"cannot write a record to {folder}: {reason}",
        hint="choose a folder with --results DIR or BDDZOO_RESULTS",
    )


def check_place(record: Record, path: Path) -> None:
    """Look whether a record lies in its model's folder: there it speaks for that model.

    Raises:
        IntegrityError: It lies in the folder of another.
    """
    folders = path.parts[-4:-1]
    for name, folder in zip((record.zoo, record.task, record.model), folders, strict=True):
        if name != folder and path_part(name) != folder:
            raise IntegrityError(
                f"{path}: a record of {record.zoo}, {record.task}, {record.model!r} in another's folder",
                hint="move it, or take it in with 'bddzoo results import'",
            )


def statistics_name(digest: str) -> str:
    """File name of statistics with that SHA-256."""
    return f"{digest[:NAME_DIGITS]}.npz"


def path_part(name: str) -> str:
    """The name as one file name: a model id may hold characters that a path must not."""
    part = re.sub(r"[^\w.+@=-]", "_", name)
    return "_" + part if part.startswith(".") or not part else part
