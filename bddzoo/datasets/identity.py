"""Which data set a folder holds, and digests of its images and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.datasets.classes import BDD100K, BITMASK_TASKS, MINI
from bddzoo.datasets.layouts import OFFICIAL_COUNTS
from bddzoo.datasets.mini.writer import DEFAULT_VAL, VERSION, read_marker
from bddzoo.datasets.openseg import DATA_SETS
from bddzoo.errors import MissingError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def dataset_id(root: Path, layout: str = BDD100K) -> str:
    """The data set of a folder.

    Args:
        root: The folder.
        layout: Data set whose layout it was read in.

    Returns:
        `layout`; or for a synthetic mini set `bddzoo-mini`, followed by what it was made with where
        that is not the default, because other frames give other numbers; `NAME-mini` for one in the
        layout of another data set.
    """
    marker = read_marker(root)
    if marker is None:
        return layout
    parts = [f"{marker['dataset']}-mini" if "dataset" in marker else MINI]
    if marker.get("version") != VERSION:
        parts.append(f"v{marker.get('version')}")
    if marker.get("seed") != 0:
        parts.append(f"seed{marker.get('seed')}")
    if marker.get("val") != DEFAULT_VAL:
        parts.append(f"val{marker.get('val')}")
    return "-".join(parts)


def published_images(dataset: str, task: str, split: str) -> int | None:
    """Number of images of a published split; None where nobody knows, and for sets made here."""
    if dataset == BDD100K:
        return OFFICIAL_COUNTS.get((task, split))
    return DATA_SETS[dataset].images.get(split) if dataset in DATA_SETS else None


def split_size(root: Path, task: str, split: str, layout: str = BDD100K) -> int | None:
    """Number of images that the whole split has, whatever is on disk; None where nobody knows."""
    marker = read_marker(root)
    if marker is None:
        return published_images(layout, task, split)
    count = marker.get(split)
    return count if isinstance(count, int) else None


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
    last: tuple[Path | None, str] = (None, "-")  # of a file that holds the labels of all frames
    for name, path in files:
        if path is None:
            rows.append(f"{name} -")
            continue
        try:
            if path != last[0]:
                last = path, hashlib.sha256(path.read_bytes()).hexdigest()
            rows.append(f"{name} {last[1]}")
        except OSError as error:
            raise MissingError(
                f"cannot read label {path}: {error.strerror}",
                hint="check the data set with 'bddzoo data check'",
            ) from error
    return digest_names(rows)


def digest_pixels(pixels: npt.NDArray[np.uint8]) -> str:
    """SHA-256 of a label's shape and pixels, whatever file they were stored in: 64 hexadecimal digits."""
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def digest_labels(frames: Mapping[str, str]) -> str:
    """Digest of a split's ground truth: every frame's name with `digest_pixels` of its label.

    Returns:
        `sha256:` and 64 hexadecimal digits, independent of the order of the frames.
    """
    return digest_names(f"{name} {digest}" for name, digest in frames.items())


def digest_label_files(task: str, files: Iterable[tuple[str, Path]], threads: int = 1) -> str:
    """`digest_labels` of label files.

    Args:
        task: Their task.
        files: Pairs of frame name and label path.
        threads: Files that are read at the same time.

    Raises:
        MissingError: A label cannot be read.
    """
    from concurrent.futures import ThreadPoolExecutor

    from bddzoo.datasets.formats.mask import read_bitmask, read_mask

    read = read_bitmask if task in BITMASK_TASKS else read_mask
    with ThreadPoolExecutor(threads) as pool:
        return digest_labels(dict(pool.map(lambda file: (file[0], digest_pixels(read(file[1]))), files)))
