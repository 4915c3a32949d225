"""Statistics of single frames as bytes: compact enough to be kept next to a result.

With them, intervals can be made later, slices cut, and two prediction sets compared frame by frame,
without the predictions. About 100 bytes a frame for class maps, 10 bytes a detection for instances.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bddzoo.errors import MissingError
from bddzoo.evaluation.metrics.detection import (
    BoxAccumulator,
    DetAccumulator,
    InsSegAccumulator,
    MatchAccumulator,
    PoseAccumulator,
)
from bddzoo.evaluation.metrics.matching import FrameMatches, all_detections
from bddzoo.evaluation.metrics.panseg import PanSegAccumulator
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator
from bddzoo.evaluation.metrics.tracking import TrackAccumulator
from bddzoo.evaluation.options import Accumulator
from bddzoo.reading import array_errors, read_arrays

if TYPE_CHECKING:
    import numpy.typing as npt

VERSION = 1
_BOXES: dict[str, type[MatchAccumulator]] = {k.task: k for k in (DetAccumulator, PoseAccumulator)}


def dump(accumulator: Accumulator) -> bytes:
    """Statistics of all frames as a compressed NumPy archive (`numpy.load` reads it)."""
    head: dict[str, object] = {"version": VERSION, "classes": list(accumulator.class_names)}
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
    if isinstance(accumulator, SemSegAccumulator):
        head |= {"kind": "semseg", "task": accumulator.task}
        if accumulator.rule != "bdd100k":
            head["rule"] = accumulator.rule
        # Pixels of one frame fit in 32 bits, and so do their sums in 64.
        arrays = {"counts": accumulator.per_frame().astype(np.int32), "matrix": accumulator.matrix}
    elif isinstance(accumulator, PanSegAccumulator):
        head |= {"kind": "panseg", "stuff": accumulator.stuff}
        arrays = {"counts": accumulator.per_frame()}
    elif isinstance(accumulator, TrackAccumulator):
        head |= {"kind": "tracks", "task": accumulator.task}
        arrays = {"counts": accumulator.per_frame()}
    else:
        head |= {"kind": "boxes" if accumulator.prefix else "instances"}
        if accumulator.task in _BOXES:
            head["task"] = accumulator.task
        frames = accumulator.per_frame()
        classes, scores, hits, ignored = all_detections(frames)
        arrays = {
            "sizes": np.array([f.classes.size for f in frames], np.int32),
            "detections": classes,
            "scores": scores,
            "hits": hits,
            "ignored": ignored,
            "positives": np.array([f.positives for f in frames], np.int32),
            "present": np.array([f.present for f in frames], np.bool_),
        }
    head["names"] = accumulator.names
    out = io.BytesIO()
    text = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez_compressed(out, head=text, **arrays)  # type: ignore[arg-type,unused-ignore]
    return out.getvalue()


def load(content: bytes) -> Accumulator:
    """The accumulator that `dump` was given; it can go on accumulating.

    Raises:
        MissingError: Not such bytes.
    """
    try:
        arrays = read_arrays(io.BytesIO(content))
        return _restore(json.loads(arrays["head"].tobytes()), arrays)
    except array_errors(AttributeError, RecursionError) as error:
        raise MissingError(f"no statistics of frames: {type(error).__name__}: {error}") from None


def _restore(head: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Accumulator:
    names, classes = head["names"], head["classes"]
    if head["kind"] == "semseg":
        semantic = SemSegAccumulator(classes, head["task"], head.get("rule", "bdd100k"))
        semantic.restore(names, arrays["counts"].astype(np.int64), arrays["matrix"])
        return semantic
    if head["kind"] in ("panseg", "tracks"):
        summed: PanSegAccumulator | TrackAccumulator
        panoptic = head["kind"] == "panseg"
        summed = (
            PanSegAccumulator(classes, head["stuff"]) if panoptic else TrackAccumulator(classes, head["task"])
        )
        for name, counts in zip(names, arrays["counts"], strict=True):
            summed.add(name, counts)
        return summed
    kind = _BOXES.get(head.get("task", ""), BoxAccumulator)
    out: MatchAccumulator = (kind if head["kind"] == "boxes" else InsSegAccumulator)(classes)
    end = 0
    for i, (name, size) in enumerate(zip(names, arrays["sizes"].tolist(), strict=True)):
        here = slice(end, end + size)
        end += size
        out.add(
            name,
            FrameMatches(
                classes=arrays["detections"][here],
                scores=arrays["scores"][here],
                hits=arrays["hits"][:, here],
                ignored=arrays["ignored"][:, here],
                positives=arrays["positives"][i].astype(np.int64),
                present=arrays["present"][i],
            ),
        )
    return out
