"""Sky, far backdrop and the flat ground: terrain, carriageway, marks, sidewalks, rails."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt

from bddzoo.datasets.mini.draw import (
    GROUND,
    HEIGHT,
    LANE_M,
    NEAR_M,
    WIDTH,
    Camera,
    Canvas,
    Colour,
    Draw,
    Plan,
    Points,
    ellipse,
    mix,
    quad,
    shade,
)  # fmt: skip

ROAD, SIDEWALK, BUILDING, VEGETATION, TERRAIN, SKY = 0, 1, 2, 8, 9, 10
FAR_M = 220.0
CURB_M = 0.14
# Distances at which strips are cut, so that a bend shows; from the near plane to the far end.
_CUTS = np.array([NEAR_M, 1.8, 2.5, 4.0, 6.0, 9.0, 13.0, 18.0, 25.0, 35.0, 50.0, 75.0, 110.0, 160.0, FAR_M])

_SKIES: dict[str, tuple[Colour, Colour]] = {
    "clear": ((70, 125, 205), (185, 210, 235)),
    "partly cloudy": ((85, 135, 200), (195, 212, 230)),
    "overcast": ((150, 156, 164), (205, 207, 210)),
    "rainy": ((105, 112, 122), (165, 170, 176)),
    "snowy": ((165, 170, 178), (215, 217, 220)),
    "foggy": ((185, 188, 191), (205, 206, 207)),
}


def strip(
    camera: Camera, x0: float, x1: float, y: float = 0.0, z0: float = NEAR_M, z1: float = FAR_M
) -> Points:
    """Outline of a strip of flat ground between two x, from z0 to z1."""
    cuts = np.concatenate([[z0], _CUTS[(z0 < _CUTS) & (z1 > _CUTS)], [z1]])
    return np.concatenate([camera.project(x0, y, cuts), camera.project(x1, y, cuts[::-1])])


def paint_sky(canvas: Canvas, plan: Plan, draw: Draw) -> None:
    """Fill the whole canvas with sky: a gradient, and clouds where the weather has them."""
    top, low = _SKIES[plan.weather]
    if plan.timeofday == "dawn/dusk":
        top, low = mix(top, (70, 75, 125), 0.5), mix(low, (250, 165, 95), 0.65)
        top, low = shade(top, 0.75), shade(low, 0.95)
    elif plan.night:
        top, low = shade(mix(top, (8, 10, 26), 0.93), 0.9), mix(low, (28, 26, 38), 0.88)
    share = np.clip(np.arange(HEIGHT) / plan.camera.horizon_y, 0, 1)[:, None]
    rows = np.array(top) * (1 - share) + np.array(low) * share
    canvas.image[:] = rows[:, None, :].astype(np.uint8)
    sky = canvas.surface(SKY, 250.0)
    canvas.owner[:] = sky
    clouds = {"partly cloudy": 9, "overcast": 5, "rainy": 6, "clear": 2}.get(plan.weather, 0)
    if clouds and not plan.night:
        _clouds(canvas, plan, draw, clouds)


def _clouds(canvas: Canvas, plan: Plan, draw: Draw, count: int) -> None:
    layer = np.zeros((HEIGHT // 4, WIDTH // 4), np.uint8)
    for _ in range(count):
        x, y = draw.uniform(0, WIDTH / 4), draw.uniform(5, plan.camera.horizon_y / 4 * 0.8)
        for _ in range(draw.integer(5, 9)):
            size = draw.uniform(6, 26)
            puff = ellipse(x + draw.around(0, 45), y + draw.around(0, 7), size * 1.6, size * 0.5)
            cv2.fillPoly(layer, [puff.astype(np.int32)], draw.integer(110, 230))
    soft = (
        cv2.resize(cv2.GaussianBlur(layer, (0, 0), 4), (WIDTH, HEIGHT)).astype(np.float32)[..., None] / 255.0
    )
    colour = {"overcast": (225, 226, 228), "rainy": (82, 87, 95)}.get(plan.weather, (246, 246, 248))
    if plan.timeofday == "dawn/dusk":
        colour = mix(colour, (240, 150, 120), 0.5)
    canvas.image[:] = (canvas.image * (1 - soft) + np.array(colour) * soft).astype(np.uint8)


def paint_backdrop(canvas: Canvas, plan: Plan, draw: Draw) -> None:
    """Far houses and trees along the horizon."""
    horizon = plan.camera.horizon_y
    trees = canvas.surface(VEGETATION, 170.0)
    houses = canvas.surface(BUILDING, 200.0)
    x = -20.0
    while x < WIDTH + 20:
        width = draw.uniform(30, 110)
        if draw.chance(0.5 if plan.scene == "city street" else 0.2):
            top = horizon - draw.uniform(18, 70 if plan.scene == "city street" else 30)
            colour = draw.vary((132, 130, 130), 22)
            canvas.shape(
                quad((x, top), (x + width, top), (x + width, horizon + 4), (x, horizon + 4)), houses, colour
            )
            rows = [top + 6 + 9 * i for i in range(int((horizon - top - 8) / 9))]
            cols = [x + 5 + 9 * i for i in range(int((width - 8) / 9))]
            panes = [quad((c, r), (c + 4, r), (c + 4, r + 5), (c, r + 5)) for r in rows for c in cols]
            lit = [p for p in panes if draw.chance(0.35)]
            canvas.details(panes, shade(colour, 0.7))
            if plan.night:
                canvas.details(lit, (190, 160, 90), (110, 90, 45))
        x += width * draw.uniform(0.6, 1.2)
    x = -20.0
    while x < WIDTH + 20:
        radius = draw.uniform(12, 34)
        if draw.chance(0.75):
            colour = draw.vary((62, 88, 48), 14)
            canvas.shape(
                ellipse(x, horizon + 2, radius * 1.5, radius * draw.uniform(0.5, 1.0)), trees, colour
            )
        x += radius * draw.uniform(0.7, 1.6)


def paint_ground(canvas: Canvas, plan: Plan, draw: Draw) -> None:
    """Terrain, carriageway with its marks, rails, verges, curbs and sidewalks."""
    camera = plan.camera
    terrain = canvas.surface(TERRAIN, GROUND)
    road = canvas.surface(ROAD, GROUND)
    walk = canvas.surface(SIDEWALK, GROUND)
    soil = draw.vary(draw.pick([(108, 128, 62), (96, 118, 60), (128, 120, 74), (118, 132, 70)]), 10)
    base = camera.horizon_y + 1.0
    canvas.shape(quad((0, base), (WIDTH, base), (WIDTH, HEIGHT), (0, HEIGHT)), terrain, soil)
    asphalt = draw.vary((98, 98, 101), 13)
    canvas.shape(strip(camera, plan.left, plan.right), road, asphalt)
    _marks(canvas, plan, draw, asphalt)
    if plan.track is not None:
        _rails(canvas, plan, road, asphalt)
    if plan.walk > 0:
        stone = draw.vary(draw.pick([(168, 160, 152), (150, 148, 150), (176, 164, 150)]), 10)
        for side, edge in plan.sides:
            _side(canvas, plan, side, edge, walk, terrain, stone, soil)


def drivable(canvas: Canvas, plan: Plan) -> npt.NDArray[np.uint8]:
    """(HEIGHT, WIDTH) uint8: 0 the own lane, 1 other lanes of the same direction, 2 what is not driven on."""
    own, others = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    half = LANE_M / 2
    for plane, centres in ((others, plan.own_lanes), (own, (0.0,))):
        for x in centres:
            outline = strip(plan.camera, x - half, x + half)
            cv2.fillPoly(plane, [np.clip(outline, -30000, 30000).astype(np.int32)], 1)
    seen = canvas.sem() == ROAD
    return np.where(seen & (own > 0), 0, np.where(seen & (others > 0), 1, 2)).astype(np.uint8)


def _side(
    canvas: Canvas, plan: Plan, side: float, edge: float, walk: int, terrain: int, stone: Colour, soil: Colour
) -> None:
    camera = plan.camera
    inner = edge + side * (0.2 + plan.verge)
    outer = inner + side * plan.walk
    face = np.concatenate([camera.project(edge, 0.0, _CUTS), camera.project(edge, CURB_M, _CUTS[::-1])])
    if plan.verge > 0:
        canvas.shape(strip(camera, edge + side * 0.2, inner, CURB_M), terrain, shade(soil, 1.05))
    canvas.shape(strip(camera, inner, outer, CURB_M), walk, stone)
    for z in (2.0 + 1.5 * i for i in range(20)):
        ends = [camera.project([inner, outer], CURB_M, z), camera.project([outer, inner], CURB_M, z + 0.06)]
        canvas.detail(np.concatenate(ends), shade(stone, 0.86))
    canvas.shape(strip(camera, edge, edge + side * 0.2, CURB_M), walk, shade(stone, 1.12))
    canvas.shape(face, walk, shade(stone, 0.72))


def _marks(canvas: Canvas, plan: Plan, draw: Draw, asphalt: Colour) -> None:
    camera = plan.camera
    paint = mix(asphalt, (228, 228, 222), draw.uniform(0.6, 0.95))
    yellow = mix(asphalt, (226, 182, 64), draw.uniform(0.6, 0.95))
    # Wear: darker wheel tracks and patches.
    for x in (-0.8, 0.8):
        canvas.detail(strip(camera, x - 0.25, x + 0.25), shade(asphalt, 0.95))
    for _ in range(draw.integer(0, 3)):
        x, z = draw.uniform(plan.left, plan.right - 1.5), draw.uniform(4, 25)
        patch = strip(camera, x, x + draw.uniform(0.8, 1.5), 0.0, z, z + draw.uniform(2, 6))
        canvas.detail(patch, shade(asphalt, draw.uniform(0.8, 1.12)))
    lanes = sorted([0.0, *plan.own_lanes])
    start = draw.uniform(0, 6)
    for x in [(a + b) / 2 for a, b in itertools.pairwise(lanes)]:
        _dashes(canvas, camera, x, start, paint)
    left, right = lanes[0] - LANE_M / 2, lanes[-1] + LANE_M / 2
    canvas.detail(strip(camera, right - 0.07, right + 0.07), paint)
    if plan.oncoming_lanes:
        for x in (left - 0.18, left + 0.06):
            canvas.detail(strip(camera, x, x + 0.12), yellow)
        for one, two in zip(plan.oncoming_lanes, plan.oncoming_lanes[1:], strict=False):
            _dashes(canvas, camera, (one + two) / 2, start, paint)
    else:
        canvas.detail(strip(camera, left - 0.07, left + 0.07), yellow)
    if plan.scene == "city street" and draw.chance(0.35):
        z = draw.uniform(7, 20)
        count = int((plan.right - plan.left) / 1.1)
        bars = [plan.left + 0.4 + 1.1 * i for i in range(count)]
        canvas.details([strip(camera, x, x + 0.55, 0.0, z, z + 3.0) for x in bars], paint)


def _dashes(canvas: Canvas, camera: Camera, x: float, start: float, paint: Colour) -> None:
    starts = [start + 9.0 * i for i in range(10)]
    canvas.details([strip(camera, x - 0.07, x + 0.07, 0.0, max(z, NEAR_M), z + 3.5) for z in starts], paint)


def _rails(canvas: Canvas, plan: Plan, road: int, asphalt: Colour) -> None:
    assert plan.track is not None
    camera, x = plan.camera, plan.track
    bed = shade(mix(asphalt, (120, 104, 90), 0.5), 0.85)
    canvas.shape(strip(camera, x - 1.7, x + 1.7), road, bed)
    for rail in (x - 0.75, x + 0.75):
        canvas.detail(strip(camera, rail - 0.06, rail + 0.06), (64, 60, 60))
        canvas.detail(strip(camera, rail - 0.02, rail + 0.02), (170, 168, 165))
