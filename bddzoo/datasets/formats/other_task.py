"""Labels and predictions of another task than the one that is asked for, told by what the files hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from bddzoo.datasets.classes import (
    BITMASK_TASKS,
    CLASS_SETS,
    DET,
    IGNORED,
    INS_SEG,
    PAN_SEG,
    PAN_STUFF,
    TAGS,
    TASKS,
    TRACKED,
)
from bddzoo.datasets.formats.frames import LOOKED_AT, JsonFrames, category_kinds
from bddzoo.datasets.formats.mask import check_label, decode_bitmask, decode_mask
from bddzoo.datasets.formats.png import GREY, PALETTE, RGBA
from bddzoo.datasets.sources import Source
from bddzoo.errors import MissingError
from bddzoo.lazy_numpy import np

# Masks that are looked at, and frames that are enough to tell semantic from panoptic labels.
_MASKS = _ENOUGH = 3
_OBJECTS = category_kinds(INS_SEG.names).keys()
_MASKED: dict[str, Collection[str | None]] = {
    **{task: frozenset(CLASS_SETS[task].names) for task in ("sem_seg", "drivable", "pan_seg")},
    "ins_seg": _OBJECTS,
    "seg_track": _OBJECTS,
}
_BOXED: dict[str, Collection[str | None]] = {"det": category_kinds(DET.names).keys(), "box_track": _OBJECTS}
_THINGS = frozenset(PAN_SEG.names[PAN_STUFF:])
# Frames of videos lie in a folder of the video, and are called after it.
_OF_VIDEO = re.compile(r"(?:^|/)([^/]+)/\1-[0-9]{7}\.png$", re.IGNORECASE)


_NOTHING = msgspec.Raw(b"null")


class _AnyLabel(msgspec.Struct, gc=False):
    category: str | None = None
    # Whether they are there is enough.
    rle: msgspec.Raw = _NOTHING
    poly2d: msgspec.Raw = _NOTHING
    box2d: msgspec.Raw = _NOTHING
    graph: msgspec.Raw = _NOTHING

    def has(self, *keys: str) -> bool:
        """Whether there is anything under one of these keys."""
        return any(bytes(getattr(self, key)) not in (b"null", b"[]", b"{}") for key in keys)


class _AnyFrame(msgspec.Struct, gc=False):
    labels: list[_AnyLabel] | None = None
    attributes: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(_AnyFrame)


@dataclass
class Held:
    """What some files of a set hold.

    Attributes:
        tasks: Tasks that they can be of; empty where they do not tell.
        what: Values or categories.
        several: Number of frames that have several objects of one class.
        objects: Number of frames that have an object at all.
        videos: Whether all frames are of a video, and numbered.
        masks: Number of class maps that were looked at.
    """

    tasks: set[str]
    what: set[Any]
    several: int = 0
    objects: int = 0
    videos: bool = False
    masks: int = 0


# What conversions and drawings lose of them.
TRACKS_LOST = "frames of videos are taken one by one: what belongs to one track is not kept"


def are_videos(files: JsonFrames | Source) -> bool:
    """Whether all frames are of a video, and numbered."""
    if isinstance(files, JsonFrames):
        return len(files) > 0 and None not in files.videos and None not in files.positions
    members = files.with_suffix(".png")
    return bool(members) and all(_OF_VIDEO.search(member) for member in members)


def held_by(files: JsonFrames | Source) -> Held:
    """What frames of JSON files, or PNG files, hold."""
    return _of_frames(files) if isinstance(files, JsonFrames) else _of_masks(files)


def refuse_other_task(task: str, *sides: JsonFrames | Source, stills: bool = False) -> None:
    """Refuse files that are of another task, where that can be told from some of them.

    Args:
        task: The task that is asked for.
        sides: Frames of JSON files, or PNG files; ground truth and predictions, or one of them.
        stills: One side: frames of videos are of another task, too, although they hold what others do.

    Raises:
        MissingError: One side is of another task.
    """
    found = [held_by(side) for side in sides]
    if len(found) == 1:
        # So many frames with objects, and never two of a class, are not panoptic.
        found.append(Held(set(), set(), several=found[0].objects, videos=not stills))
    for side, held, other in zip(sides, found, reversed(found), strict=False):
        tasks = held.tasks
        if held.videos and not other.videos:
            tasks = tasks & set(TRACKED) or tasks
        # Two tasks may share their classes; then the other side tells.
        if tasks >= {"sem_seg", "pan_seg"} and other.several >= _ENOUGH and not held.several:
            tasks = tasks - {"pan_seg"}
        # Nothing but road, sidewalk and building would be seen.
        alone = len(sides) == 1 and held.masks >= _ENOUGH
        if held.what == set(range(len(CLASS_SETS["drivable"]))) and (other.what - held.what or alone):
            tasks = tasks - {"sem_seg"}
        path = side.source.path if isinstance(side, JsonFrames) else side.path
        if tasks and task not in tasks:
            fitting = " or ".join(name for name in TASKS if name in tasks)
            strange = sorted(map(str, held.what - set((_MASKED | _BOXED).get(task, held.what))))[:3]
            fitting += f" ({', '.join(strange)})" if strange and isinstance(side, JsonFrames) else ""
            raise MissingError(
                f"{path} holds labels of {fitting}, not of {task}",
                hint="give another file, or its task with -t where this command has it",
            )
        names = (_MASKED | _BOXED).get(task)
        if held.what and not tasks and names and isinstance(side, JsonFrames) and not held.what & set(names):
            others = ", ".join(sorted(map(str, held.what - {None}))[:3])
            raise MissingError(
                f"{path} has no category of {task}"
                + (f", but {others}" if others else ": its labels have none"),
                hint="known are " + ", ".join(CLASS_SETS.get(task, INS_SEG).names),
            )


def _spread(count: int, most: int) -> Iterable[int]:
    return range(0, count, -(-count // most)) if count else ()


def _of_frames(frames: JsonFrames) -> Held:
    found: list[_AnyFrame] = [frames.decode(at, _DECODER) for at in _spread(len(frames), LOOKED_AT)]
    labels = [label for frame in found for label in frame.labels or ()]
    names = {label.category for label in labels}
    tasks: set[str] = set()
    if any(label.has("graph") for label in labels):
        tasks = {"pose"}
    elif labels:
        known = _MASKED if any(label.has("rle", "poly2d") for label in labels) else {}
        known = known | (_BOXED if any(label.has("box2d") for label in labels) else {})
        tasks = {task for task, theirs in known.items() if names <= set(theirs)}
    elif found and all(f.labels is None and TAGS.keys() & (f.attributes or {}).keys() for f in found):
        tasks = {"tagging"}
    counts = [Counter(label.category for label in frame.labels or ()) for frame in found]
    most = [max((count for name, count in each.items() if name in _THINGS), default=0) for each in counts]
    several = sum(count > 1 for count in most)
    # All classes of sem_seg are among the panoptic ones, so a stray category does not make it panoptic.
    semantic = sum(set(each) <= set(_MASKED["sem_seg"]) for each in counts)
    if "pan_seg" in tasks and several < _ENOUGH and 2 * semantic > len(counts):
        tasks.add("sem_seg")
    return Held(tasks, names, several, sum(count > 0 for count in most), are_videos(frames))


def _of_masks(source: Source) -> Held:
    members = source.with_suffix(".png")
    values: list[set[int]] = []
    kinds: set[bool] = set()
    several = 0
    for at in _spread(len(members), _MASKS):
        content, path = source.read(members[at]), source.where(members[at])
        try:
            header = check_label(content, path)
            if header.depth != 8 or header.colour not in (GREY, PALETTE, RGBA):
                return Held(set(), set())
            kinds.add(header.colour == RGBA)
            if header.colour == RGBA:
                pixels = np.ascontiguousarray(decode_bitmask(content, path)[::4, ::4]).view("<u4")
                objects = np.unique(pixels & 0xFFFF00FF) & 0xFF
                several += bool((np.bincount(objects)[1:] > 1).any())
                values.append(set(objects.tolist()))
            else:
                held = np.bincount(decode_mask(content, path)[0].ravel()).nonzero()[0]
                values.append(set(held.tolist()) - {IGNORED})
        except MissingError:
            return Held(set(), set())  # scoring says what is wrong with it
    what = set().union(*values)
    if len(kinds) != 1 or not what - {0}:
        return Held(set(), what)
    if False in kinds:
        allowed = {task: range(len(CLASS_SETS[task])) for task in ("sem_seg", "drivable")}
    else:
        allowed = {task: range(len(CLASS_SETS[task]) + 1) for task in BITMASK_TASKS}
        allowed["seg_track"] = allowed[INS_SEG.task]
        # In panoptic maps these values are classes without single objects.
        if several and max(what) <= len(INS_SEG):
            del allowed["pan_seg"]
    # A stray value does not make a set another one.
    return Held(
        {task for task, theirs in allowed.items() if any(held <= set(theirs) for held in values)},
        what,
        several,
        videos=are_videos(source),
        masks=len(values) if False in kinds else 0,
    )
