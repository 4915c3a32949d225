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
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
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


# What functions that need memory return where there is none.
_OUT_OF_MEMORY = -(1 << 63)
# Different pairs of values that a table of two bitmasks has room for at first: 1 << bits.
_PAIR_BITS = 12
# Items of a list that are found at a time.
_ITEMS = 1024


class Side(NamedTuple):
    """One side of a batch of frames, and what its categories mean.

    Attributes:
        data: JSON of the frames; of COCO files their annotations, with commas between them.
        bounds: Where each begins and ends in it; twice the same place for a frame without predictions.
        kinds: Class of each category, times 2, plus 1 where its objects are ignored.
        names: Names of the categories, each with a NUL behind it.
        numbers: Numbers of the categories, where they have no names (COCO).
    """

    data: bytes
    bounds: array[int]
    kinds: array[int]
    names: bytes = b""
    numbers: array[int] | None = None


class _PackedSide(ctypes.Structure):
    _fields_ = (
        *(("data", ctypes.c_char_p), ("bounds", ctypes.c_void_p), ("names", ctypes.c_char_p)),
        *(("numbers", ctypes.c_void_p), ("kinds", ctypes.c_void_p), ("count", ctypes.c_int64)),
    )


# Functions of `native.c`: what they return and take; a pointer, a number, bytes, a double.
_P, _N, _B, _D = ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p, ctypes.c_double
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "unfilter": (ctypes.c_int, (_P, _P, _N, _N, _N)),
    "count_pairs": (None, (_P, _P, _N, _N, _P, _P)),
    "rle_runs": (_N, (_B, _P, _N, _N, _P, _P, _P)),
    "class_runs": (_N, (_B, _P, _N, _N, _P, _P, _N, _P, _P)),
    "merge_runs": (None, (_P, _P, _N, _P, _P, _N, _N, _N, _P)),
    "mask_iou": (_N, (_B, _P, _N, _N, _N, _P, _P, _P, _P)),
    "match_frame": (_N, (_P, _N, _N, *(_P,) * 7, _N, _N, _P, _N, *(_P,) * 5)),
    "annotations": (_N, (_B, _N, _P, _P, _N)),
    "frames": (_N, (_B, _N, _P, _P, _N)),
    "match_frames": (_N, (_P, _P, _N, _N, _N, _P, _N, _P, _N, _P, _D, _P, _P)),
    "average_precision": (_N, (_B, _N, _N, _P, _N, _P, _N, _P, _P, _P)),
    "word_pairs": (_N, (_P, _P, _N, _P, _P, _N)),
}


class Native:
    """The compiled loops."""

    def __init__(self, library: Path) -> None:
        self.library = library
        loaded = ctypes.CDLL(str(library))
        self._call: dict[str, Any] = {}
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, f"bz_{name}")
            function.restype, function.argtypes = result, arguments
            self._call[name] = function

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
        return int(self._call["unfilter"](_bytes(raw), _bytes(out), rows, width, step)) == 0

    def count_pairs(
        self, gt: NDArray[np.uint8], pred: NDArray[np.uint8], classes: int, known: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], int]:
        """Confusion matrix and unknown pixels of two maps of the same size; see `confusion`."""
        if gt.size != pred.size:
            raise ValueError(f"{gt.size} and {pred.size} pixels")
        out = np.zeros((classes + 2, classes + 1), np.int64)
        gt, pred = np.ascontiguousarray(gt), np.ascontiguousarray(pred)
        flags = known.view(np.uint8)
        self._call["count_pairs"](_bytes(gt), _bytes(pred), gt.size, classes, _bytes(flags), _ints(out))
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
            self._call["rle_runs"](
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
            self._call["class_runs"](
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
        self._call["merge_runs"](
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
            self._call["mask_iou"](
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
            self._call["match_frame"](
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

    def annotations(self, data: bytes, state: array[int]) -> array[int]:
        """Runs of annotations of one image each in a COCO file: the image, and where they begin and end.

        Args:
            data: Bytes behind the beginning of the list, or behind where the last call went on.
            state: Whether the list has only begun, where to go on in `data`, whether the list has ended;
                brought up to before the first annotation that is unusual or not there as a whole.
        """
        return _items(self._call["annotations"], 3, data, state)

    def frames(self, data: bytes, state: array[int]) -> array[int]:
        """Frames of a list: where each begins and ends, and its name, video name and number.

        Of each of these three there is where it begins, -1 where there is none, and of how many bytes it is.
        See `annotations` for the rest.
        """
        return _items(self._call["frames"], 8, data, state)

    def match_frames(
        self,
        gt: Side,
        pred: Side,
        *,
        classes: int,
        limit: int,
        settings: array[float],
        boxes: bool,
        near: float,
        leading: int,
    ) -> tuple[list[bytes | None], array[float]]:
        """Compare and match the instances of frames, given as JSON.

        Args:
            gt: The frames in the ground truth.
            pred: The frames in the predictions.
            classes: Number of classes.
            limit: Detections a class that count.
            settings: Ten thresholds, then four area ranges (low, high).
            boxes: Boxes instead of masks.
            near: At this IoU and above, corners of boxes are compared.
            leading: In so many of the frames.

        Returns:
            What `bz_match_frames` writes of each frame, None where it is not an everyday one: its labels have
            to be read in Python. And x1, y1, x2, y2 of detections minus those of the objects they are on.
        """
        count = len(gt.bounds) // 2
        if len(settings) != 18 or len(pred.bounds) != 2 * count:
            raise ValueError(f"{len(settings)} settings, {len(gt.bounds)} and {len(pred.bounds)} bounds")
        # No detection takes more bytes than its JSON.
        out = bytearray(len(pred.data) + count * (classes * 33 + 64))
        sizes, rows = array("q", bytes(8 * count)), array("q", [leading])
        shifts = array("d", bytes(len(pred.data) // 8 * 8 if leading else 0))
        failed = self._call["match_frames"](
            *(
                ctypes.byref(_side(gt)),
                ctypes.byref(_side(pred)),
                count,
                classes,
                limit,
                _address(settings),
                int(boxes),
            ),
            *(ctypes.addressof(ctypes.c_char.from_buffer(out)), len(out), _address(sizes)),
            *(near, _address(shifts), _address(rows)),
        )
        if failed:
            raise MemoryError
        records: list[bytes | None] = []
        place = 0
        with memoryview(out) as view:
            for size in sizes:
                records.append(bytes(view[place : place + size]) if size >= 0 else None)
                place += max(size, 0)
        return records, shifts[: 4 * rows[0]]

    def average_precision(
        self, records: bytes, classes: int, points: array[float], limits: array[int]
    ) -> tuple[array[int], array[float], array[float]]:
        """Precision and recall of what `match_frames` wrote of frames, one after the other.

        Args:
            records: In the order that decides ties of score.
            classes: Number of classes.
            points: Recall points, ascending.
            limits: Detections a class and frame that count.

        Returns:
            Positives (classes, 4), precision (classes, 4, 10, points) with the last limit, and recall
            (limits, classes, 4, 10); 0 where there are no positives. Four area ranges, ten thresholds.
        """
        cells = classes * 4
        positives = array("q", bytes(8 * cells))
        precision = array("d", bytes(8 * cells * 10 * len(points)))
        recall = array("d", bytes(8 * cells * 10 * len(limits)))
        failed = self._call["average_precision"](
            *(records, len(records), classes, _address(points), len(points), _address(limits), len(limits)),
            *(_address(positives), _address(precision), _address(recall)),
        )
        if failed == _OUT_OF_MEMORY:
            raise MemoryError
        if failed:
            raise ValueError("not what was written of frames")
        return positives, precision, recall

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
            found = self._call["word_pairs"](
                gt.ctypes.data, pred.ctypes.data, gt.size, keys.ctypes.data, _ints(counts), bits
            )
            if found >= 0:
                break
            bits += 2
        full = np.flatnonzero(counts)
        keys, counts = keys[full], counts[full]
        order = np.argsort(keys)
        return keys[order], counts[order]


def _items(reader: Any, width: int, data: bytes, state: array[int]) -> array[int]:
    """What a function finds of the items of a list, `width` numbers each."""
    out, some = array("q"), array("q", bytes(8 * width * _ITEMS))
    while True:
        before = state[1]
        found = reader(data, len(data), _address(state), _address(some), _ITEMS)
        out += some[: width * found]
        if state[2] or state[1] == before:
            return out


def _side(side: Side) -> _PackedSide:
    numbers = side.numbers and _address(side.numbers)
    if (len(side.numbers) if side.numbers else side.names.count(b"\0")) != len(side.kinds):
        raise ValueError(f"{len(side.kinds)} kinds of other categories")
    if max(side.bounds, default=0) > len(side.data):
        raise ValueError(f"frames end behind their {len(side.data)} bytes")
    return _PackedSide(
        *(side.data, _address(side.bounds), side.names, numbers, _address(side.kinds), len(side.kinds))
    )


def _address(numbers: array[int] | array[float]) -> int:
    return numbers.buffer_info()[0]


def _bytes(values: NDArray[np.uint8]) -> int:
    if values.dtype != np.uint8 or not values.flags.c_contiguous:
        raise ValueError("expected contiguous uint8")
    return values.ctypes.data


def _ints(values: NDArray[np.int64]) -> int:
    if values.dtype != np.int64 or not values.flags.c_contiguous:
        raise ValueError("expected contiguous int64")
    return values.ctypes.data


def _doubles(values: NDArray[np.float64]) -> int:
    if values.dtype != np.float64 or not values.flags.c_contiguous:
        raise ValueError("expected contiguous float64")
    return values.ctypes.data


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
