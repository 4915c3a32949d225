"""What stands next to the road: houses, walls, fences, hedges, trees, lamp posts, lights and signs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.mini.draw import Camera, Canvas, Colour, Draw, Layer, Plan, Points, ellipse, mix, shade
from bddzoo.datasets.mini.ground import BUILDING, VEGETATION
from bddzoo.datasets.mini.people import Figure

WALL, FENCE = 3, 4

_BRICKS: list[Colour] = [
    (150, 92, 74), (176, 150, 120), (140, 136, 132), (186, 176, 158), (122, 88, 80), (108, 116, 126),
    (196, 168, 128), (160, 120, 96),
]  # fmt: skip
_PANES: list[Colour] = [(62, 74, 88), (48, 54, 64), (96, 116, 134)]


def face(camera: Camera, x: float, y0: float, y1: float, z0: float, z1: float) -> Points:
    """Outline of an upright face along the street at x."""
    cuts = np.linspace(z0, z1, 5)
    return np.concatenate([camera.project(x, y0, cuts), camera.project(x, y1, cuts[::-1])])


def grid(
    camera: Camera, x: NDArray[np.float64] | float, y: Points, z: NDArray[np.float64] | float
) -> list[Points]:
    """Quads from corner arrays of shape (N, 4)."""
    return list(camera.project(x, y, z))


def houses(canvas: Canvas, plan: Plan, draw: Draw) -> list[Layer]:
    """Both rows of houses, as items to paint."""
    items: list[Layer] = []
    density = {"city street": 0.93, "residential": 0.75, "highway": 0.3}[plan.scene]
    for side, edge in ((-1.0, plan.left), (1.0, plan.right)):
        offset = 0.2 + plan.verge + plan.walk + plan.yard
        z = draw.uniform(-6, 3)
        while z < 120:
            length = draw.uniform(9, 24) if plan.scene != "residential" else draw.uniform(9, 14)
            if draw.chance(density):
                x = edge + side * (offset + draw.uniform(0, 0.8 if plan.scene == "city street" else 3.0))
                tall = draw.uniform(7, 24) if plan.scene != "residential" else draw.uniform(4.5, 8)
                key = (z + length, _house_painter(canvas, plan, draw, side, x, z, z + length, tall))
                items.append(key)
            z += length + (draw.uniform(0, 1.5) if plan.scene == "city street" else draw.uniform(2, 7))
    return items


def _house_painter(
    canvas: Canvas, plan: Plan, draw: Draw, side: float, x: float, z0: float, z1: float, tall: float
) -> Callable[[], None]:
    camera = plan.camera
    colour = draw.vary(draw.pick(_BRICKS), 14)
    pane = draw.pick(_PANES)
    storey, bay = draw.uniform(2.9, 3.6), draw.uniform(2.2, 3.6)
    side_light = 0.78 if side > 0 else 0.98
    shop = plan.scene == "city street" and draw.chance(0.5)
    awning = draw.pick([(150, 52, 48), (52, 92, 70), (58, 70, 120), (190, 160, 90)])
    lit = Draw(draw.integer(0, 1 << 30), 5)
    roof = draw.vary((96, 62, 54), 12)

    def paint() -> None:
        if z1 < 2.0:
            return
        index = canvas.surface(BUILDING, max((max(z0, 2.0) + z1) / 2, 2.0))
        near = max(z0, 1.6)
        if z0 > 1.6:
            ends = camera.project([x, x + side * 12, x + side * 12, x], [0, 0, tall, tall], z0)
            canvas.shape(ends, index, shade(colour, 0.88))
            _front_panes(z0, index)
        canvas.shape(face(camera, x, 0.0, tall, near, z1), index, shade(colour, side_light))
        if plan.scene == "residential":
            ridge = np.concatenate(
                [camera.project(x, tall, [near, z1]), camera.project(x + side * 3.0, tall + 2.4, [z1, near])]
            )
            canvas.shape(ridge, index, roof)
        else:
            canvas.detail([face(camera, x, tall - 0.4, tall, near, z1)], shade(colour, side_light * 1.15))
        _side_panes(near)

    def _side_panes(near: float) -> None:
        starts = [z for z in np.arange(z0 + 0.8, z1 - bay * 0.7, bay) if z > near]
        floors = np.arange(1.0 if not shop else storey + 0.6, tall - storey * 0.7, storey)
        if not starts or z0 > 70:
            return
        zz, yy = np.meshgrid(np.array(starts), floors)
        zz, yy = zz.ravel()[:, None], yy.ravel()[:, None]
        quads = grid(
            camera, x, yy + np.array([[0, 0, 1, 1]]) * storey * 0.5, zz + np.array([[0, 1, 1, 0]]) * bay * 0.5
        )
        frames = grid(
            camera, x, yy + np.array([[-0.06, -0.06, 1.06, 1.06]]) * storey * 0.5,
            zz + np.array([[-0.08, 1.08, 1.08, -0.08]]) * bay * 0.5,
        )  # fmt: skip
        canvas.detail(frames, shade(colour, side_light * 1.22))
        _windows(quads)
        if shop:
            canvas.detail(
                [face(camera, x, 0.5, storey - 0.5, near + 0.3, z1 - 0.4)], shade(pane, 0.9), _light(0.5)
            )
            canvas.detail([face(camera, x, storey - 0.5, storey, near, z1)], awning)

    def _front_panes(z: float, index: int) -> None:
        if z > 60:
            return
        columns = x + side * np.arange(1.0, 10.5, bay)
        floors = np.arange(1.0, tall - storey * 0.7, storey)
        xx, yy = np.meshgrid(columns, floors)
        xx, yy = xx.ravel()[:, None], yy.ravel()[:, None]
        quads = grid(
            camera,
            xx + np.array([[0, 1, 1, 0]]) * side * bay * 0.45,
            yy + np.array([[0, 0, 1, 1]]) * storey * 0.5,
            z,
        )
        _windows(quads)

    def _windows(quads: list[Points]) -> None:
        bright = [lit.chance(0.4) for _ in quads]
        if plan.night or plan.timeofday == "dawn/dusk":
            canvas.detail([q for q, b in zip(quads, bright, strict=True) if not b], shade(pane, 0.8))
            warm = [q for q, b in zip(quads, bright, strict=True) if b]
            canvas.detail(warm, (214, 178, 110), (170, 130, 66))
        else:
            canvas.detail([q for q, b in zip(quads, bright, strict=True) if not b], pane)
            canvas.detail(
                [q for q, b in zip(quads, bright, strict=True) if b], mix(pane, (176, 196, 214), 0.4)
            )

    def _light(share: float) -> Colour | None:
        return shade((230, 200, 150), share) if plan.night else None

    return paint


def barriers(canvas: Canvas, plan: Plan, draw: Draw) -> list[Layer]:
    """Walls, fences and hedges behind the sidewalk, or beside a highway."""
    items: list[Layer] = []
    sides = [-1.0, 1.0] if draw.chance(0.5) else [1.0, -1.0]
    kinds: list[str] = [k for k in ("wall", "fence") if k in plan.wants]
    if len(kinds) == 1 and draw.chance(0.5):
        kinds.append(draw.pick(["hedge", "fence", "wall"]))
    for side, kind in zip(sides, kinds, strict=False):
        edge = plan.left if side < 0 else plan.right
        gap = 0.2 + plan.verge + plan.walk + 0.25 if plan.walk else 0.6
        if plan.walk and plan.yard < 1.0:
            gap -= 0.15
        x = edge + side * gap
        z = draw.uniform(1.6, 7)
        for _ in range(draw.integer(2, 4)):
            length = draw.uniform(10, 26)
            if kind == "wall":
                items += _wall(canvas, plan, draw, x, z, z + length)
            elif kind == "fence":
                items += _fence(canvas, plan, draw, x, z, z + length)
            else:
                items += _hedge(canvas, plan, draw, x, z, z + length)
            z += length + draw.uniform(0.0, 3.0)
            if z > 75:
                break
    return items


def _wall(canvas: Canvas, plan: Plan, draw: Draw, x: float, z0: float, z1: float) -> list[Layer]:
    tall = draw.uniform(1.5, 2.8)
    colour = draw.vary(draw.pick([(172, 166, 156), (158, 124, 100), (146, 146, 148), (182, 158, 132)]), 10)
    painted = [
        (draw.uniform(z0, z1), draw.pick([(170, 70, 80), (70, 110, 170), (210, 190, 90)])) for _ in range(2)
    ]
    tags = painted if draw.chance(0.4) else []

    def paint() -> None:
        camera = plan.camera
        index = canvas.surface(WALL, (z0 + z1) / 2)
        canvas.shape(face(camera, x, 0.0, tall, z0, z1), index, colour)
        rows = [face(camera, x, y, y + 0.035, z0, z1) for y in np.arange(0.4, tall, 0.4)]
        canvas.detail(rows, shade(colour, 0.8))
        joints = [
            camera.project(x, [0, tall, tall, 0], [z, z, z + 0.06, z + 0.06]) for z in np.arange(z0, z1, 2.0)
        ]
        canvas.detail(joints, shade(colour, 0.72))
        for z, tag in tags:
            canvas.detail(
                [camera.project(x, [0.4, 1.1, 1.3, 0.5], [z, z, min(z + 1.6, z1), min(z + 1.6, z1)])], tag
            )
        canvas.detail([face(camera, x, tall - 0.14, tall, z0, z1)], shade(colour, 1.18))

    return [(z1, paint)]


def _fence(canvas: Canvas, plan: Plan, draw: Draw, x: float, z0: float, z1: float) -> list[Layer]:
    tall = draw.uniform(1.1, 2.0)
    colour = draw.vary(draw.pick([(60, 62, 64), (132, 100, 70), (206, 204, 198), (70, 88, 74)]), 8)
    step = draw.uniform(0.22, 0.34)

    def paint() -> None:
        camera = plan.camera
        index = canvas.surface(FENCE, (z0 + z1) / 2)
        canvas.label(face(camera, x, 0.0, tall, z0, z1), index)
        bars = np.arange(z0, z1, step)[:, None] + np.array([[0, 0, 1, 1]]) * step * 0.42
        canvas.detail(grid(camera, x, np.broadcast_to([[0.08, tall, tall, 0.08]], bars.shape), bars), colour)
        for y in (0.15, tall * 0.5, tall - 0.18):
            canvas.detail([face(camera, x, y, y + 0.09, z0, z1)], shade(colour, 0.85))
        posts = np.arange(z0, z1, 2.5)[:, None] + np.array([[0, 0, 0.16, 0.16]])
        canvas.detail(
            grid(camera, x, np.broadcast_to([[0, tall, tall, 0]], posts.shape), posts), shade(colour, 0.7)
        )

    return [(z1, paint)]


def _hedge(canvas: Canvas, plan: Plan, draw: Draw, x: float, z0: float, z1: float) -> list[Layer]:
    items: list[Layer] = []
    z = z1
    while z > z0:
        items.append((z, _bush(canvas, plan, draw, x, z, draw.uniform(0.8, 1.5))))
        z -= 1.1
    return items


def _bush(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float, size: float) -> Callable[[], None]:
    leaf = Draw(draw.integer(0, 1 << 30), 6)

    def paint() -> None:
        foliage(canvas, plan, leaf, x, size * 0.45, z, size * 0.75, 9)

    return paint


def foliage(
    canvas: Canvas, plan: Plan, draw: Draw, x: float, y: float, z: float, size: float, count: int
) -> None:
    """A ball of leaves of the given radius: overlapping clumps, brighter above."""
    base = draw.vary(draw.pick([(58, 92, 44), (72, 104, 50), (50, 80, 48), (86, 104, 52)]), 10)
    index = canvas.surface(VEGETATION, z)
    scale = plan.camera.scale(z)
    centre = plan.camera.project(x, y, z)
    for i in range(count):
        dx, dy = draw.around(0, size), draw.around(0, size * 0.8)
        radius = draw.uniform(0.28, 0.5) * size
        tone = 0.72 + 0.4 * i / count - 0.16 * dy / size * -1
        blob = ellipse(centre[0] + dx * scale, centre[1] - dy * scale, radius * scale, radius * scale * 0.85)
        wobble = 1.0 + 0.22 * np.array([draw.uniform(-1, 1) for _ in range(len(blob))])[:, None]
        middle = np.array([[centre[0] + dx * scale, centre[1] - dy * scale]])
        canvas.shape(middle + (blob - middle) * wobble, index, draw.vary(shade(base, tone), 9))


def trees(canvas: Canvas, plan: Plan, draw: Draw) -> list[Layer]:
    """Trees on the verges, in yards and beside highways."""
    items: list[Layer] = []
    probability = {"city street": 0.45, "residential": 0.85, "highway": 0.8}[plan.scene]
    for side, edge in ((-1.0, plan.left), (1.0, plan.right)):
        z = draw.uniform(5, 14)
        while z < 90:
            if draw.chance(probability):
                if plan.walk:
                    inside = 0.6 if plan.verge or plan.yard < 2 else plan.walk + plan.verge + plan.yard * 0.5
                else:
                    inside = draw.uniform(3.5, 10)
                items.append((z, _tree(canvas, plan, draw, edge + side * inside, z)))
            z += draw.uniform(7, 16)
    return items


def _tree(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float) -> Callable[[], None]:
    tall, size = draw.uniform(2.6, 4.2), draw.uniform(1.5, 2.6)
    bark = draw.vary((84, 66, 50), 10)
    leaf = Draw(draw.integer(0, 1 << 30), 7)

    def paint() -> None:
        index = canvas.surface(VEGETATION, z)
        trunk = plan.camera.project([x - 0.17, x - 0.12, x + 0.12, x + 0.17], [0, tall, tall, 0], z)
        canvas.shape(trunk, index, bark)
        foliage(canvas, plan, leaf, x, tall + size * 0.5, z, size, 26)

    return paint


POLE, LIGHT, SIGN = 5, 6, 7
_STEEL: list[Colour] = [(116, 118, 120), (78, 82, 84), (146, 146, 144), (88, 84, 72)]
_LENSES: dict[str, tuple[int, Colour]] = {
    "red": (0, (246, 50, 40)),
    "amber": (1, (252, 190, 50)),
    "green": (2, (60, 236, 140)),
}
_OCTAGON: Points = np.array(
    [(0.414, 1), (1, 0.414), (1, -0.414), (0.414, -1), (-0.414, -1), (-1, -0.414), (-1, 0.414), (-0.414, 1)]
)


def lamp_post(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float) -> Layer:
    """A lamp post whose arm reaches over the road."""
    steel, tall = draw.vary(draw.pick(_STEEL), 8), draw.uniform(6.0, 8.5)
    reach = -1.8 if x > 0 else 1.8

    def run() -> None:
        figure = Figure(canvas, plan.camera, x, 0.0, z)
        pole = canvas.surface(POLE, z)
        canvas.shape(figure.points([(-0.13, 0), (0.13, 0), (0.09, tall), (-0.09, tall)]), pole, steel)
        canvas.detail([figure.points([(0.0, 0), (0.13, 0), (0.09, tall), (0.0, tall)])], shade(steel, 0.72))
        canvas.shape(figure.limb((0.0, tall - 0.05), (reach, tall + 0.35), 0.14), pole, steel)
        lamp = figure.points(
            [
                (reach - 0.35, tall + 0.25),
                (reach + 0.35, tall + 0.25),
                (reach + 0.25, tall + 0.45),
                (reach - 0.25, tall + 0.45),
            ]
        )
        lit = plan.timeofday != "daytime"
        canvas.shape(
            lamp, pole, (250, 226, 170) if lit else shade(steel, 0.8), (255, 220, 150) if lit else None
        )

    return (z, run)


def traffic_light(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float, *, arm: bool) -> Layer:
    """A signal on a mast, and a second one on an arm over the road."""
    steel = draw.vary(draw.pick(_STEEL), 8)
    state = draw.pick(["red", "red", "amber", "green", "green"])
    case = draw.pick([(36, 38, 38), (36, 38, 38), (196, 160, 48)])
    over = -(abs(x) - 0.9) * (1.0 if x > 0 else -1.0)

    def head(figure: Figure, dx: float, y: float) -> None:
        light = canvas.surface(LIGHT, z)
        canvas.shape(
            figure.points([(dx - 0.24, y), (dx + 0.24, y), (dx + 0.24, y + 1.2), (dx - 0.24, y + 1.2)]),
            light,
            case,
        )
        for i in range(3):
            colour: Colour = (74, 70, 66)
            glow: Colour | None = None
            place, lens = _LENSES[state]
            if i == place:
                colour, glow = lens, lens
            canvas.detail([figure.disc(dx, y + 1.2 - 0.22 - 0.38 * i, 0.15, 0.15)], colour, glow)

    def run() -> None:
        figure = Figure(canvas, plan.camera, x, 0.0, z)
        pole = canvas.surface(POLE, z)
        tall = 5.9 if arm else 3.5
        canvas.shape(figure.points([(-0.12, 0), (0.12, 0), (0.1, tall), (-0.1, tall)]), pole, steel)
        canvas.detail([figure.points([(0.0, 0), (0.12, 0), (0.1, tall), (0.0, tall)])], shade(steel, 0.74))
        if arm:
            canvas.shape(figure.limb((0.0, tall - 0.1), (over, tall), 0.16), pole, steel)
            head(figure, over, tall - 0.75)
            if abs(over) > 4:
                head(figure, over * 0.5, tall - 0.78)
        head(figure, 0.0, 2.35)

    return (z, run)


def sign(canvas: Canvas, plan: Plan, draw: Draw, x: float, z: float) -> Layer:
    """A traffic sign on a post."""
    steel = draw.vary(draw.pick(_STEEL), 8)
    kind = draw.pick(["stop", "limit", "warning", "yield", "blue", "square"])
    size = draw.uniform(0.36, 0.46)

    def run() -> None:
        figure = Figure(canvas, plan.camera, x, 0.0, z)
        pole, plate = canvas.surface(POLE, z), canvas.surface(SIGN, z)
        canvas.shape(figure.points([(-0.07, 0), (0.07, 0), (0.07, 2.2), (-0.07, 2.2)]), pole, steel)
        _plate(canvas, figure, plate, kind, 2.5, size)

    return (z, run)


def _plate(canvas: Canvas, figure: Figure, index: int, kind: str, y: float, size: float) -> None:
    def scaled(points: Points, k: float) -> Points:
        return figure.points([(float(px) * size * k, y + float(py) * size * k) for px, py in points])

    diamond = np.array([(0, 1.2), (1.2, 0), (0, -1.2), (-1.2, 0)])
    triangle = np.array([(-1.15, 0.9), (1.15, 0.9), (0, -1.1)])
    square = np.array([(-0.85, 1.1), (0.85, 1.1), (0.85, -1.1), (-0.85, -1.1)])
    if kind == "stop":
        canvas.shape(scaled(_OCTAGON, 1.0), index, (236, 234, 232))
        canvas.detail([scaled(_OCTAGON, 0.9)], (192, 30, 38))
        canvas.detail(
            [figure.points([(-0.26, y - 0.08), (0.26, y - 0.08), (0.26, y + 0.08), (-0.26, y + 0.08)])],
            (236, 234, 232),
        )
    elif kind == "warning":
        canvas.shape(scaled(diamond, 1.0), index, (40, 38, 30))
        canvas.detail([scaled(diamond, 0.9)], (244, 196, 44))
        canvas.detail(
            [figure.points([(-0.05, y - 0.22), (0.05, y - 0.22), (0.05, y + 0.22), (-0.05, y + 0.22)])],
            (34, 32, 28),
        )
    elif kind == "yield":
        canvas.shape(scaled(triangle, 1.0), index, (200, 34, 40))
        canvas.detail([scaled(triangle, 0.6)], (240, 238, 234))
    elif kind == "limit":
        canvas.shape(figure.disc(0, y, size, size), index, (204, 36, 40))
        canvas.detail([figure.disc(0, y, size * 0.76, size * 0.76)], (240, 240, 236))
        canvas.detail(
            [figure.points([(-0.16, y - 0.12), (0.16, y - 0.12), (0.16, y + 0.12), (-0.16, y + 0.12)])],
            (60, 60, 64),
        )
    elif kind == "blue":
        canvas.shape(figure.disc(0, y, size, size), index, (236, 238, 240))
        canvas.detail([figure.disc(0, y, size * 0.92, size * 0.92)], (30, 84, 176))
        canvas.detail([figure.limb((0, y - 0.22), (0, y + 0.22), 0.09)], (240, 240, 240))
    else:
        canvas.shape(scaled(square, 1.0), index, (240, 240, 238))
        canvas.detail([scaled(square, 0.84)], (226, 228, 226))
        canvas.detail(
            [
                figure.points([(-0.2, y + dy), (0.2, y + dy), (0.2, y + dy + 0.1), (-0.2, y + dy + 0.1)])
                for dy in (-0.3, 0.15)
            ],
            (36, 36, 40),
        )


def board(canvas: Canvas, plan: Plan, draw: Draw, z: float) -> Layer:
    """A green direction sign over a highway, on two posts."""
    left, right = plan.left - 0.5, plan.right + 0.5
    steel = draw.vary((138, 140, 142), 8)
    green = draw.vary(draw.pick([(16, 108, 68), (20, 84, 150)]), 6)
    panels = [
        (draw.uniform(0.5, 1.2), draw.uniform(3.2, 4.4)),
        (draw.uniform(5.4, 6.2), draw.uniform(2.6, 3.6)),
    ]

    def run() -> None:
        figure = Figure(canvas, plan.camera, left, 0.0, z)
        pole, plate = canvas.surface(POLE, z), canvas.surface(SIGN, z)
        for x in (0.0, right - left):
            canvas.shape(
                figure.points([(x - 0.2, 0), (x + 0.2, 0), (x + 0.2, 6.6), (x - 0.2, 6.6)]), pole, steel
            )
        canvas.shape(
            figure.points([(0, 6.0), (right - left, 6.0), (right - left, 6.35), (0, 6.35)]),
            pole,
            shade(steel, 0.9),
        )
        for x, most in panels:
            wide = min(most, right - left - x)
            if wide < 1.0:
                continue
            canvas.shape(
                figure.points([(x, 5.0), (x + wide, 5.0), (x + wide, 7.2), (x, 7.2)]), plate, (232, 236, 232)
            )
            canvas.detail(
                [
                    figure.points(
                        [(x + 0.08, 5.08), (x + wide - 0.08, 5.08), (x + wide - 0.08, 7.12), (x + 0.08, 7.12)]
                    )
                ],
                green,
            )
            lines = [(6.5, 0.8), (6.0, 0.6), (5.5, 0.7)]
            canvas.detail(
                [
                    figure.points(
                        [
                            (x + 0.3, y),
                            (x + 0.3 + (wide - 0.6) * k, y),
                            (x + 0.3 + (wide - 0.6) * k, y + 0.26),
                            (x + 0.3, y + 0.26),
                        ]
                    )
                    for y, k in lines
                ],
                (226, 232, 228),
            )

    return (z, run)
