"""Of which kind the files of a set are, which of them holds what, and what opens them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bddzoo.datasets.formats.frames import Frames, JsonFrames, coco_kind
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError
from bddzoo.evaluation.jobs import FrameWarnings, listing
from bddzoo.evaluation.options import JSON_TASKS, Options

# The zoo's own script writes boxes next to bitmasks and their scores.
DETECTIONS = "det.json"
_PACKED = (".gz", ".tgz", ".tar", ".xz", ".bz2", ".zst", ".7z", ".rar")
# Tasks that come in COCO's form, too.
COCO_TASKS = ("ins_seg", "det")


@dataclass(frozen=True)
class PredictionFiles:
    """What a prediction set consists of.

    Attributes:
        json: JSON files rather than PNGs.
        scores: The one JSON file among the bitmasks of an archive that holds their scores, if there is one.
    """

    json: bool
    scores: str | None = None


def prediction_files(
    task: str, pred: Source, options: Options, remarks: FrameWarnings, *, scores_elsewhere: bool
) -> PredictionFiles:
    """Look at the files of a prediction set.

    Args:
        task: What was predicted.
        pred: The predictions.
        options: How strictly.
        remarks: Files that are neither are noted here.
        scores_elsewhere: The scores of bitmasks are in a file that was named.

    Raises:
        MissingError: There are no files, or neither only PNGs nor only JSON files.
    """
    members = list(pred.members)
    junk = [] if pred.packed else pred.junk
    if options.official and not members and not junk:
        # So the toolkit does: no file is "only JSON files".
        return PredictionFiles(json=True)
    if not members:
        raise MissingError(f"{pred.path} has no files to score")
    pngs, texts = pred.with_suffix(".png"), pred.with_suffix(".json")
    if options.official:
        pngs, texts = ([m for m in found if m.endswith((".png", ".json"))] for found in (pngs, texts))
    strays = sorted(set(members) - set(pngs) - set(texts)) + junk
    scores = None
    if pngs and texts and task == "ins_seg" and not scores_elsewhere and pred.packed:
        scores = _scores_among(texts)
        texts = [] if scores else texts
    if bool(pngs) == bool(texts):
        hint = (
            "move the other files elsewhere"
            if pngs
            else f"{task} comes as {'JSON' if task in JSON_TASKS else 'PNG or JSON'}"
        )
        if not pngs and (pred.with_suffix(".png") or pred.with_suffix(".json")):
            hint = "the toolkit takes .png and .json in small letters"
        if not pngs and any(m.lower().endswith(_PACKED) for m in strays):
            hint = "unpack it: only zip archives are read as they are"
        what = "both PNG and" if pngs else "neither PNG nor"
        raise MissingError(f"{pred.path} holds {what} JSON files: {listing((strays or texts), 3)}", hint=hint)
    if strays:
        where = ", ".join(str(pred.where(m)) for m in strays[:3])
        for kind, place in options.crashes("junk", where, "not a label file; remove it"):
            remarks.add(kind, place)
    return PredictionFiles(bool(texts), scores)


def _scores_among(texts: list[str]) -> str | None:
    """The one JSON file that is not of boxes, which may lie there, too."""
    others = [m for m in texts if PurePosixPath(m).name != DETECTIONS]
    return others[0] if len(others) == 1 else None


def find_detections(predictions: Path) -> tuple[Source, str] | None:
    """The file of detections of a prediction set: in the folder or archive, or next to the folder.

    Returns:
        Where it is and its name there, or None.

    Raises:
        MissingError: There is no such prediction set, or several files are meant.
    """
    source = open_source(predictions)
    if (
        predictions.is_dir()
        and DETECTIONS not in source.members
        and (predictions.parent / DETECTIONS).is_file()
    ):
        return open_source(predictions.parent / DETECTIONS), DETECTIONS
    found = [m for m in source.members if PurePosixPath(m).name == DETECTIONS]
    if len(found) > 1:
        raise MissingError(f"{predictions} holds several files of detections: {listing(found, 3)}")
    return (source, found[0]) if found else None


def json_members(source: Source) -> list[str]:
    """JSON files of labels.

    The toolkit looks for them in the folder itself only; archives often nest one folder.
    """
    found = source.with_suffix(".json")
    return found if source.packed else [m for m in found if "/" not in m]


def open_frames(
    source: Source,
    task: str,
    *,
    score_file: Path | None = None,
    scored: bool = False,
    truth: Frames | None = None,
    official: bool = False,
) -> Frames:
    """Frames of one side.

    Args:
        source: Its files.
        task: What they are of.
        score_file: Scores of the instances of bitmasks.
        scored: Whether they are predictions.
        truth: Frames of the ground truth; a list of COCO results takes its images from them.
        official: Read nothing that the official toolkit does not.

    Raises:
        MissingError: There are no such files, or they are of another kind than the task's.
    """
    members = json_members(source)
    if not members and source.with_suffix(".png") and not official:
        if task in JSON_TASKS:
            what = "poses" if task == "pose" else "boxes"
            raise MissingError(f"{source.path} has no JSON files", hint=f"{what} come as JSON")
        from bddzoo.evaluation.label_frames import MaskFrames

        return MaskFrames(source, task, score_file, scored=scored and task == "ins_seg")
    kind = coco_kind(source, members[0]) if len(members) == 1 else ""
    if not kind:
        return JsonFrames(source, members)
    where = source.where(members[0])
    if official:
        raise MissingError(
            f"{where} is COCO JSON, which the official toolkit does not read",
            hint="'bddzoo convert-labels --to rle' makes what it reads",
        )
    if task not in COCO_TASKS:
        raise MissingError(f"{where} is COCO JSON, which holds instances, not {task}", hint="give another -t")
    from bddzoo.datasets.formats.coco import CocoFrames

    return CocoFrames(source, members[0], truth if isinstance(truth, CocoFrames) else None)
