"""Masks from runs and from polygons.

Run-length encoding in COCO's compressed form; BDD100K's `poly2d` with its curves, and COCO's lists of
coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bddzoo.datasets.native import native
from bddzoo.errors import MissingError
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    import numpy.typing as npt


# Larger masks are refused before a byte is allocated: BDD100K's have 0.9 megapixels.
MAX_PIXELS = 1 << 26
# Five bits a digit: six digits hold every length up to MAX_PIXELS, with its sign.
MAX_DIGITS = 6
# The mask of 0.9 megapixels that is longest, a chessboard, has 0.9 MB of counts.
MAX_COUNTS = 1 << 22


class RleError(ValueError):
    """Counts that describe no mask of the stated size."""


class MaskRuns(msgspec.Struct, frozen=True, gc=False):
    """Foreground runs of several masks of one size, in column order, mask by mask.

    Attributes:
        starts: (N,) int64, first pixel of each run.
        ends: (N,) int64, the pixel behind its last; above its start.
        masks: (N,) int64, which mask it belongs to.
        count: Number of masks.
        pixels: Height times width.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    masks: npt.NDArray[np.int64]
    count: int
    pixels: int

    def areas(self) -> npt.NDArray[np.int64]:
        """Pixels of each mask, (count,)."""
        sums = np.bincount(self.masks, self.ends - self.starts, minlength=self.count)
        return sums.astype(np.int64)

    def overlapping(self) -> bool:
        """Whether any two masks share a pixel."""
        order = self.starts.argsort()
        return bool((self.ends[order][:-1] > self.starts[order][1:]).any())


def encode_rle(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a (H, W) mask as `{"counts": str, "size": [H, W]}`, ready for JSON."""
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    height, width = encoded["size"]
    return {"counts": encoded["counts"].decode("ascii"), "size": [int(height), int(width)]}


def encode_values(values: npt.NDArray[np.integer]) -> dict[int, dict[str, Any]]:
    """Masks of all values of a (H, W) map at once: value -> what `encode_rle(values == value)` gives."""
    from pycocotools import mask as coco

    height, width = values.shape
    if not values.size:
        return {}
    # Pixels run down the columns, as in COCO's encoding.
    flat = np.ascontiguousarray(values.T).reshape(-1)
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(flat[starts], kind="stable")
    found, first = np.unique(flat[starts][order], return_index=True)
    out = {}
    for value, mine in zip(found.tolist(), np.split(order, first[1:]), strict=True):
        edges = np.stack((starts[mine], ends[mine]), axis=1).reshape(-1)
        counts = np.diff(edges, prepend=0, append=flat.size)
        # A mask that ends with the image has no background behind it.
        listed = counts.tolist()[: None if counts[-1] else -1]
        encoded = coco.frPyObjects({"counts": listed, "size": [height, width]}, height, width)
        out[int(value)] = {"counts": encoded["counts"].decode("ascii"), "size": [height, width]}
    return out


def decode_rle(rle: Mapping[str, Any], where: str = "RLE") -> npt.NDArray[np.bool_]:
    """Decode `{"counts": str | bytes, "size": [H, W]}` to a (H, W) bool mask.

    Args:
        rle: The encoded mask.
        where: What to name in an error: file, frame and label.

    Raises:
        MissingError: The counts do not describe a mask of that size.
    """
    from pycocotools import mask as coco

    (height, width), counts = _checked(rle, where)
    # pycocotools writes past the end of the canvas or leaves it unset where counts do not fit.
    _runs([counts], height * width, where)
    return np.asarray(coco.decode({"size": [height, width], "counts": counts})).view(np.bool_)


def paint_masks(
    masks: Sequence[tuple[Mapping[str, Any], int]],
    size: tuple[int, int],
    background: int,
    dtype: type[np.unsignedinteger[Any]],
    where: str,
) -> npt.NDArray[Any]:
    """A (H, W) map of values from masks; where they overlap, the later one is seen.

    Args:
        masks: RLE of each mask, as `decode_rle` takes it, and its value.
        size: Height and width, which all masks must have.
        background: Value where there is no mask.
        dtype: Of the map.
        where: What to name in an error.

    Raises:
        MissingError: Counts that do not describe a mask of that size.
    """
    import cv2

    pixels = size[0] * size[1]
    runs = mask_runs([rle for rle, _ in masks], size, where)
    starts, ends = runs.starts, runs.ends
    values = np.array([value for _, value in masks], dtype)[runs.masks]
    order = np.argsort(starts)
    if (ends[order][:-1] <= starts[order][1:]).all():
        # Runs and what is between them, one after the other.
        edges = np.stack((starts[order], ends[order]), axis=1).reshape(-1)
        both = np.full(edges.size + 1, background, dtype)
        both[1::2] = values[order]
        flat = np.repeat(both, np.diff(edges, prepend=0, append=pixels))
    else:
        flat = np.full(pixels, background, dtype)
        for start, end, value in zip(starts.tolist(), ends.tolist(), values.tolist(), strict=True):
            flat[start:end] = value
    # Masks run down the columns.
    return np.asarray(cv2.transpose(flat.reshape(size[1], size[0])), dtype)


def mask_runs(rles: Sequence[Mapping[str, Any]], size: tuple[int, int], where: str) -> MaskRuns:
    """Runs of masks, all of which have that size.

    Raises:
        MissingError: Counts that do not describe a mask of that size.
    """
    pixels = size[0] * size[1]
    if pixels > MAX_PIXELS:
        raise MissingError(f"{where}: masks of {size[1]}x{size[0]} pixels, which can't be meant")
    checked = [_checked(rle, where) for rle in rles]
    for shape, _ in checked:
        if shape != size:
            raise MissingError(f"{where}: masks of different sizes: {list(shape)} and {list(size)}")
    return _runs([counts for _, counts in checked], pixels, where)


def _checked(rle: Mapping[str, Any], where: str) -> tuple[tuple[int, int], bytes]:
    """Size and counts of an RLE, of types and sizes that can be meant."""
    try:
        height, width = (int(v) for v in rle["size"])
        counts = rle["counts"]
        counts = counts.encode("ascii") if isinstance(counts, str) else counts
        if not isinstance(counts, bytes):  # of a number, bytes() would make as many zeros
            raise TypeError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MissingError(f"{where}: not an RLE with 'counts' and 'size': {type(error).__name__}") from None
    mask_pixels((height, width), where)
    if len(counts) > MAX_COUNTS:
        raise MissingError(f"{where}: an RLE of {len(counts)} bytes, which can't be meant")
    return (height, width), counts


def _runs(counts: Sequence[bytes], pixels: int, where: str) -> MaskRuns:
    """Runs of masks.

    Raises:
        MissingError: Counts are malformed or do not add up to `pixels`.
    """
    try:
        return decode_runs(counts, pixels)
    except RleError as error:
        if len(counts) > 1:
            where = f"{where}, mask {error.args[0] + 1}"
        raise MissingError(f"{where}: the RLE does not describe {pixels} pixels") from None


def decode_runs(counts: Sequence[bytes], pixels: int) -> MaskRuns:
    """Runs of masks from their compressed counts; all masks are decoded at once.

    Args:
        counts: Compressed counts of masks of one size.
        pixels: Height times width.

    Raises:
        RleError: With the position of the first bad mask as its argument.
    """
    total = len(counts)
    if not total:
        none = np.zeros(0, np.int64)
        return MaskRuns(none, none, none, 0, pixels)
    loops = native()
    if loops is not None:
        found = loops.rle_runs(counts, pixels)
        if isinstance(found, int):
            raise RleError(found)
        return MaskRuns(*found, total, pixels)
    digits = np.frombuffer(b"".join(counts), np.uint8) - np.uint8(48)
    more = (digits & 0x20) != 0
    finals = np.flatnonzero(~more)
    lasts = np.cumsum([len(c) for c in counts]) - 1
    # Every value ends with a final digit, and so must every mask.
    if not all(counts) or more[lasts].any() or (digits > 63).any():
        raise RleError(_first_bad(counts, pixels))
    widths = np.diff(finals, prepend=-1)
    widest = int(widths.max())
    if widest > MAX_DIGITS:
        raise RleError(_first_bad(counts, pixels))
    first = finals - widths + 1
    values = (digits[first] & 0x1F).astype(np.int64)
    for k in range(1, widest):
        long = np.flatnonzero(widths > k)
        values[long] |= (digits[first[long] + k] & 0x1F).astype(np.int64) << (5 * k)
    negative = np.flatnonzero(digits[finals] & 0x10)
    values[negative] -= np.int64(1) << (5 * widths[negative])

    stops = np.searchsorted(finals, lasts, side="right").tolist()
    parts: list[npt.NDArray[np.int64]] = []
    begin = 0
    for mask, stop in enumerate(stops):
        lengths = values[begin:stop]
        # Counts 1, 3, 5 ... are running sums of their own, and so are 2, 4, 6 ...; count 0 stands alone.
        for chain in (lengths[1::2], lengths[2::2]):
            np.cumsum(chain, out=chain)
        edges = np.cumsum(lengths)
        if edges[-1] != pixels or lengths.min() < 0:
            raise RleError(mask)
        parts.append(edges)
        begin = stop
    # Runs of foreground are those with odd numbers.
    starts = np.concatenate([e[: e.size // 2 * 2 : 2] for e in parts])
    ends = np.concatenate([e[1::2] for e in parts])
    masks = np.repeat(np.arange(total), [e.size // 2 for e in parts])
    full = ends > starts
    return MaskRuns(starts[full], ends[full], masks[full], total, pixels)


def _first_bad(counts: Sequence[bytes], pixels: int) -> int:
    """Which of several masks is malformed; they are looked at one by one."""
    if len(counts) > 1:
        for i, one in enumerate(counts):
            try:
                decode_runs([one], pixels)
            except RleError:
                return i
    return 0


def mask_pixels(size: tuple[int, int], where: str) -> int:
    """Pixels of a mask of (height, width).

    Raises:
        MissingError: Not positive, or too many to be meant.
    """
    height, width = size
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise MissingError(f"{where}: an RLE of size {[height, width]}, which can't be meant")
    return height * width


# Annotators draw a little beyond the image; what is further out than this many of its sides is a mistake,
# and painting it would take memory without end.
MAX_OUTSIDE = 16
CURVE_STEPS = 16
# The time to fill an outline that crosses itself everywhere grows with the square of its points.
MAX_POINTS = 10_000


def draw_poly2d(polygons: Sequence[Any], size: tuple[int, int], where: str) -> npt.NDArray[np.bool_]:
    """The area of a label's polygons, (H, W) bool; vertices and edges belong to it.

    A polygon is `{"vertices": [[x, y], ...], "types": "LLCCC..."}`; in 2018 it was a list of `[x, y, type]`.
    A vertex of type `C` begins a cubic Bezier curve: it and the next two are its control points and its end
    (scalabel.label.transforms.poly_to_patch).

    Args:
        polygons: The value of `poly2d`.
        size: Height and width of the image.
        where: What to name in an error: file and frame.

    Raises:
        MissingError: A polygon that has no area or cannot be meant.
    """
    import cv2

    mask = np.zeros(size, np.uint8)
    for polygon in [polygons] if _of_2018(polygons) else polygons:
        points = np.array(_flatten(*_vertices(polygon, where), where), np.float64)
        _check_points(points, size, where)
        cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    if polygons and not mask.any():
        raise _outside(size, where)
    return mask.view(np.bool_)


def coco_polygons(polygons: Sequence[Any], size: tuple[int, int], where: str) -> dict[str, Any]:
    """RLE of COCO's polygons, `[[x, y, x, y, ...], ...]`, as pycocotools draws them.

    Raises:
        MissingError: A polygon that has no area or cannot be meant.
    """
    from pycocotools import mask as coco

    seen = False
    for polygon in polygons:
        try:
            points = np.array(polygon, np.float64)
        except (TypeError, ValueError, OverflowError):
            points = np.zeros(1)
        if points.ndim != 1 or points.size % 2:
            raise MissingError(f"{where}: a polygon that is not a list of x, y, x, y ...")
        corners = points.reshape(-1, 2)
        _check_points(corners, size, where)
        seen |= bool((corners.max(0) > 0).all() and (corners.min(0) < size[::-1]).all())
    if not seen:
        raise _outside(size, where)
    merged = coco.merge(coco.frPyObjects([[float(v) for v in p] for p in polygons], *size))
    return {"counts": merged["counts"].decode(), "size": list(size)}


def _outside(size: tuple[int, int], where: str) -> MissingError:
    return MissingError(
        f"{where}: a polygon outside of {size[1]}x{size[0]} pixels, of which nothing is seen",
        hint="repair or remove the annotation",
    )


def _of_2018(polygons: Sequence[Any]) -> bool:
    first = polygons[0] if polygons else None
    return isinstance(first, list) and len(first) == 3 and isinstance(first[2], str)


def _vertices(polygon: Any, where: str) -> tuple[list[tuple[float, float]], str]:
    """Vertices of a polygon and their types."""
    try:
        if isinstance(polygon, dict):
            rows, types = polygon["vertices"], str(polygon.get("types") or "L" * len(polygon["vertices"]))
            if polygon.get("closed") is False:
                raise MissingError(f"{where}: a line instead of a mask", hint="lines have no area")
        else:
            rows, types = [row[:2] for row in polygon], "".join(str(row[2]) for row in polygon)
        points = [(float(x), float(y)) for x, y in rows]
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise MissingError(f"{where}: a polygon without vertices [x, y]") from None
    if len(types) != len(points) or set(types) - {"L", "C"}:
        raise MissingError(
            f"{where}: {len(points)} vertices of types {types[:20]!r}; expected an L or C each"
        )
    return points, types


def _flatten(points: list[tuple[float, float]], types: str, where: str) -> list[tuple[float, float]]:
    """The outline as straight lines."""
    closed = [*points, points[0]] if points else []
    out: list[tuple[float, float]] = closed[:1]
    at = 1
    while at < len(points):
        if types[at] == "L":
            out.append(points[at])
            at += 1
            continue
        if at + 2 >= len(closed):
            raise MissingError(f"{where}: a curve without an end")
        start, one, two, end = out[-1], closed[at], closed[at + 1], closed[at + 2]
        for step in range(1, CURVE_STEPS + 1):
            t = step / CURVE_STEPS
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            corners = (start, one, two, end)
            x, y = (sum(w * p[k] for w, p in zip(weights, corners, strict=True)) for k in (0, 1))
            out.append((x, y))
        at += 3
    return out


def _check_points(points: npt.NDArray[np.float64], size: tuple[int, int], where: str) -> None:
    if not 3 <= len(points) <= MAX_POINTS:
        raise MissingError(f"{where}: a polygon of {len(points)} points, which cannot be meant")
    reach = MAX_OUTSIDE * max(size)
    if not np.isfinite(points).all() or np.abs(points).max() > reach:
        worst = points.flat[int(np.argmax(np.where(np.isfinite(points), np.abs(points), np.inf)))]
        raise MissingError(
            f"{where}: a polygon with a coordinate of {worst:g}, far outside of {size[1]}x{size[0]} pixels",
            hint="repair or remove the annotation",
        )
