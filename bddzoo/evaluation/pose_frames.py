"""Poses scored: a pair of frames whose labels have joints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.formats.boxes import Box2d, Flags, class_of, flag_bits, xywh_of
from bddzoo.datasets.formats.frames import JsonFrames, Pixel
from bddzoo.datasets.formats.labels import NEUTRAL
from bddzoo.errors import MissingError
from bddzoo.evaluation.det_frames import check_reach
from bddzoo.evaluation.jobs import FrameResult
from bddzoo.evaluation.metrics.detection import JOINTS, MOST_PEOPLE, oks
from bddzoo.evaluation.metrics.matching import Candidates, match_frame
from bddzoo.evaluation.options import Options
from bddzoo.evaluation.pairing import FramePair

CLASSES = ("pedestrian",)
_KINDS: dict[str | None, tuple[int, bool]] = {CLASSES[0]: (0, False)}
_VISIBLE = {"V": 2.0, "N": 1.0}


class _Node(msgspec.Struct, gc=False):
    location: Annotated[list[Pixel], msgspec.Meta(min_length=2, max_length=3)]
    category: str = ""
    visibility: str | None = None
    score: float | None = None


class _Graph(msgspec.Struct, gc=False):
    nodes: list[_Node]
    type: str | None = None


class _PoseLabel(msgspec.Struct, gc=False):
    category: str | None = None
    box2d: Box2d | None = None
    score: float | None = None
    attributes: Flags | None = None
    graph: _Graph | None = None


def boxes_decide(frames: JsonFrames, pairs: Iterable[FramePair]) -> bool:
    """Whether predicted areas are those of boxes and not of the joints' extent: the first pose decides."""
    for pair in sorted(pairs, key=lambda p: p.name):
        for label in [] if pair.pred is None else frames.labels(pair.pred, _PoseLabel):
            if label.graph is not None:
                return label.box2d is not None
    return False


@dataclass(frozen=True)
class PoseWork:
    """Scores pairs of frames with poses.

    Attributes:
        gt: Ground truth.
        pred: Predictions.
        options: How strictly.
        boxed: See `boxes_decide`.
    """

    gt: JsonFrames
    pred: JsonFrames
    options: Options
    boxed: bool
    # Names of joints that have been met, first those of the ground truth.
    _names: list[tuple[str, ...]] = field(default_factory=list)
    _reach: dict[str, list[float]] = field(default_factory=lambda: {"gt": [], "pred": []})

    def poses(self, pair: FramePair) -> FrameResult:
        """`FrameMatches` of two frames, as COCO matches joints."""
        remarks: list[tuple[str, str]] = []
        people, joints = self._read(self.gt, pair.gt, "gt")
        where = self.gt.where(pair.gt)
        if any(label.box2d is None for label in people):
            raise MissingError(
                f"{where}: a person without a box2d", hint="its area says how near joints must be"
            )
        boxes = xywh_of(label.box2d for label in people)
        ignored = np.array([_ignored(label) for label in people], np.bool_)
        found: list[_PoseLabel] = []
        moved = np.zeros((0, JOINTS, 3))
        if pair.pred is not None:
            found, moved = self._read(self.pred, pair.pred, "pred")
            where = self.pred.where(pair.pred)
            self._check(found, where)
        scores = np.array([label.score for label in found], np.float64)
        best = np.argsort(-scores, kind="stable")[:MOST_PEOPLE]
        if len(scores) > MOST_PEOPLE:
            remarks.append(("cut-people", where))
        if self.boxed:
            areas = xywh_of(label.box2d for label in found)[:, 2:].prod(axis=1)
        else:
            areas = (
                moved[..., :2].max(axis=1, initial=-np.inf) - moved[..., :2].min(axis=1, initial=np.inf)
            ).prod(axis=1)
        candidates = Candidates(
            oks(moved[best, :, :2], joints, boxes),
            scores[best],
            np.zeros(len(best), np.int64),
            areas[best],
            np.zeros(len(people), np.int64),
            boxes[:, 2] * boxes[:, 3],
            ignored,
            ignored,
        )
        return FrameResult(match_frame(candidates, classes=len(CLASSES), coco=True), remarks)

    def check(self) -> None:
        """What the joints of all frames tell; call it at the end.

        Raises:
            MissingError: One side is in pixels, the other in shares of the image.
        """
        if not self.options.official:
            check_reach(self._reach, self.gt, self.pred, "joint")

    def _read(self, frames: JsonFrames, at: int, side: str) -> tuple[list[_PoseLabel], NDArray[np.float64]]:
        """Labels with joints, and x, y and visibility of those (N, 18, 3)."""
        where = frames.where(at)
        labels = frames.labels(at, _PoseLabel)
        for label in labels:
            class_of(label.category, where, _KINDS)
            if label.graph is None and side == "pred" and not self.options.official:
                raise MissingError(
                    f"{where}: a prediction without joints", hint="they are the nodes of a label's graph"
                )
        people = [label for label in labels if label.graph is not None]
        joints = np.zeros((len(people), JOINTS, 3))
        for number, label in enumerate(people):
            assert label.graph is not None
            if len(label.graph.nodes) != JOINTS:
                raise MissingError(f"{where}: a pose of {len(label.graph.nodes)} joints, not {JOINTS}")
            if not self.options.official:
                self._same_order(tuple(node.category for node in label.graph.nodes), where)
            known = _VISIBLE if (label.graph.type or "").startswith("Pose2D") else {}
            joints[number] = [
                (*n.location[:2], known.get(n.visibility or "", 0.0) if n.score is None else n.score)
                for n in label.graph.nodes
            ]
        if people:
            self._reach[side].append(float(joints[..., :2].max()))
        return people, joints

    def _same_order(self, names: tuple[str, ...], where: str) -> None:
        """Refuse a joint that is elsewhere in the poses that came before; names alone may differ."""
        if names in self._names:
            return
        for other in self._names:
            for name in set(names) & set(other):
                if names.index(name) != other.index(name):
                    here, there = names.index(name) + 1, other.index(name) + 1
                    raise MissingError(
                        f"{where}: joint {name!r} is number {here}, and {there} in other poses",
                        hint="joints are compared by their order, whatever they are called",
                    )
        self._names.append(names)

    def _check(self, found: list[_PoseLabel], where: str) -> None:
        for label in found:
            if label.score is None or not np.isfinite(label.score):
                raise MissingError(f"{where}: a pose without a score")
            if self.boxed and label.box2d is None:
                raise MissingError(
                    f"{where}: a pose without a box2d, where others have one",
                    hint="the area of a prediction is that of its box, or of its joints where none has a box",
                )


def _ignored(label: _PoseLabel) -> bool:
    return label.attributes is not None and flag_bits(label.attributes) & NEUTRAL > 0
