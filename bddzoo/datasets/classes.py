"""Class lists and colours of the BDD100K segmentation tasks.

Names are those of the model zoos' own configs: the first instance class is called `pedestrian`
although semantic segmentation calls it `person`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Colour = tuple[int, int, int]

TASKS = ("sem_seg", "drivable", "ins_seg", "pan_seg", "det", "tagging", "box_track", "seg_track", "pose")
TRACKED = ("box_track", "seg_track")
"""Tasks whose frames are of videos."""

BDD100K, MINI = "bdd100k", "bddzoo-mini"
BDD_LAYOUT = (BDD100K, MINI)
"""How the ids of data sets in BDD100K's layout begin: a mini set's id ends with its splits and sizes."""

IGNORED = 255
"""Value of a label pixel that is not evaluated."""


@dataclass(frozen=True)
class ClassSet:
    """Classes of a task.

    Attributes:
        task: Name of the task; of image tagging, of the attribute.
        names: Class names; the position is the class id, from 0.
        palette: One RGB colour per class, 0..255.
    """

    task: str
    names: tuple[str, ...]
    palette: tuple[Colour, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.palette):
            raise ValueError(f"{self.task}: {len(self.names)} names but {len(self.palette)} colours")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Class id of a name; ValueError where there is none."""
        return self.names.index(name)


SEM_SEG = ClassSet(
    "sem_seg",
    (
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    (
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
)
"""The 19 classes of semantic segmentation."""

INS_SEG = ClassSet(
    "ins_seg",
    ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    SEM_SEG.palette[11:],
)
"""The 8 classes of instance segmentation; bitmasks store class id + 1."""

DET = ClassSet(
    "det",
    (*INS_SEG.names, "traffic light", "traffic sign"),
    (*INS_SEG.palette, SEM_SEG.palette[6], SEM_SEG.palette[7]),
)
"""The 10 classes of object detection."""

DRIVABLE = ClassSet(
    "drivable", ("direct", "alternative", "background"), ((219, 94, 86), (86, 211, 219), (0, 0, 0))
)
"""The classes of drivable area; `background` is not counted."""

PAN_SEG = ClassSet(
    "pan_seg",
    (
        *("dynamic", "ego vehicle", "ground", "static", "parking", "rail track", "road", "sidewalk"),
        *("bridge", "building", "fence", "garage", "guard rail", "tunnel", "wall", "banner", "billboard"),
        *("lane divider", "parking sign", "pole", "polegroup", "street light", "traffic cone"),
        *("traffic device", "traffic light", "traffic sign", "traffic sign frame", "terrain"),
        *("vegetation", "sky", "person", "rider", "bicycle", "bus", "car", "caravan", "motorcycle"),
        *("trailer", "train", "truck"),
    ),
    (
        *((111, 74, 0), (0, 0, 0), (81, 0, 81), (0, 0, 0), (250, 170, 160), (230, 150, 140)),
        *((128, 64, 128), (244, 35, 232), (150, 100, 100), (70, 70, 70), (190, 153, 153)),
        *((180, 100, 180), (180, 165, 180), (150, 120, 90), (102, 102, 156), (250, 170, 100)),
        *((220, 220, 250), (255, 165, 0), (220, 20, 60), (153, 153, 153), (153, 153, 153)),
        *((220, 220, 100), (255, 70, 0), (220, 220, 220), (250, 170, 30), (220, 220, 0)),
        *((250, 170, 250), (152, 251, 152), (107, 142, 35), (70, 130, 180), (220, 20, 60), (255, 0, 0)),
        *((119, 11, 32), (0, 60, 100), (0, 0, 142), (0, 0, 90), (0, 0, 230), (0, 0, 110)),
        *((0, 80, 100), (0, 0, 70)),
    ),
)
"""The 40 classes of panoptic segmentation; bitmasks store class id + 1. The first `PAN_STUFF` are stuff."""

PAN_STUFF = 30
"""Panoptic classes without single objects."""

TAGS = {
    "weather": ("rainy", "snowy", "clear", "overcast", "undefined", "partly cloudy", "foggy"),
    "scene": ("tunnel", "residential", "parking lot", "undefined", "city street", "gas stations", "highway"),
    "timeofday": ("daytime", "night", "dawn/dusk", "undefined"),
}
"""Attributes of frames that are predicted (image tagging), with their classes in the networks' order."""

CLASS_SETS = {
    **{classes.task: classes for classes in (SEM_SEG, INS_SEG, DET, DRIVABLE, PAN_SEG)},
    **{key: ClassSet(key, names, SEM_SEG.palette[: len(names)]) for key, names in TAGS.items()},
}
"""Classes by task, those of image tagging by attribute."""

BITMASK_TASKS = ("ins_seg", "pan_seg")
"""Tasks whose labels are bitmasks of instances; the others have class maps."""


def label_values(task: str) -> frozenset[int]:
    """Values that ground truth of a task may hold: in class maps, or in the first channel of bitmasks.

    `data check`, `score`, `eval` and `check` refuse every other value.
    """
    classes = len(CLASS_SETS[task])
    return frozenset(range(classes + 1) if task in BITMASK_TASKS else (*range(classes), IGNORED))


def values_of_no_class(task: str, pixels: npt.NDArray[np.uint8]) -> list[int]:
    """The values in a label that `label_values` does not have, in ascending order.

    Args:
        task: Task of the label.
        pixels: Class map (H, W), or the first channel of a bitmask.
    """
    import numpy as np

    count = len(CLASS_SETS[task])
    strange = pixels > count if task in BITMASK_TASKS else (pixels >= count) & (pixels != IGNORED)
    found: list[int] = np.unique(pixels[strange]).tolist()
    return found
