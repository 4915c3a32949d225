"""Of which kind a prediction set's files are, and which of them holds what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from bddzoo.datasets.sources import Source, ZipSource
from bddzoo.errors import MissingError
from bddzoo.evaluation.frame_warnings import FrameWarnings
from bddzoo.evaluation.jobs import listing
from bddzoo.evaluation.options import Options

# The zoo's own script writes boxes next to bitmasks and their scores; see `bddzoo.evaluation.boxfile`.
DETECTIONS = "det.json"


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
    junk = [] if isinstance(pred, ZipSource) else pred.junk
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
    if pngs and texts and task == "ins_seg" and not scores_elsewhere and isinstance(pred, ZipSource):
        scores = _scores_among(texts)
        texts = [] if scores else texts
    if bool(pngs) == bool(texts):
        raise MissingError(
            f"{pred.path} holds neither only PNG files nor only JSON files: {listing((strays or texts), 3)}",
            hint="move the other files elsewhere",
        )
    if strays:
        where = ", ".join(str(pred.where(m)) for m in strays[:3])
        for kind, place in options.crashes("junk", where, "not a label file; remove it"):
            remarks.add(kind, place)
    return PredictionFiles(bool(texts), scores)


def _scores_among(texts: list[str]) -> str | None:
    """The one JSON file that is not of boxes, which may lie there, too."""
    others = [m for m in texts if PurePosixPath(m).name != DETECTIONS]
    return others[0] if len(others) == 1 else None
