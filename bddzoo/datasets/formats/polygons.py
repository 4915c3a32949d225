"""Polygons to masks: BDD100K's `poly2d` with its curves, and COCO's lists of coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bddzoo.errors import MissingError
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    import numpy.typing as npt

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
