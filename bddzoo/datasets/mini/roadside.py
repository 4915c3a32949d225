"""What stands next to the road: houses, walls, fences, hedges, trees, lamp posts, lights and signs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.mini.draw import (
    Camera,
    Colour,
    Disc,
    Draw,
    Figure,
    Layer,
    Outline,
    Part,
    Points,
    Scene,
    box,
    ellipse,
    limb,
    mix,
    shade,
    taper,
)  # fmt: skip
from bddzoo.datasets.mini.ground import BUILDING, VEGETATION

WALL, FENCE, POLE, LIGHT, SIGN = 3, 4, 5, 6, 7

_BRICKS: list[Colour] = [
    (150, 92, 74), (176, 150, 120), (140, 136, 132), (186, 176, 158), (122, 88, 80), (108, 116, 126),
    (196, 168, 128), (160, 120, 96),
]  # fmt: skip
_PANES: list[Colour] = [(62, 74, 88), (48, 54, 64), (96, 116, 134)]
_STEEL: list[Colour] = [(116, 118, 120), (78, 82, 84), (146, 146, 144), (88, 84, 72)]
_LENSES: list[tuple[str, Colour]] = [
    ("red", (246, 50, 40)), ("amber", (252, 190, 50)), ("green", (60, 236, 140)),
]  # fmt: skip
# Corners of a rectangle in shares of its width and height, as rows for many rectangles at once.
_LEFT_RIGHT, _BELOW_ABOVE = np.array([[0, 1, 1, 0]]), np.array([[0, 0, 1, 1]])


def face(camera: Camera, x: float, y0: float, y1: float, z0: float, z1: float) -> Points:
    """Outline of an upright face along the street at x."""
    cuts = np.linspace(z0, z1, 5)
    return np.concatenate([camera.project(x, y0, cuts), camera.project(x, y1, cuts[::-1])])


def houses(scene: Scene) -> list[Layer]:
    """Both rows of houses, as items to paint."""
    items: list[Layer] = []
    plan, draw = scene.plan, scene.draw
    city, residential = plan.scene == "city street", plan.scene == "residential"
    density = {"city street": 0.93, "residential": 0.75, "highway": 0.3}[plan.scene]
    for side, edge in plan.sides:
        offset = 0.2 + plan.verge + plan.walk + plan.yard
        z = draw.uniform(-6, 3)
        while z < 120:
            length = draw.uniform(9, 14 if residential else 24)
            if draw.chance(density):
                x = edge + side * (offset + draw.uniform(0, 0.8 if city else 3.0))
                tall = draw.uniform(4.5, 8) if residential else draw.uniform(7, 24)
                items.append((z + length, _house(scene, side, x, z, z + length, tall)))
            z += length + (draw.uniform(0, 1.5) if city else draw.uniform(2, 7))
    return items


def _house(scene: Scene, side: float, x: float, z0: float, z1: float, tall: float) -> Callable[[], None]:
    canvas, plan, draw, camera = scene.canvas, scene.plan, scene.draw, scene.plan.camera
    colour = draw.vary(draw.pick(_BRICKS), 14)
    pane = draw.pick(_PANES)
    storey, bay = draw.uniform(2.9, 3.6), draw.uniform(2.2, 3.6)
    side_light = 0.78 if side > 0 else 0.98
    shop = plan.scene == "city street" and draw.chance(0.5)
    awning = draw.pick([(150, 52, 48), (52, 92, 70), (58, 70, 120), (190, 160, 90)])
    lit = scene.stream(5)
    roof = draw.vary((96, 62, 54), 12)

    def paint() -> None:
        if z1 < 2.0:
            return
        index = canvas.surface(BUILDING, max((max(z0, 2.0) + z1) / 2, 2.0))
        near = max(z0, 1.6)
        if z0 > 1.6:
            ends = camera.project([x, x + side * 12, x + side * 12, x], [0, 0, tall, tall], z0)
            canvas.shape(ends, index, shade(colour, 0.88))
            if z0 <= 60:
                columns = x + side * np.arange(1.0, 10.5, bay)
                across, up = _cells(columns, np.arange(1.0, tall - storey * 0.7, storey))
                across = across + _LEFT_RIGHT * side * bay * 0.45
                windows(camera.project(across, up + _BELOW_ABOVE * storey * 0.5, z0))
        canvas.shape(face(camera, x, 0.0, tall, near, z1), index, shade(colour, side_light))
        if plan.scene == "residential":
            xs, ys = x + side * 3.0 * _BELOW_ABOVE[0], tall + 2.4 * _BELOW_ABOVE[0]
            slope = camera.project(xs, ys, [near, z1, z1, near])
            canvas.shape(slope, index, roof)
        else:
            canvas.detail(face(camera, x, tall - 0.4, tall, near, z1), shade(colour, side_light * 1.15))
        starts = [z for z in np.arange(z0 + 0.8, z1 - bay * 0.7, bay) if z > near]
        if starts and z0 <= 70:
            street_side(near, np.array(starts))

    def street_side(near: float, starts: NDArray[np.float64]) -> None:
        along, up = _cells(starts, np.arange(storey + 0.6 if shop else 1.0, tall - storey * 0.7, storey))
        rows = up + np.array([[-0.06, -0.06, 1.06, 1.06]]) * storey * 0.5
        frames = camera.project(x, rows, along + np.array([[-0.08, 1.08, 1.08, -0.08]]) * bay * 0.5)
        canvas.details(frames, shade(colour, side_light * 1.22))
        windows(camera.project(x, up + _BELOW_ABOVE * storey * 0.5, along + _LEFT_RIGHT * bay * 0.5))
        if shop:
            light = shade((230, 200, 150), 0.5) if plan.night else None
            canvas.detail(face(camera, x, 0.5, storey - 0.5, near + 0.3, z1 - 0.4), shade(pane, 0.9), light)
            canvas.detail(face(camera, x, storey - 0.5, storey, near, z1), awning)

    def windows(quads: Points) -> None:
        bright = np.array([lit.chance(0.4) for _ in quads], bool)
        canvas.details(quads[~bright], shade(pane, 0.8) if plan.lamps else pane)
        if plan.lamps:
            canvas.details(quads[bright], (214, 178, 110), (170, 130, 66))
        else:
            canvas.details(quads[bright], mix(pane, (176, 196, 214), 0.4))

    return paint


def _cells(columns: NDArray[np.float64], rows: NDArray[np.float64]) -> tuple[Points, Points]:
    """Column and row (N, 1) of each cell of a grid."""
    a, b = np.meshgrid(columns, rows)
    return a.ravel()[:, None], b.ravel()[:, None]


def barriers(scene: Scene) -> list[Layer]:
    """Walls, fences and hedges behind the sidewalk, or along a highway."""
    items: list[Layer] = []
    plan, draw = scene.plan, scene.draw
    sides = plan.sides if draw.chance(0.5) else plan.sides[::-1]
    kinds: list[str] = [k for k in ("wall", "fence") if k in plan.wants]
    if len(kinds) == 1 and draw.chance(0.5):
        kinds.append(draw.pick(["hedge", "fence", "wall"]))
    for (side, edge), kind in zip(sides, kinds, strict=False):
        gap = 0.2 + plan.verge + plan.walk + 0.25 if plan.walk else 0.6
        if plan.walk and plan.yard < 1.0:
            gap -= 0.15
        z = draw.uniform(1.6, 7)
        for _ in range(draw.integer(2, 4)):
            length = draw.uniform(10, 26)
            items += {"wall": _wall, "fence": _fence, "hedge": _hedge}[kind](
                scene, edge + side * gap, z, z + length
            )
            z += length + draw.uniform(0.0, 3.0)
            if z > 75:
                break
    return items


def _wall(scene: Scene, x: float, z0: float, z1: float) -> list[Layer]:
    canvas, draw, camera = scene.canvas, scene.draw, scene.plan.camera
    tall = draw.uniform(1.5, 2.8)
    colour = draw.vary(draw.pick([(172, 166, 156), (158, 124, 100), (146, 146, 148), (182, 158, 132)]), 10)
    sprayed = [(170, 70, 80), (70, 110, 170), (210, 190, 90)]
    painted = [(draw.uniform(z0, z1), draw.pick(sprayed)) for _ in range(2)]
    tags = painted if draw.chance(0.4) else []

    def paint() -> None:
        index = canvas.surface(WALL, (z0 + z1) / 2)
        canvas.shape(face(camera, x, 0.0, tall, z0, z1), index, colour)
        for y in np.arange(0.4, tall, 0.4):
            canvas.detail(face(camera, x, y, y + 0.035, z0, z1), shade(colour, 0.8))
        for z in np.arange(z0, z1, 2.0):
            joint = camera.project(x, [0, tall, tall, 0], [z, z, z + 0.06, z + 0.06])
            canvas.detail(joint, shade(colour, 0.72))
        for z, tag in tags:
            end = min(z + 1.6, z1)
            canvas.detail(camera.project(x, [0.4, 1.1, 1.3, 0.5], [z, z, end, end]), tag)
        canvas.detail(face(camera, x, tall - 0.14, tall, z0, z1), shade(colour, 1.18))

    return [(z1, paint)]


def _fence(scene: Scene, x: float, z0: float, z1: float) -> list[Layer]:
    canvas, draw, camera = scene.canvas, scene.draw, scene.plan.camera
    tall = draw.uniform(1.1, 2.0)
    colour = draw.vary(draw.pick([(60, 62, 64), (132, 100, 70), (206, 204, 198), (70, 88, 74)]), 8)
    step = draw.uniform(0.22, 0.34)

    def paint() -> None:
        canvas.label(face(camera, x, 0.0, tall, z0, z1), canvas.surface(FENCE, (z0 + z1) / 2))
        bars = np.arange(z0, z1, step)[:, None] + _BELOW_ABOVE * step * 0.42
        canvas.details(camera.project(x, [0.08, tall, tall, 0.08], bars), colour)
        for y in (0.15, tall * 0.5, tall - 0.18):
            canvas.detail(face(camera, x, y, y + 0.09, z0, z1), shade(colour, 0.85))
        posts = np.arange(z0, z1, 2.5)[:, None] + np.array([[0, 0, 0.16, 0.16]])
        canvas.details(camera.project(x, [0, tall, tall, 0], posts), shade(colour, 0.7))

    return [(z1, paint)]


def _hedge(scene: Scene, x: float, z0: float, z1: float) -> list[Layer]:
    items: list[Layer] = []
    z = z1
    while z > z0:
        items.append((z, _bush(scene, x, z, scene.draw.uniform(0.8, 1.5))))
        z -= 1.1
    return items


def _bush(scene: Scene, x: float, z: float, size: float) -> Callable[[], None]:
    leaf = scene.stream(6)
    return lambda: foliage(scene, leaf, x, size * 0.45, z, size * 0.75, 9)


def foliage(scene: Scene, draw: Draw, x: float, y: float, z: float, size: float, count: int) -> None:
    """A ball of leaves of the given radius: overlapping clumps, brighter above."""
    base = draw.vary(draw.pick([(58, 92, 44), (72, 104, 50), (50, 80, 48), (86, 104, 52)]), 10)
    index = scene.canvas.surface(VEGETATION, z)
    scale, centre = scene.plan.camera.scale(z), scene.plan.camera.project(x, y, z)
    for i in range(count):
        dx, dy = draw.around(0, size), draw.around(0, size * 0.8)
        radius = draw.uniform(0.28, 0.5) * size
        tone = 0.72 + 0.4 * i / count - 0.16 * dy / size * -1
        middle = np.array([centre[0] + dx * scale, centre[1] - dy * scale])
        blob = ellipse(middle[0], middle[1], radius * scale, radius * scale * 0.85)
        wobble = 1.0 + 0.22 * np.array([draw.uniform(-1, 1) for _ in range(len(blob))])[:, None]
        scene.canvas.shape(middle + (blob - middle) * wobble, index, draw.vary(shade(base, tone), 9))


def trees(scene: Scene) -> list[Layer]:
    """Trees on the verges, in yards and along highways."""
    items: list[Layer] = []
    plan, draw = scene.plan, scene.draw
    probability = {"city street": 0.45, "residential": 0.85, "highway": 0.8}[plan.scene]
    for side, edge in plan.sides:
        z = draw.uniform(5, 14)
        while z < 90:
            if draw.chance(probability):
                if plan.walk:
                    inside = 0.6 if plan.verge or plan.yard < 2 else plan.walk + plan.verge + plan.yard * 0.5
                else:
                    inside = draw.uniform(3.5, 10)
                items.append((z, _tree(scene, edge + side * inside, z)))
            z += draw.uniform(7, 16)
    return items


def _tree(scene: Scene, x: float, z: float) -> Callable[[], None]:
    canvas, draw = scene.canvas, scene.draw
    tall, size = draw.uniform(2.6, 4.2), draw.uniform(1.5, 2.6)
    bark = draw.vary((84, 66, 50), 10)
    leaf = scene.stream(7)

    def paint() -> None:
        trunk = scene.plan.camera.project([x - 0.17, x - 0.12, x + 0.12, x + 0.17], [0, tall, tall, 0], z)
        canvas.shape(trunk, canvas.surface(VEGETATION, z), bark)
        foliage(scene, leaf, x, tall + size * 0.5, z, size, 26)

    return paint


def _mast(
    figure: Figure, pole: int, steel: Colour, below: float, above: float, tall: float, dark: float
) -> None:
    figure.shape(pole, (taper(below, above, 0, tall), steel))
    figure.detail(([(0.0, 0), (below, 0), (above, tall), (0.0, tall)], shade(steel, dark)))


def lamp_post(scene: Scene, x: float, z: float) -> Layer:
    """A lamp post whose arm reaches over the road."""
    draw, lit = scene.draw, scene.plan.lamps
    steel, tall = draw.vary(draw.pick(_STEEL), 8), draw.uniform(6.0, 8.5)
    reach = -1.8 if x > 0 else 1.8

    def run() -> None:
        figure, pole = Figure(scene, x, 0.0, z), scene.canvas.surface(POLE, z)
        _mast(figure, pole, steel, 0.13, 0.09, tall, 0.72)
        y0, y1 = tall + 0.25, tall + 0.45
        lamp = [(reach - 0.35, y0), (reach + 0.35, y0), (reach + 0.25, y1), (reach - 0.25, y1)]
        figure.shape(
            pole,
            (limb((0.0, tall - 0.05), (reach, tall + 0.35), 0.14), steel),
            (lamp, (250, 226, 170), (255, 220, 150)) if lit else (lamp, shade(steel, 0.8)),
        )

    return (z, run)


def traffic_light(scene: Scene, x: float, z: float, *, arm: bool) -> Layer:
    """A signal on a mast, and a second one on an arm over the road."""
    draw = scene.draw
    steel = draw.vary(draw.pick(_STEEL), 8)
    state = draw.pick(["red", "red", "amber", "green", "green"])
    case = draw.pick([(36, 38, 38), (36, 38, 38), (196, 160, 48)])
    over = -(abs(x) - 0.9) * (1.0 if x > 0 else -1.0)

    def head(figure: Figure, dx: float, y: float) -> None:
        figure.shape(scene.canvas.surface(LIGHT, z), (box(dx - 0.24, dx + 0.24, y, y + 1.2), case))
        for i, (name, lens) in enumerate(_LENSES):
            disc = Disc(dx, y + 1.2 - 0.22 - 0.38 * i, 0.15, 0.15)
            figure.detail((disc, lens, lens) if name == state else (disc, (74, 70, 66)))

    def run() -> None:
        figure, pole = Figure(scene, x, 0.0, z), scene.canvas.surface(POLE, z)
        tall = 5.9 if arm else 3.5
        _mast(figure, pole, steel, 0.12, 0.1, tall, 0.74)
        if arm:
            figure.shape(pole, (limb((0.0, tall - 0.1), (over, tall), 0.16), steel))
            head(figure, over, tall - 0.75)
            if abs(over) > 4:
                head(figure, over * 0.5, tall - 0.78)
        head(figure, 0.0, 2.35)

    return (z, run)


def sign(scene: Scene, x: float, z: float) -> Layer:
    """A traffic sign on a post."""
    draw = scene.draw
    steel = draw.vary(draw.pick(_STEEL), 8)
    kind = draw.pick(["stop", "limit", "warning", "yield", "blue", "square"])
    size = draw.uniform(0.36, 0.46)

    def run() -> None:
        figure = Figure(scene, x, 0.0, z)
        pole, plate = scene.canvas.surface(POLE, z), scene.canvas.surface(SIGN, z)
        figure.shape(pole, (box(-0.07, 0.07, 0, 2.2), steel))
        back, *front = _plate(kind, 2.5, size)
        figure.shape(plate, back)
        figure.detail(*front)

    return (z, run)


def _plate(kind: str, y: float, size: float) -> list[Part]:
    """A sign around (0, y): its plate, and what is painted on it."""

    def scaled(k: float, *points: tuple[float, float]) -> Outline:
        return [(px * size * k, y + py * size * k) for px, py in points]

    if kind == "stop":
        corners = [(0.414, 1.0), (1.0, 0.414), (1.0, -0.414), (0.414, -1.0)]
        octagon = [*corners, *((-px, -py) for px, py in corners)]
        bar = box(-0.26, 0.26, y - 0.08, y + 0.08)
        return [
            (scaled(1.0, *octagon), (236, 234, 232)),
            (scaled(0.9, *octagon), (192, 30, 38)),
            (bar, (236, 234, 232)),
        ]
    if kind == "warning":
        diamond = [(0, 1.2), (1.2, 0), (0, -1.2), (-1.2, 0)]
        bar = box(-0.05, 0.05, y - 0.22, y + 0.22)
        return [
            (scaled(1.0, *diamond), (40, 38, 30)),
            (scaled(0.9, *diamond), (244, 196, 44)),
            (bar, (34, 32, 28)),
        ]
    if kind == "yield":
        triangle = [(-1.15, 0.9), (1.15, 0.9), (0, -1.1)]
        return [(scaled(1.0, *triangle), (200, 34, 40)), (scaled(0.6, *triangle), (240, 238, 234))]
    if kind == "limit":
        bar = box(-0.16, 0.16, y - 0.12, y + 0.12)
        inner = Disc(0, y, size * 0.76, size * 0.76)
        return [(Disc(0, y, size, size), (204, 36, 40)), (inner, (240, 240, 236)), (bar, (60, 60, 64))]
    if kind == "blue":
        inner, bar = Disc(0, y, size * 0.92, size * 0.92), limb((0, y - 0.22), (0, y + 0.22), 0.09)
        return [(Disc(0, y, size, size), (236, 238, 240)), (inner, (30, 84, 176)), (bar, (240, 240, 240))]
    square = [(-0.85, 1.1), (0.85, 1.1), (0.85, -1.1), (-0.85, -1.1)]
    lines: list[Part] = [(box(-0.2, 0.2, y + dy, y + dy + 0.1), (36, 36, 40)) for dy in (-0.3, 0.15)]
    return [(scaled(1.0, *square), (240, 240, 238)), (scaled(0.84, *square), (226, 228, 226)), *lines]


def board(scene: Scene, z: float) -> Layer:
    """A green direction sign over a highway, on two posts."""
    plan, draw = scene.plan, scene.draw
    left, right = plan.left - 0.5, plan.right + 0.5
    across = right - left
    steel = draw.vary((138, 140, 142), 8)
    green = draw.vary(draw.pick([(16, 108, 68), (20, 84, 150)]), 6)
    panels = [
        (draw.uniform(*start), draw.uniform(*most))
        for start, most in (((0.5, 1.2), (3.2, 4.4)), ((5.4, 6.2), (2.6, 3.6)))
    ]

    def run() -> None:
        figure = Figure(scene, left, 0.0, z)
        pole, plate = scene.canvas.surface(POLE, z), scene.canvas.surface(SIGN, z)
        posts: list[Part] = [(box(x - 0.2, x + 0.2, 0, 6.6), steel) for x in (0.0, across)]
        figure.shape(pole, *posts, (box(0, across, 6.0, 6.35), shade(steel, 0.9)))
        for x, most in panels:
            wide = min(most, across - x)
            if wide < 1.0:
                continue
            figure.shape(plate, (box(x, x + wide, 5.0, 7.2), (232, 236, 232)))
            figure.detail((box(x + 0.08, x + wide - 0.08, 5.08, 7.12), green))
            for y, share in ((6.5, 0.8), (6.0, 0.6), (5.5, 0.7)):
                figure.detail((box(x + 0.3, x + 0.3 + (wide - 0.6) * share, y, y + 0.26), (226, 232, 228)))

    return (z, run)
