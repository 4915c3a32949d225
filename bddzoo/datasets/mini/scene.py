"""What a frame is going to show: attributes, camera, and the cross-section of the street."""

from __future__ import annotations

from dataclasses import dataclass, field

from bddzoo.datasets.mini.draw import HEIGHT, WIDTH, Camera, Draw

# BDD100K's own words for its frame attributes (those that the mini set uses).
WEATHER = ("clear", "partly cloudy", "overcast", "rainy", "snowy", "foggy")
SCENES = ("city street", "residential", "highway")
TIMES = ("daytime", "night", "dawn/dusk")

# Rounds that frames walk through, so that even a small set holds every value.
_WEATHER_ROUND = (0, 2, 0, 1, 3, 0, 4, 2, 0, 5, 1, 3)
_SCENE_ROUND = (0, 1, 0, 2, 0, 1, 0)
_TIME_ROUND = (0, 0, 1, 0, 2, 0, 0, 1, 0, 2)
LANE_M = 3.3


@dataclass
class Plan:
    """One frame's plan. Lengths in metres, x to the right of the camera, z ahead.

    Attributes:
        left, right: Edges of the carriageway.
        own_lanes, oncoming_lanes: Lane centres besides the camera's own (which is 0).
        parking_right, parking_left: Centre of the parking lane, or None.
        track: Centre of the tram track, or None.
        walk: Width of the sidewalks, 0 for none.
        verge: Width of the strip of grass between carriageway and sidewalk.
        yard: Distance from the sidewalk to the houses.
        wants: Rare things that this frame has to show.
    """

    weather: str
    scene: str
    timeofday: str
    camera: Camera
    left: float
    right: float
    own_lanes: list[float] = field(default_factory=list)
    oncoming_lanes: list[float] = field(default_factory=list)
    parking_right: float | None = None
    parking_left: float | None = None
    track: float | None = None
    walk: float = 3.0
    verge: float = 0.0
    yard: float = 0.0
    wants: frozenset[str] = frozenset()

    @property
    def night(self) -> bool:
        """Whether it is dark."""
        return self.timeofday == "night"

    @property
    def attributes(self) -> dict[str, str]:
        """The frame attributes as BDD100K writes them."""
        return {"weather": self.weather, "scene": self.scene, "timeofday": self.timeofday}


def make_plan(seed: int, split_code: int, index: int) -> Plan:
    """Plan a frame; depends on nothing but its arguments."""
    offsets = Draw(seed, split_code, 0xA77)
    weather = WEATHER[_WEATHER_ROUND[(index + offsets.integer(0, 11)) % 12]]
    scene = SCENES[_SCENE_ROUND[(index + offsets.integer(0, 6)) % 7]]
    timeofday = TIMES[_TIME_ROUND[(index + offsets.integer(0, 9)) % 10]]
    draw = Draw(seed, split_code, index, 1)
    camera = Camera(
        focal_px=draw.uniform(860.0, 960.0),
        height_m=draw.uniform(1.3, 1.65),
        centre_x=WIDTH / 2 + draw.around(0.0, 90.0),
        horizon_y=HEIGHT * 0.45 + draw.around(0.0, 35.0),
        bend=draw.around(0.0, 0.0009),
    )
    wants = _wants(draw, scene, index)
    if scene == "highway":
        return _highway(draw, camera, weather, timeofday, wants)
    return _street(draw, camera, weather, scene, timeofday, wants)


def _wants(draw: Draw, scene: str, index: int) -> frozenset[str]:
    # One rare vehicle each in turn, and a few more by chance.
    turn = ("train", "bus", "truck", "motorcycle", "bus", "train", "truck", "bicycle")
    wants = {turn[index % len(turn)], ("wall", "fence")[index // 2 % 2]}
    for name, probability in (
        ("truck", 0.3),
        ("bus", 0.2),
        ("motorcycle", 0.45),
        ("bicycle", 0.45),
        ("wall", 0.3),
        ("fence", 0.3),
        ("train", 0.1),
        ("trailer", 0.12),
        ("crowd", 0.35 if scene != "highway" else 0.0),
    ):
        if draw.chance(probability):
            wants.add(name)
    return frozenset(wants)


def _highway(draw: Draw, camera: Camera, weather: str, timeofday: str, wants: frozenset[str]) -> Plan:
    own = [-LANE_M * (i + 1) for i in range(draw.integer(1, 2))]
    own += [LANE_M * (i + 1) for i in range(draw.integer(0, 1))]
    left = min([0.0, *own]) - LANE_M / 2 - 1.0
    right = max([0.0, *own]) + LANE_M / 2 + draw.uniform(1.5, 2.8)
    return Plan(
        weather,
        "highway",
        timeofday,
        camera,
        left,
        right,
        own_lanes=own,
        track=left - draw.uniform(4.5, 5.5) if "train" in wants else None,
        walk=0.0,
        yard=draw.uniform(12.0, 20.0),
        wants=wants,
    )


def _street(
    draw: Draw, camera: Camera, weather: str, scene: str, timeofday: str, wants: frozenset[str]
) -> Plan:
    city = scene == "city street"
    own = [-LANE_M] if city and draw.chance(0.35) else []
    own += [LANE_M] if city and draw.chance(0.35) else []
    left = min([0.0, *own]) - LANE_M / 2
    right = max([0.0, *own]) + LANE_M / 2
    track = None
    if "train" in wants:
        track = left - 1.9
        left -= 3.8
    oncoming = [left - LANE_M / 2]
    if city and draw.chance(0.4):
        oncoming.append(left - LANE_M * 1.5)
    left -= LANE_M * len(oncoming)
    parking_right = parking_left = None
    if draw.chance(0.65):
        parking_right = right + 1.15
        right += 2.3
    if draw.chance(0.5):
        parking_left = left - 1.15
        left -= 2.3
    return Plan(
        weather,
        scene,
        timeofday,
        camera,
        left,
        right,
        own,
        oncoming,
        parking_right,
        parking_left,
        track,
        walk=draw.uniform(2.2, 4.5) if city else draw.uniform(1.6, 2.6),
        verge=draw.uniform(1.2, 2.4) if draw.chance(0.3 if city else 0.6) else 0.0,
        yard=draw.uniform(0.0, 0.6) if city else draw.uniform(3.0, 7.0),
        wants=wants,
    )
