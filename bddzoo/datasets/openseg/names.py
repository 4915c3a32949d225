"""Names of Cityscapes' published files, which say of which frame a file is, and what it is of it.

CITY/CITY_000000_000019_leftImg8bit.png         the picture
CITY/CITY_000000_000019_gtFine_labelIds.png     its labels; colours, instances and outlines lie beside them

Everything that pairs pictures, labels and predictions asks here, so that they are paired alike everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

PICTURE = "_leftImg8bit"
LABEL_IDS = "_gtFine_labelIds"
TRAIN_IDS = "_gtFine_labelTrainIds"
_TAILS = (LABEL_IDS, PICTURE, TRAIN_IDS)
_TRUTH = ("_gtFine_", "_gtCoarse_")


def frame_stem(stem: str) -> str:
    """A file's stem without what only tells Cityscapes' pictures, labels and predictions apart."""
    for tail in _TAILS:
        if stem.endswith(tail):
            return stem[: -len(tail)]
    return stem


def of_kind(paths: Iterable[str], tail: str) -> list[str]:
    """Files of one kind.

    Args:
        paths: Paths with `/`.
        tail: What the stems of that kind end with.

    Returns:
        Those that are of that kind, in their order; none where the names do not say.
    """
    return [path for path in paths if PurePosixPath(path).stem.endswith(tail)]


def without_truth(paths: Sequence[str]) -> list[str]:
    """Files without those that are ground truth by their names; all of them where nothing else is there.

    Args:
        paths: Paths with `/`.
    """
    rest = [p for p in paths if not any(word in PurePosixPath(p).stem for word in _TRUTH)]
    return rest or list(paths)
