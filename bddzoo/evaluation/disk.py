"""Scores of prediction files: folders, archives and JSON files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.classes import DET, DRIVABLE, INS_SEG, PAN_SEG, SEM_SEG, TASKS, TRACKED
from bddzoo.datasets.formats.frames import Frames, JsonFrames
from bddzoo.datasets.formats.other_task import refuse_other_task
from bddzoo.datasets.native import native
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation.det_frames import DetWork
from bddzoo.evaluation.jobs import FrameResult, FrameWarnings, listing, raise_all, run_batches, run_jobs
from bddzoo.evaluation.metrics.detection import (
    DetAccumulator,
    InsSegAccumulator,
    MatchAccumulator,
    PoseAccumulator,
)
from bddzoo.evaluation.metrics.panseg import PanSegAccumulator
from bddzoo.evaluation.metrics.scores import RLE_NAMES
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator
from bddzoo.evaluation.options import JSON_TASKS, Accumulator, Evaluation, Options
from bddzoo.evaluation.pairing import pair_frames, pair_masks
from bddzoo.evaluation.prediction_files import open_frames, prediction_files
from bddzoo.evaluation.rle_frames import PanRleWork, RleWork

if TYPE_CHECKING:
    from bddzoo.evaluation.metrics.errors import ErrorAccumulator

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "sem_seg": SEM_SEG.names,
    "drivable": DRIVABLE.names[:2],
    "ins_seg": INS_SEG.names,
    "det": DET.names,
}
SILENT = {"drivable": frozenset({"background"})}
# Remarks after which the toolkit's number is another one.
DIFFERING = ("suffix", "stuff")


ALL_WRONG = "the official toolkit takes frames without a prediction for all wrong"
ADDED_UP = "the official toolkit adds masks of a stuff class up, and encodes sums as ends of runs"
ODD_KINDS = "the official toolkit does not compare PNG files with JSON"
# How bitmasks and RLE differ where one is compared with the other.
AS_RLE = {
    "ins_seg": "bitmasks and RLE are compared as RLE: detections on crowd objects are forgiven, while "
    "between bitmasks a crowd is an ordinary object",
    "pan_seg": "bitmasks and RLE are compared as RLE: all pieces of a stuff class are one segment, and crowd "
    "is left out on both sides",
}


def evaluate(
    task: str,
    gt: Path,
    pred: Path,
    *,
    score_file: Path | None = None,
    options: Options | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score prediction files against ground truth files.

    Args:
        task: One of `TASKS`.
        gt: Ground truth: a folder of PNGs, an RLE JSON file, a folder of JSON files, or a zip.
        pred: Predictions: PNGs or RLE JSON; ins_seg also COCO JSON, on either side.
        score_file: ins_seg from bitmasks: scores of the instances.
        options: How strictly.
        progress: Called with frames done and frames in all.

    Returns:
        Scores, statistics of each frame, and warnings.

    Raises:
        UsageError: Unknown task.
        MissingError: Anything that cannot be scored; every bad file is named.
    """
    if task not in TASKS:
        raise UsageError(f"unknown task {task!r}", hint="known are " + ", ".join(TASKS))
    chosen = options or Options()
    if task == "tagging":
        from bddzoo.evaluation.tagging import evaluate_tags

        return evaluate_tags(gt, pred, chosen)
    run = _Run(task, open_source(gt), open_source(pred), score_file, chosen, progress)
    result = run.tracks() if task in TRACKED else run.masks() if run.from_masks() else run.json()
    if chosen.official or result.source == "coco":
        return result
    if run.mixed or result.skipped or any(k in run.remarks.places for k in DIFFERING):
        strict = replace(chosen, official=True, allow_partial=False, lenient=False, errors=False)
        try:
            result.official = evaluate(task, gt, pred, score_file=score_file, options=strict).scores
        except MissingError as error:
            result.official_note = f"the official toolkit gives no number: {error.message}"
        else:
            note = ALL_WRONG if result.skipped or "stuff" not in run.remarks.places else ADDED_UP
            result.official_note = ODD_KINDS if run.mixed else note
    return result


class _Run:
    """One evaluation: what is read, how, and what was remarked."""

    def __init__(
        self,
        task: str,
        gt: Source,
        pred: Source,
        score_file: Path | None,
        options: Options,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.task, self.gt, self.pred = task, gt, pred
        self.score_file, self.options, self.progress = score_file, options, progress
        self.remarks = FrameWarnings()
        self.files = prediction_files(task, pred, options, self.remarks, scores_elsewhere=bool(score_file))
        self.skipped: list[str] = []
        self.mixed = False
        self.unit = "video" if task in TRACKED else "frame"
        self.errors: ErrorAccumulator | None = None
        if options.errors:
            from bddzoo.evaluation.metrics.errors import ErrorAccumulator

            self.errors = ErrorAccumulator(CLASS_NAMES.get(task, ()))

    # From PNG files.

    def from_masks(self) -> bool:
        """Whether PNG files are compared with PNG files."""
        png = not self.files.json and self.task not in JSON_TASKS
        return png and bool(self.options.official or self.gt.with_suffix(".png"))

    def masks(self) -> Evaluation:
        """Score PNG files."""
        by_name = self.options.official and self.task == "ins_seg"
        self._same_task(self.gt, self.pred)
        pairs, missing = pair_masks(self.gt, self.pred, self.options, self.remarks, by_name=by_name)
        if self.task == "ins_seg" and missing:
            pairs = self._without(pairs, missing)
        else:
            pairs = self._scored(pairs, missing, lambda name: str(self.gt.where(name)))
        if self.task == "ins_seg":
            return self._instances(pairs)
        names = CLASS_NAMES.get(self.task)
        from bddzoo.evaluation.mask_frames import MaskWork

        work = MaskWork(self.gt, self.pred, len(names or PAN_SEG), self.options, self.task)
        if names is None:
            panoptic = PanSegAccumulator()
            self._collect(work.panoptic, pairs, panoptic.add)
            return self._finish(panoptic, "bitmasks")
        semantic = SemSegAccumulator(names, self.task)
        self._collect(work.semantic, pairs, semantic.add)
        return self._finish(semantic, "masks")

    def _instances(self, pairs: list[Any]) -> Evaluation:
        frames = self._score_frames()
        index = {n.replace(".jpg", ".png"): i for i, n in enumerate(frames.names)}
        if len(index) < len(frames) and not self.options.official:
            raise MissingError(f"{self._score_path()} lists a frame more than once")
        if not self.options.official:
            # Bare names differ from PNG names by nothing else than a suffix.
            index = {n if n.endswith(".png") else n + ".png": i for n, i in index.items()}
        names = [PurePosixPath(p.pred).name for p in pairs]
        for name in () if self.options.official else names:
            plain = f"{PurePosixPath(name).stem}.png"
            if name not in index and plain in index:  # a.PNG
                index[name] = index.pop(plain)
        absent = [n for n in names if n not in index]
        if absent and not self.options.allow_partial:
            raise MissingError(f"{self._score_path()} has no scores for {listing(absent)}")
        if absent:
            self.skipped += absent
            pairs = [p for p, n in zip(pairs, names, strict=True) if n in index]
        extra = index.keys() - set(names)
        for name in sorted(extra):
            self.remarks.add("extra-scores", name)
        from bddzoo.evaluation.mask_frames import MaskWork

        work = MaskWork(self.gt, self.pred, len(INS_SEG), self.options, self.task, frames, index)
        scores = InsSegAccumulator(INS_SEG.names)
        self._collect(work.instances, pairs, scores.add)
        return self._finish(scores, "bitmasks")

    def _score_path(self) -> Path:
        if self.files.scores:
            return self.pred.where(self.files.scores)
        return self.score_file or Path()

    def _score_frames(self) -> JsonFrames:
        if self.files.scores:
            frames = JsonFrames(self.pred, [self.files.scores])
        elif self.score_file:
            source = open_source(self.score_file)
            frames = JsonFrames(source, source.members)
        else:
            raise MissingError(
                f"{self.pred.path} holds bitmasks, which carry no scores", hint="give them with --score-file"
            )
        if not frames.bare:
            where = str(self._score_path())
            self.remarks.extend(
                self.options.crashes("frames-key", where, "a score file is a list of frames, not an object")
            )
        return frames

    # From JSON files.

    def json(self) -> Evaluation:
        """Score frames with RLE labels, or masks against them."""
        official = self.options.official
        gt = open_frames(self.gt, self.task, official=official)
        pred = open_frames(
            self.pred, self.task, score_file=self.score_file, scored=True, truth=gt, official=official
        )
        self._same_task(gt, pred)
        self.mixed = "masks" in (gt.kind, pred.kind)
        coco = "coco" in (gt.kind, pred.kind)
        pairs, missing = pair_frames(gt, pred, self.options, self.remarks)
        pairs = self._scored(pairs, missing, str)
        self._empty(gt, pred)
        if self.task == "pan_seg":
            panoptic = PanSegAccumulator()
            self._collect(PanRleWork(gt, pred, self.options).panoptic, pairs, panoptic.add)
            result = self._finish(panoptic, "rle")
            result.scores = replace(result.scores, renamed=RLE_NAMES)
            return result
        if self.task == "det":
            return self._boxes(gt, pred, pairs, "coco" if coco else "boxes")
        if self.task == "pose":
            return self._poses(gt, pred, pairs)
        names = CLASS_NAMES[self.task]
        silent = SILENT.get(self.task, frozenset())
        work = RleWork(gt, pred, names, self.options, silent, official_input=not self.mixed)
        if self.task == "ins_seg":
            instances = MatchAccumulator(names)
            self._collect(work.instances, pairs, instances.add, work.batch)
            result = self._finish(instances, "coco" if coco else "rle")
            result.scores = instances.as_json(result.scores)
            return result
        semantic = SemSegAccumulator(names, self.task)
        self._collect(work.semantic, pairs, semantic.add)
        return self._finish(semantic, "rle")

    def _boxes(self, gt: Frames, pred: Frames, pairs: list[Any], source: str) -> Evaluation:
        work, boxes = DetWork(gt, pred, self.options), DetAccumulator(DET.names)
        self._collect(work.boxes, pairs, boxes.add, work.batch)
        self.remarks.extend(work.about_corners())
        result = self._finish(boxes, source)
        result.scores = boxes.as_json(result.scores)
        return result

    def _poses(self, gt: Any, pred: Any, pairs: list[Any]) -> Evaluation:
        from bddzoo.evaluation.pose_frames import CLASSES, PoseWork, boxes_decide

        work = PoseWork(gt, pred, self.options, boxes_decide(pred, pairs))
        poses = PoseAccumulator(CLASSES)
        self._collect(work.poses, pairs, poses.add)
        work.check()
        result = self._finish(poses, "poses")
        result.scores = poses.as_json(result.scores)
        return result

    def _empty(self, gt: Frames, pred: Frames) -> None:
        """Say where not one frame of a side has a label."""
        for kind, side in (("nothing", pred), ("nothing-true", gt)):
            if isinstance(side, JsonFrames) and not any(side.frame(at).labels for at in range(len(side))):
                self.remarks.add(kind, str(side.source.path))

    def _same_task(self, *sides: Any) -> None:
        """Refuse files of another task; of COCO's the reader has done that."""
        if self.options.official or any(getattr(side, "kind", "") == "coco" for side in sides):
            return
        gt, pred = (side.source if getattr(side, "kind", "") == "masks" else side for side in sides)
        refuse_other_task(self.task, gt, pred)

    # Videos.

    def tracks(self) -> Evaluation:
        """Score videos of JSON frames or bitmasks."""
        from bddzoo.evaluation import track_frames as tracks
        from bddzoo.evaluation.metrics.tracking import TrackAccumulator

        work: tracks.TrackWork
        if self.from_masks():
            work, source = tracks.MaskTracks(self.gt, self.pred, self.options), "bitmasks"
            self._same_task(self.gt, self.pred)
            gt, pred = (tracks.videos_of_masks(side) for side in (self.gt, self.pred))
        else:
            sides: list[Any] = [
                open_frames(s, self.task, official=self.options.official) for s in (self.gt, self.pred)
            ]
            self._same_task(*sides)
            self.mixed = any(side.kind == "masks" for side in sides)
            gt, pred = (tracks.videos_of_frames(side, by_name=self.mixed) for side in sides)
            self._empty(*sides)
            boxes = self.task == "box_track"
            source = "boxes" if boxes else "rle"
            work = (tracks.BoxTracks if boxes else tracks.RleTracks)(sides[0], sides[1], self.options)
        where = (self.gt.path, self.pred.path)
        pairs, missing = tracks.pair_videos(gt, pred, self.options, self.remarks, where)
        pairs = self._scored(pairs, missing, "video {}".format)
        accumulator = TrackAccumulator(tracks.CLASSES, self.task)
        self._collect(work.video, pairs, accumulator.add)
        if isinstance(work, tracks.BoxTracks):
            work.check()
        return self._finish(accumulator, source)

    # Both.

    def _scored(self, pairs: list[Any], missing: list[str], where: Callable[[str], str]) -> list[Any]:
        """The pairs that are scored; the official mode takes those without a prediction for missed."""
        if not self.options.official:
            return self._without(pairs, missing) if missing else pairs
        for name in missing:
            self.remarks.add("missing", where(name))
        return pairs

    def _without(self, pairs: list[Any], missing: list[str]) -> list[Any]:
        """The pairs that have a prediction."""
        alien = len(missing) == len(pairs)
        if alien or not self.options.allow_partial:
            hint = "--allow-partial scores the rest and says so"
            if alien:
                others = self.remarks.places.get("extra", [])[:1]
                hint = f"{self.unit}s are matched by name" + "".join(
                    f", here they are like {o}" for o in others
                )
            raise MissingError(
                f"{self.pred.path} has no prediction for {len(missing)} of {len(pairs)} {self.unit}s: "
                f"{listing(missing)}",
                hint=hint,
            )
        self.skipped += missing
        return [p for p in pairs if p.pred is not None]

    def _collect(
        self,
        work: Callable[[Any], FrameResult],
        pairs: Sequence[Any],
        add: Callable[[str, Any], None],
        batch: Callable[[Sequence[Any]], Sequence[FrameResult | None]] | None = None,
    ) -> None:
        errors: list[MissingError] = []
        if batch is None or native() is None or self.options.errors:
            found = run_jobs(work, pairs, self.options.workers)
        else:
            found = run_batches(batch, work, pairs, self.options.workers)
        for done, (pair, result) in enumerate(found, 1):
            if isinstance(result, MissingError):
                errors.append(result)
                self.skipped.append(pair.name)
            else:
                add(pair.name, result.stats)
                if self.errors is not None and result.errors is not None:
                    self.errors.add(pair.name, result.errors)
                self.remarks.extend(result.remarks)
            if self.progress:
                self.progress(done, len(pairs))
        if not self.options.allow_partial:
            raise_all(errors, f"{self.unit}s")
        if errors and len(errors) == len(pairs):
            raise errors[0]
        for error in errors:
            self.remarks.add("bad", error.message)

    def _finish(self, accumulator: Accumulator, source: str) -> Evaluation:
        scores = replace(accumulator.compute(), partial=bool(self.skipped))
        warnings = self.remarks.lines()
        if self.mixed and self.task in AS_RLE:
            warnings.append(AS_RLE[self.task])
        if not len(accumulator):
            warnings.append(
                f"not a single frame was scored: {self.gt.path} and {self.pred.path} differ in kind"
            )
        return Evaluation(scores, accumulator, source, warnings, self.skipped, errors=self.errors)
