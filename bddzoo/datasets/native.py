"""The few loops that are worth compiling, and memory that is used again for the next frame.

`native.c` is compiled when the package is built, where there is a C compiler, and called through ctypes:
loading it takes a millisecond, against half a second and 130 MB for numba. Where it is missing, NumPy, OpenCV
and pycocotools do the same work more slowly, with the same results. `BDDZOO_NATIVE=0` leaves it alone.

Fresh arrays of an image's size come from the operating system page by page, which takes longer than the
work done in them: hence `buffer`.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_local = threading.local()


def buffer(shape: tuple[int, ...], slot: str) -> NDArray[np.uint8]:
    """An array of this thread, shape (...) uint8, with whatever it was used for before.

    Args:
        shape: Shape; a slot keeps one array for each number of dimensions, that of the last size.
        slot: Name; the array is the caller's until the next call with the same name. Without one it is new.
    """
    if not slot:
        return np.empty(shape, np.uint8)
    key = slot + str(len(shape))
    old: NDArray[np.uint8] | None = getattr(_local, key, None)
    if old is None or old.shape != shape:
        old = np.empty(shape, np.uint8)
        setattr(_local, key, old)
    return old


# What `bz_match_frame` and `bz_mask_iou` return where there is no memory.
_OUT_OF_MEMORY = -(1 << 63)
# Different pairs of values that a table of two bitmasks has room for at first: 1 << bits.
_PAIR_BITS = 12

_pointer = ctypes.c_void_p
_int = ctypes.c_int64


class Native:
    """The compiled loops."""

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        self._unfilter = loaded.bz_unfilter
        self._unfilter.argtypes = (_pointer, _pointer, _int, _int, _int)
        self._count_pairs = loaded.bz_count_pairs
        self._count_pairs.argtypes = (_pointer, _pointer, _int, _int, _pointer, _pointer)
        self._count_pairs.restype = None
        self._rle_runs = loaded.bz_rle_runs
        self._rle_runs.argtypes = (ctypes.c_char_p, _pointer, _int, _int, _pointer, _pointer, _pointer)
        self._rle_runs.restype = _int
        self._class_runs = loaded.bz_class_runs
        self._class_runs.argtypes = (
            *(ctypes.c_char_p, _pointer, _int, _int, _pointer),
            *(_pointer, _int, _pointer, _pointer),
        )
        self._class_runs.restype = _int
        self._merge_runs = loaded.bz_merge_runs
        self._merge_runs.argtypes = (
            *(_pointer, _pointer, _int, _pointer, _pointer, _int),
            *(_int, _int, _pointer),
        )
        self._merge_runs.restype = None
        self._mask_iou = loaded.bz_mask_iou
        self._mask_iou.argtypes = (
            *(ctypes.c_char_p, _pointer, _int, _int, _int),
            *(_pointer, _pointer, _pointer, _pointer),
        )
        self._mask_iou.restype = _int
        self._match_frame = loaded.bz_match_frame
        self._match_frame.argtypes = (
            *(_pointer, _int, _int, _pointer, _pointer, _pointer, _pointer, _pointer, _pointer, _pointer),
            *(_int, _int, _pointer, _int, _pointer, _pointer, _pointer, _pointer, _pointer),
        )
        self._match_frame.restype = _int
        self._outline = loaded.bz_outline
        self._outline.argtypes = (ctypes.c_char_p, _int, _pointer, _pointer)
        self._outline.restype = _int
        self._frame_matches = loaded.bz_frame_matches
        self._frame_matches.argtypes = (
            *(ctypes.c_char_p, _int, ctypes.c_char_p, _int, ctypes.c_char_p),
            *(_pointer, _int, _int, _int, _pointer, _int, _pointer, _int),
        )
        self._frame_matches.restype = _int
        self._word_pairs = loaded.bz_word_pairs
        self._word_pairs.argtypes = (_pointer, _pointer, _int, _pointer, _pointer, _int)
        self._word_pairs.restype = _int

    def unfilter(self, raw: NDArray[np.uint8], out: NDArray[np.uint8], step: int) -> bool:
        """Undo PNG's row filters.

        Args:
            raw: (H, 1 + W) uint8, each row behind its filter type.
            out: (H, W) uint8, written.
            step: Bytes of a pixel.

        Returns:
            Whether all filter types exist.
        """
        rows, width = out.shape
        if raw.shape != (rows, width + 1):
            raise ValueError(f"{raw.shape} does not belong to {out.shape}")
        return int(self._unfilter(_bytes(raw), _bytes(out), rows, width, step)) == 0

    def count_pairs(
        self, gt: NDArray[np.uint8], pred: NDArray[np.uint8], classes: int, known: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], int]:
        """Confusion matrix and unknown pixels of two maps of the same size; see `confusion`."""
        if gt.size != pred.size:
            raise ValueError(f"{gt.size} and {pred.size} pixels")
        out = np.zeros((classes + 2, classes + 1), np.int64)
        gt, pred = np.ascontiguousarray(gt), np.ascontiguousarray(pred)
        flags = known.view(np.uint8)
        self._count_pairs(_bytes(gt), _bytes(pred), gt.size, classes, _bytes(flags), _ints(out))
        return out[:classes], int(out[-1].sum())

    def rle_runs(
        self, counts: Sequence[bytes], pixels: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | int:
        """Foreground runs of masks: first pixels, those behind the last, and masks; all (N,) int64.

        Args:
            counts: Compressed counts of masks of one size.
            pixels: Height times width.

        Returns:
            The runs, or the position of the first malformed mask.
        """
        joined = b"".join(counts)
        sizes = np.array([len(c) for c in counts], np.int64)
        starts, ends, masks = np.empty((3, len(joined) + 1), np.int64)
        found = int(
            self._rle_runs(
                *(joined, _ints(sizes), len(counts), pixels), *(_ints(starts), _ints(ends), _ints(masks))
            )
        )
        return -1 - found if found < 0 else (starts[:found], ends[:found], masks[:found])

    def class_runs(
        self, counts: Sequence[bytes], classes: NDArray[np.uint8], pixels: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]] | int:
        """Class map of masks as runs in ascending order: first pixels (N,) int64 and values (N,) uint8.

        Args:
            counts: Compressed counts of masks of one size.
            classes: (masks,) uint8, class of each.
            pixels: Height times width.

        Returns:
            The runs, the position of the first malformed mask, or the number of masks where they overlap.
        """
        joined = b"".join(counts)
        sizes = np.array([len(c) for c in counts], np.int64)
        if classes.size != sizes.size:
            raise ValueError(f"{sizes.size} masks and {classes.size} classes")
        # Room for so much, in powers of two so that it is used again.
        room = 1 << len(joined).bit_length()
        scratch = buffer((room * 8 * 7 + 16,), "runs")
        places = scratch[: room * 40].view(np.int64)
        starts = scratch[room * 40 : room * 56 + 8].view(np.int64)
        values = buffer((2 * room + 1,), "run values")
        found = int(
            self._class_runs(
                *(joined, _ints(sizes), len(counts), pixels, _bytes(classes)),
                *(_ints(places), room, _ints(starts), _bytes(values)),
            )
        )
        return -1 - found if found < 0 else (starts[:found].copy(), values[:found].copy())

    def merge_runs(
        self,
        gt_starts: NDArray[np.int64],
        gt: NDArray[np.uint8],
        pred_starts: NDArray[np.int64],
        pred: NDArray[np.uint8],
        pixels: int,
        classes: int,
    ) -> NDArray[np.int64]:
        """Confusion matrix (classes, classes + 1) int64 of two maps given as runs, each starting at 0."""
        out = np.zeros((classes + 2, classes + 1), np.int64)
        self._merge_runs(
            *(_ints(gt_starts), _bytes(gt), gt.size, _ints(pred_starts), _bytes(pred), pred.size),
            *(pixels, classes, _ints(out)),
        )
        return out[:classes]

    def mask_iou(
        self,
        counts: Sequence[bytes],
        detections: int,
        pixels: int,
        classes: NDArray[np.int64],
        crowd: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], bool] | int:
        """Areas and IoU of the masks of one frame.

        Args:
            counts: Compressed counts of masks of one size: detections, then objects.
            detections: How many of them are detections.
            pixels: Height times width.
            classes: (masks,) class of each.
            crowd: (objects,) whether IoU is over the detection's area.

        Returns:
            Areas (masks,), IoU (detections, objects), 0 for masks of two classes, and whether two detections
            share a pixel (then there is no IoU); or the position of the first malformed mask.
        """
        sizes = np.array([len(c) for c in counts], np.int64)
        objects = sizes.size - detections
        if classes.size != sizes.size or crowd.size != objects:
            raise ValueError(
                f"{sizes.size} masks, {classes.size} classes, {objects} objects, {crowd.size} flags"
            )
        areas, iou = np.empty(sizes.size), np.zeros((detections, objects))
        found = int(
            self._mask_iou(
                *(b"".join(counts), _ints(sizes), sizes.size, detections, pixels),
                *(_ints(classes), _bytes(crowd.view(np.uint8)), areas.ctypes.data, iou.ctypes.data),
            )
        )
        if found == _OUT_OF_MEMORY:
            raise MemoryError
        return -1 - found if found < 0 else (areas, iou, found > 0)

    def match_frame(
        self,
        iou: NDArray[np.float64],
        scores: NDArray[np.float64],
        pred_class: NDArray[np.int64],
        pred_areas: NDArray[np.float64],
        gt_class: NDArray[np.int64],
        gt_areas: NDArray[np.float64],
        gt_ignored: NDArray[np.bool_],
        gt_crowd: NDArray[np.bool_],
        *,
        classes: int,
        limit: int,
        settings: NDArray[np.float64],
        coco: bool,
    ) -> tuple[
        NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64], NDArray[np.bool_]
    ]:
        """Match one frame; see `bddzoo.evaluation.metrics.matching.match_frame`.

        The arrays are those of its `Candidates`; `limit` detections of a class count; `settings` are ten
        thresholds, then four area ranges (low, high).

        Returns:
            Positions of the matched detections (N,), `hits` and `ignored` (areas, N), `positives`
            (classes, areas) and `present` (classes,).
        """
        detections, objects = iou.shape
        wrong = [a.size for a in (scores, pred_class, pred_areas) if a.size != detections]
        wrong += [a.size for a in (gt_class, gt_areas, gt_ignored, gt_crowd) if a.size != objects]
        if wrong or settings.size != 18:
            raise ValueError(f"IoU of {iou.shape}, other arrays of {wrong}, {settings.size} settings")
        order = np.empty(detections, np.int64)
        bits = np.zeros((2, 4, detections), np.uint16)
        positives, present = np.zeros((classes, 4), np.int64), np.zeros(classes, np.uint8)
        found = int(
            self._match_frame(
                *(
                    _doubles(iou),
                    detections,
                    objects,
                    _doubles(scores),
                    _ints(pred_class),
                    _doubles(pred_areas),
                ),
                *(_ints(gt_class), _doubles(gt_areas), _bytes(gt_ignored.view(np.uint8))),
                *(_bytes(gt_crowd.view(np.uint8)), classes, limit, _doubles(settings), int(coco)),
                *(_ints(order), bits[0].ctypes.data, bits[1].ctypes.data, _ints(positives), _bytes(present)),
            )
        )
        if found == _OUT_OF_MEMORY:
            raise MemoryError
        return order[:found], bits[0, :, :found], bits[1, :, :found], positives, present.view(np.bool_)

    def outline(self, piece: bytes, state: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the outermost objects in a piece of JSON begin (2 * position) and end (2 * position + 1).

        Args:
            piece: The bytes.
            state: (4,) depth, whether inside a string, whether behind a backslash, and the depth of the list
                that the objects are in; brought up to the end of the piece.
        """
        places = np.empty(len(piece), np.int64)
        return places[: self._outline(piece, len(piece), _ints(state), _ints(places))].copy()

    def frame_matches(
        self,
        gt: bytes,
        pred: bytes,
        names: bytes,
        kinds: NDArray[np.int64],
        *,
        classes: int,
        limit: int,
        settings: NDArray[np.float64],
        boxes: bool,
    ) -> bytes | None:
        """Compare and match the instances of one frame, given as JSON; what `bz_frame_matches` writes.

        Args:
            gt: The frame in the ground truth.
            pred: The frame in the predictions; empty where it has none.
            names: Names of the categories, each with a NUL behind it.
            kinds: (categories,) class of each, times 2, plus 1 where its objects are ignored.
            classes: Number of classes.
            limit: Detections a class that count.
            settings: Ten thresholds, then four area ranges (low, high).
            boxes: Boxes instead of masks.

        Returns:
            None where the frame is not an everyday one: its labels have to be read in Python.
        """
        if settings.size != 18 or names.count(b"\0") != kinds.size:
            raise ValueError(f"{settings.size} settings, {kinds.size} kinds")
        # No detection takes more bytes than its JSON; in powers of two, so that the room is used again.
        room = 1 << (len(pred) + 2048).bit_length()
        out = buffer((room,), "matches")
        found = self._frame_matches(
            *(gt, len(gt), pred, len(pred), names, _ints(kinds), kinds.size),
            *(classes, limit, _doubles(settings), int(boxes), _bytes(out), room),
        )
        if found == _OUT_OF_MEMORY:
            raise MemoryError
        return None if found < 0 else out[:found].tobytes()

    def word_pairs(
        self, gt: NDArray[np.uint32], pred: NDArray[np.uint32]
    ) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Different pairs of values of two arrays of one size, ascending, and how often each occurs.

        Returns:
            Pairs (N,) uint64, `gt << 32 | pred`, and counts (N,) int64.
        """
        if gt.size != pred.size or gt.dtype != np.uint32 or pred.dtype != np.uint32:
            raise ValueError(f"{gt.size} and {pred.size} words")
        bits = _PAIR_BITS
        while True:
            keys, counts = np.empty(1 << bits, np.uint64), np.zeros(1 << bits, np.int64)
            found = self._word_pairs(
                gt.ctypes.data, pred.ctypes.data, gt.size, keys.ctypes.data, _ints(counts), bits
            )
            if found >= 0:
                break
            bits += 2
        full = np.flatnonzero(counts)
        keys, counts = keys[full], counts[full]
        order = np.argsort(keys)
        return keys[order], counts[order]


def _bytes(array: NDArray[np.uint8]) -> int:
    if array.dtype != np.uint8 or not array.flags.c_contiguous:
        raise ValueError("expected contiguous uint8")
    return array.ctypes.data


def _ints(array: NDArray[np.int64]) -> int:
    if array.dtype != np.int64 or not array.flags.c_contiguous:
        raise ValueError("expected contiguous int64")
    return array.ctypes.data


def _doubles(array: NDArray[np.float64]) -> int:
    if array.dtype != np.float64 or not array.flags.c_contiguous:
        raise ValueError("expected contiguous float64")
    return array.ctypes.data


_state: dict[str, Native | None] = {}


def native() -> Native | None:
    """The compiled loops, or None where they were not built."""
    if "loaded" not in _state:
        _state["loaded"] = None if os.environ.get("BDDZOO_NATIVE") == "0" else _load(Path(__file__).parent)
    return _state["loaded"]


def _load(folder: Path) -> Native | None:
    for library in sorted(folder.glob("_native*.*")):
        try:
            return Native(library)
        except (OSError, AttributeError):  # of another system, or of another version of the source
            continue
    return None
