"""Names and colours of the classes, by data set.

The names and colours are those that the data sets' authors and the field's toolboxes use; they are
kept in `classes.json` beside this file, in the order of the class ids.

Names of Cityscapes' published files, which say of which frame a file is, and what it is of it.

CITY/CITY_000000_000019_leftImg8bit.png         the picture
CITY/CITY_000000_000019_gtFine_labelIds.png     its labels; colours, instances and outlines lie beside them

Everything that pairs pictures, labels and predictions asks here, so that they are paired alike everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from bddzoo.datasets.classes import INS_SEG, SEM_SEG, ClassSet
from bddzoo.errors import UsageError
from bddzoo.registry.model import Model

_FILE = Path(__file__).with_name("classes.json")
# BDD100K's classes and their order are Cityscapes'; the synthetic street scenes take them, too.
_STREET = ("bdd100k", "bddzoo-mini")


def class_set(dataset: str) -> ClassSet:
    """Classes and palette of a data set.

    Args:
        dataset: `cityscapes`, `ade20k`, `lip`, `pascal_voc`, `pascal_context`, `coco_stuff` or
            `mapillary` (classes alone).

    Raises:
        UsageError: No such data set.
    """
    found = _table().get(dataset)
    if found is None:
        raise UsageError(
            f"no classes are known for data set '{dataset}'", hint=f"known: {', '.join(_table())}"
        )
    names = tuple(str(name) for name, _ in found)
    palette = tuple((int(c[:2], 16), int(c[2:4], 16), int(c[4:], 16)) for _, c in found)
    return ClassSet("sem_seg", names, palette)


def class_set_of(model: Model) -> ClassSet:
    """Classes and palette of what a model predicts: its data set's, or BDD100K's.

    Raises:
        UsageError: Its protocol names a data set whose classes are not known, or its network
            predicts another number of classes.
    """
    if model.task == "ins_seg":
        return INS_SEG
    dataset = model.protocol.dataset if model.protocol else "bdd100k"
    classes = SEM_SEG if dataset in _STREET else class_set(dataset)
    if model.network is not None and model.network.num_classes != len(classes):
        raise UsageError(
            f"model {model.id} predicts {model.network.num_classes} classes, {dataset} has {len(classes)}",
            hint="it was trained for another data set",
        )
    return classes


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return table


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
