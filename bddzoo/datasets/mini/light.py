"""From painted surfaces to a photograph: textures, light, weather, lens and sensor."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.mini.draw import HEIGHT, WIDTH, Canvas, Draw
from bddzoo.datasets.mini.scene import Plan

# Texture strength by semantic class id: fine grain and coarse blotches.
_FINE = {
    0: 0.10,
    1: 0.12,
    2: 0.06,
    3: 0.14,
    4: 0.08,
    5: 0.07,
    8: 0.34,
    9: 0.26,
    10: 0.012,
    11: 0.08,
    12: 0.08,
}
_COARSE = {0: 0.06, 1: 0.08, 2: 0.10, 3: 0.12, 8: 0.20, 9: 0.22}
_SNOW = {0: 0.30, 1: 0.62, 2: 0.12, 3: 0.15, 4: 0.15, 8: 0.38, 9: 0.85, 13: 0.16, 14: 0.14, 15: 0.1, 16: 0.1}
_VISIBILITY_M = {
    "clear": 900.0,
    "partly cloudy": 800.0,
    "overcast": 500.0,
    "rainy": 190.0,
    "snowy": 150.0,
    "foggy": 65.0,
}

Image = NDArray[np.uint8]
# OpenCV's stubs know no element types; what it returns for float32 is float32.
Real = NDArray[Any]


def _table(values: dict[int, float], default: float = 0.0) -> Real:
    table = np.full(256, default, np.float32)
    for key, value in values.items():
        table[key] = value
    return table


def develop(canvas: Canvas, plan: Plan, draw: Draw) -> Image:
    """The frame as a camera would have it: (HEIGHT, WIDTH, 3) uint8, RGB."""
    sem, depth = canvas.sem(), canvas.depth(plan.camera)
    fine = _fine(draw)
    coarse = cv2.resize(draw.noise(HEIGHT // 24, WIDTH // 24), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    blotch = coarse.astype(np.float32) / 127.5 - 1.0
    near = np.minimum(1.0, 30.0 / np.maximum(depth, 1.0))
    gain = 1.0 + cv2.LUT(sem, _table(_FINE, 0.05)) * fine * near + cv2.LUT(sem, _table(_COARSE)) * blotch
    image = canvas.image.astype(np.float32) * gain[..., None]
    if plan.weather == "snowy":
        cover = np.clip(cv2.LUT(sem, _table(_SNOW)) * (1.0 + 0.4 * blotch), 0, 0.95)[..., None]
        image += (np.array((226, 229, 235), np.float32) - image) * cover
    if plan.weather == "rainy":
        image = _wet(image, sem)
    image = _illuminate(image, canvas, plan, depth)
    image = _haze(image, plan, depth)
    image = _glow(image, canvas, plan)
    image = _falling(image, plan, draw)
    return _sensor(image, plan, draw)


def _fine(draw: Draw) -> Real:
    grain = draw.noise(HEIGHT, WIDTH).astype(np.float32) / 127.5 - 1.0
    medium = cv2.resize(draw.noise(HEIGHT // 4, WIDTH // 4), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return 0.55 * grain + 0.75 * (medium.astype(np.float32) / 127.5 - 1.0)


def _wet(image: Real, sem: Image) -> Real:
    # A wet road is darker and mirrors what stands above it, smeared downwards.
    small = cv2.resize(image, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
    mirror = cv2.resize(cv2.blur(small[::-1], (3, 31)), (WIDTH, HEIGHT))
    share = cv2.LUT(sem, _table({0: 0.35, 1: 0.22}))[..., None]
    wet: Real = image * (1 - 0.35 * (share > 0)) * (1 - share) + mirror * share
    return wet


def _illuminate(image: Real, canvas: Canvas, plan: Plan, depth: Real) -> Real:
    if plan.timeofday == "daytime":
        tint = {"clear": (1.06, 1.03, 0.97), "partly cloudy": (1.02, 1.0, 0.98)}.get(
            plan.weather, (0.9, 0.91, 0.93)
        )
        return image * np.array(tint, np.float32)
    if plan.timeofday == "dawn/dusk":
        return image * np.array((0.98, 0.84, 0.76), np.float32)
    # Night: a dim blue ambient, street lamps that fade with distance, and the car's own headlights.
    columns = (np.arange(WIDTH, dtype=np.float32) - plan.camera.centre_x) / plan.camera.focal_px
    cone = np.exp(-((columns / 0.42) ** 2)).astype(np.float32)[None, :]
    below = np.arange(HEIGHT, dtype=np.float32) - plan.camera.horizon_y
    rows = np.clip((below + 130) / 130, 0.15, 1)[:, None]
    beam = 0.95 * cone * rows * np.exp(-depth / 34.0)
    street = 0.34 * np.exp(-depth / 60.0) if plan.scene != "highway" else 0.2 * np.exp(-depth / 60.0)
    light = (0.20 + beam + street)[..., None]
    sky = (depth > 240)[..., None]
    return np.where(sky, image, image * light * np.array((1.0, 0.94, 0.84), np.float32))


def _haze(image: Real, plan: Plan, depth: Real) -> Real:
    colour = np.array((196, 200, 205), np.float32)
    if plan.timeofday == "dawn/dusk":
        colour = np.array((206, 160, 128), np.float32)
    elif plan.night:
        colour = np.array((34, 33, 40), np.float32)
    share = 1.0 - np.exp(-depth / _VISIBILITY_M[plan.weather])
    share = np.where(depth > 240, share * (1.0 if plan.weather == "foggy" else 0.12), share)
    return image + (colour - image) * share[..., None].astype(np.float32)


def _glow(image: Real, canvas: Canvas, plan: Plan) -> Real:
    if not canvas.glow.any():
        return image
    quarter = (WIDTH // 4, HEIGHT // 4)
    small = cv2.resize(canvas.glow, quarter, interpolation=cv2.INTER_AREA).astype(np.float32)
    halo: Real = cv2.GaussianBlur(small, (0, 0), 3) * 0.8 + cv2.GaussianBlur(small, (0, 0), 14) * 0.9
    strength = {"daytime": 0.12, "dawn/dusk": 0.5, "night": 1.0}[plan.timeofday]
    halo = cv2.resize(halo, (WIDTH, HEIGHT)) * strength
    lit: Real = image + halo + canvas.glow.astype(np.float32) * (0.7 * strength)
    return lit


def _falling(image: Real, plan: Plan, draw: Draw) -> Real:
    if plan.weather not in ("rainy", "snowy"):
        return image
    layer: Real = np.zeros((HEIGHT, WIDTH), np.uint8)
    if plan.weather == "rainy":
        slant = draw.uniform(-0.25, 0.25)
        for _ in range(260):
            x, y, long = draw.integer(0, WIDTH), draw.integer(-20, HEIGHT), draw.integer(10, 34)
            cv2.line(layer, (x, y), (int(x + slant * long), y + long), draw.integer(60, 150), 1, cv2.LINE_AA)
        layer = cv2.GaussianBlur(layer, (3, 3), 0)
    else:
        for _ in range(420):
            centre = (draw.integer(0, WIDTH), draw.integer(0, HEIGHT))
            radius = 1 if draw.chance(0.75) else draw.integer(2, 4)
            cv2.circle(layer, centre, radius, draw.integer(120, 230), -1, cv2.LINE_AA)
        layer = cv2.GaussianBlur(layer, (0, 0), 1.1)
    share = layer.astype(np.float32)[..., None] / 255.0 * (0.35 if plan.night else 0.75)
    return image + (225.0 - image) * share


def _sensor(image: Real, plan: Plan, draw: Draw) -> Image:
    x = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None]
    image = image * (draw.uniform(0.93, 1.07) * (1.0 - 0.13 * (x * x + y * y)))[..., None]
    image = cv2.GaussianBlur(image, (0, 0), draw.uniform(0.55, 0.85))
    level = 4.5 if plan.timeofday == "daytime" else 8.0
    grain = draw.noise(HEIGHT, WIDTH).astype(np.float32) - 127.5
    return np.clip(image + (grain * (level / 74.0))[..., None], 0, 255).astype(np.uint8)
