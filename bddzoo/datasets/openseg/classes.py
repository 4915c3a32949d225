"""Names and colours of the classes, by data set.

The names and colours are those that the data sets' authors and the field's toolboxes use; they are
kept in `classes.json` beside this file, in the order of the class ids.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
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
