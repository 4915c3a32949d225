"""Opening label files: what they are is told from what they look like."""

from __future__ import annotations

from pathlib import Path

from bddzoo.datasets.classes import DRIVABLE, INS_SEG, PAN_SEG, SEM_SEG
from bddzoo.datasets.openseg.names import LABEL_IDS, TRAIN_IDS, of_kind
from bddzoo.datasets.png import RGBA
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation.decode import decode_bitmask, header_of
from bddzoo.evaluation.frames import JsonFrames
from bddzoo.evaluation.json_index import OutlineError, frame_regions
from bddzoo.evaluation.rle_frames import INS_ALIASES, INS_IGNORED
from bddzoo.evaluation.sources import Source, open_source
from bddzoo.reports.pictures.json_labels import CocoLabels, RleLabels
from bddzoo.reports.pictures.labels import SEMANTIC, LabelSet
from bddzoo.reports.pictures.png_labels import PngLabels

# Frames that are looked at to learn which task RLE labels are of.
LOOKED_AT = 50
# Classes of panoptic segmentation that no other task has; the rest may be semantic classes, too.
ONLY_PANOPTIC = frozenset(PAN_SEG.names) - {*SEM_SEG.names, *INS_SEG.names, *INS_IGNORED, *INS_ALIASES}


def open_labels(path: Path, task: str | None = None, score_file: Path | None = None) -> LabelSet:
    """Open labels or predictions.

    Args:
        path: Folder or archive of PNGs (class maps, colour maps, bitmasks), or JSON (RLE, COCO).
        task: A task, or one of openseg.pytorch's data sets, whose label files hold its own ids. Told by the
            files where None; class maps of others than BDD100K's sem_seg cannot be told.
        score_file: Scores of the instances of bitmasks; looked for beside them where None.

    Raises:
        MissingError: Nothing there that is labels.
        UsageError: The task does not come in such files.
    """
    source = open_source(path)
    pngs, texts = source.with_suffix(".png"), source.with_suffix(".json")
    if pngs:
        pngs, task = _published(path, pngs, task)
        header = header_of(source.read(pngs[0]), source.where(pngs[0]))
        objects = header.colour == RGBA and header.depth == 8
        chosen = task or (_object_task(source, pngs[0]) if objects else "sem_seg")
        found = PngLabels(source, chosen, pngs, score_file)
        if objects == (chosen in SEMANTIC):
            # The wrong kind of files is said once, not for each of them; colour maps may be RGBA.
            found.read(found.keys[0])
        return found
    if not texts:
        raise MissingError(f"{path} has no labels: neither PNG nor JSON files")
    try:
        frame_regions(source.chunks(texts[0], 1 << 22))
    except OutlineError:
        try:
            return CocoLabels(source, task or "ins_seg")
        except MissingError as error:
            raise MissingError(
                f"{source.where(texts[0])} is neither a list of frames nor a COCO file", hint=error.message
            ) from None
    frames = JsonFrames(source, texts)
    _require_masks(frames)
    return RleLabels(source, task or _task_of(frames), frames)


def _published(path: Path, pngs: list[str], task: str | None) -> tuple[list[str], str | None]:
    """Of Cityscapes' published folders the files that hold the task, and the task; else all, as given.

    Raises:
        UsageError: The folder has no files of the task.
    """
    ids, trained = of_kind(pngs, LABEL_IDS), of_kind(pngs, TRAIN_IDS)
    if ids and task in (None, "cityscapes"):
        return ids, "cityscapes"
    # Their train ids are the classes of BDD100K, in the same order.
    if trained and task in (None, "sem_seg"):
        return trained, "sem_seg"
    if ids or trained:
        held = " and ".join(
            f"{tail[1:]} ({found})"
            for tail, found, files in ((LABEL_IDS, "cityscapes", ids), (TRAIN_IDS, "sem_seg", trained))
            if files
        )
        raise UsageError(f"{path} holds no labels of {task} but {held}", hint="leave out -t")
    return pngs, task


def _object_task(source: Source, member: str) -> str:
    bitmask = decode_bitmask(source.read(member), source.where(member))
    return "ins_seg" if bitmask[..., 0].max(initial=0) <= len(INS_SEG) else "pan_seg"


def _require_masks(frames: JsonFrames) -> None:
    """Refuse boxes and scores: drawn as masks they would be nothing at all.

    Raises:
        MissingError: The first frames with labels have not one mask.
    """
    labels = [label for at in range(min(len(frames), LOOKED_AT)) for label in frames.frame(at).labels or []]
    if labels and not any(label.rle or label.poly2d for label in labels):
        raise MissingError(
            f"{frames.source.path} holds no masks", hint="boxes and scores alone cannot be drawn"
        )


def _task_of(frames: JsonFrames) -> str:
    """Task of RLE labels, by what their categories are called."""
    found = "ins_seg"
    for at in range(min(len(frames), LOOKED_AT)):
        for label in frames.frame(at).labels or []:
            if label.category in DRIVABLE.names:
                return "drivable"
            if label.category in ONLY_PANOPTIC:
                return "pan_seg"
            if label.category in SEM_SEG.names[:11]:
                found = "sem_seg"
    return found
