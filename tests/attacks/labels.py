# ruff: noqa: E501 - a hostile thing a line
"""Hostile labels and predictions: sizes, counts, nesting, names, numbers, images, archives, devices."""

from __future__ import annotations

import itertools
import json
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.attacks.harness import OUTSIDE, Attack

GOOD = {"counts": "0PP2", "size": [32, 64]}
WORDS = {
    "up": f"../../{OUTSIDE}/x",
    "absolute": "/proc/self/x",
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "c1": "\x9b31m\x85",
    "bidi": "\u202egnp.exe",
    "command": "::error::x",
    "line": "a\n::error::x",
    "nul": "a\0b",
    "surrogate": "\ud800",
    "long": "x" * 5000,
    "longest": "x" * 3_000_000,
    "empty": "",
    "dots": "..",
    "windows": "C:\\x\\..\\..\\y",
    "number": 7,
    "null": None,
    "list": [[]],
}
SIZES: dict[str, Any] = {
    "huge": [2_000_000_000, 2_000_000_000],
    "wide": [1, 2_147_483_647],
    "negative": [-32, -64],
    "zero": [0, 0],
    "one": [32],
    "three": [32, 64, 1],
    "text": ["32", "64"],
    "fraction": [32.5, 64],
    "float": [1e308, 1],
    "integer": [2**70, 1],
    "null": None,
}
COUNTS: dict[str, Any] = {
    "none": "",
    "many": "0" * 50_000_000,
    "long digits": "o" * 5_000_000,
    "no digits": "é\x1b\x00",
    "list": [1] * 2_000_000,
    "negative": [-5, 2053],
    "huge": [2**62, 2**62],
    "null": None,
    "number": 10**30,
    "deep": [[[[[]]]]],
}
NUMBERS: dict[str, Any] = {
    "huge": 1e308, "negative": -5, "text": "0.5", "true": True, "integer": 10**40, "null": None, "list": [],
}  # fmt: skip
POLYGONS: dict[str, Any] = {
    "far": [[0, 0], [2e8, 0], [2e8, 2e8]],
    "farthest": [[0, 0], [1e308, 0], [1e308, -1e308]],
    "one": [[1, 1]],
    "none": [],
    "many": [[i % 64, i % 31] for i in range(300_000)],
    "text": [["a", "b"], [1, 2], [3, 4]],
    "short": [[1], [2], [3]],
}


def attacks(folder: Path) -> Iterator[Attack]:
    """Every hostile file in every command that reads labels."""
    inputs = folder / "inputs"
    gt = inputs / "gt.json"
    gt.write_text(json.dumps([_frame()]))
    images = inputs / "images"
    images.mkdir()
    (images / "a.png").write_bytes(png(64, 32, colour=2))
    number = itertools.count()
    for name, path in (*_json_files(inputs), *_other_files(inputs)):
        size = path.stat().st_size if path.is_file() else 0
        for command in _commands(path, gt, images, folder / f"out{next(number)}"):
            yield Attack(f"{name} ({path.name})", command, size_bytes=size)
    for name, body in _object_bodies():
        out = folder / f"out{next(number)}"
        for task in ("det", "box_track", "pose"):
            good, path = inputs / f"{task}.json", inputs / f"{task} {name}.json"
            for file, frames in ((good, [_object()]), (path, body)):
                _write(file, json.dumps(frames if task == "pose" else _without_joints(frames)).encode())
            yield Attack(name, ("score", "-t", task, "-g", good, "-r", path), size_bytes=path.stat().st_size)
            yield Attack(name, ("score", "-t", task, "-g", path, "-r", good), size_bytes=path.stat().st_size)
        path = inputs / f"det {name}.json"
        yield Attack(name, ("convert-labels", "-t", "det", "-l", path, "--to", "coco", "-o", out / "c.json"))
        yield Attack(name, ("pack", "-t", "det", "-r", path, "--count", 1, "-o", out / "pack.zip"))
        yield Attack(name, ("vis", "overlay", "-i", images, "-l", path, "-o", out / "overlay"))
    for name, root in _data_sets(inputs):
        yield Attack(name, ("data", "check", "--data", root))
        overlay = ("vis", "overlay", "-t", "sem_seg", "-i", root / "images", "-l", root / "labels/sem_seg")
        yield Attack(name, (*overlay, "-o", folder / f"out{next(number)}"))


def _commands(path: Path, gt: Path, images: Path, out: Path) -> Iterator[tuple[object, ...]]:
    coco = path.name.startswith("coco")
    for task in ("ins_seg",) if coco else ("sem_seg", "ins_seg"):
        to = "bitmasks" if task == "ins_seg" else "masks"
        yield "convert-labels", "-t", task, "-l", path, "--to", to, "-o", out / task
    task = "ins_seg" if coco else "sem_seg"
    yield "score", "-t", task, "-g", gt, "-r", path
    yield "score", "-t", task, "-g", path, "-r", gt, "--by", "weather", "--allow-partial"
    yield "pack", "-t", task, "-r", path, "--count", 1, "-o", out / "pack.zip"
    yield "vis", "color", "-t", task, "-l", path, "-o", out / "color"
    yield "vis", "overlay", "-t", task, "-i", images, "-l", path, "-o", out / "overlay"


def _frame(**changes: Any) -> dict[str, Any]:
    label = {"id": "1", "category": "car", "rle": GOOD, "score": 0.5, **changes.pop("label", {})}
    return {"name": "a.jpg", "labels": [label], **changes}


def _object(label: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A frame with a person in a box, with joints, in a video."""
    nodes = [
        {"id": str(k), "category": f"j{k}", "location": [k + 1.0, 9.0], "visibility": "V"} for k in range(18)
    ]
    found = {
        "id": "1", "category": "pedestrian", "score": 0.5,
        "box2d": {"x1": 1.0, "y1": 2.0, "x2": 30.0, "y2": 31.0},
        "graph": {"type": "Pose2D-18Joints", "nodes": nodes, "edges": []}, **(label or {}),
    }  # fmt: skip
    return {"name": "a.jpg", "videoName": "v", "frameIndex": 0, "labels": [found], **changes}


def _without_joints(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**f, "labels": [{k: v for k, v in label.items() if k != "graph"} for label in f["labels"]]}
        for f in frames
    ]


def _object_bodies() -> Iterator[tuple[str, Any]]:
    box, graph = (_object()["labels"][0][key] for key in ("box2d", "graph"))
    for name, value in {**NUMBERS, "tiny": -1e308, "zero": 0, "far": 2e8}.items():
        yield f"corner {name}", [_object({"box2d": {**box, "x2": value}})]
        yield f"first corner {name}", [_object({"box2d": {**box, "x1": value}})]
        joint = {**graph["nodes"][0], "location": [value, 9.0]}
        yield f"joint {name}", [_object({"graph": {**graph, "nodes": [joint, *graph["nodes"][1:]]}})]
        yield f"track {name}", [_object({"id": value})]
        yield f"place {name}", [_object(frameIndex=value)]
    for name, value in {"null": None, "list": [], "text": "x", "empty": {}}.items():
        yield f"box {name}", [_object({"box2d": value})]
        yield f"graph {name}", [_object({"graph": value})]
    yield "many people", [_object(labels=_object()["labels"] * 3000)]


def _json_files(folder: Path) -> Iterator[tuple[str, Path]]:
    bodies: dict[str, Any] = {}
    for name, size in SIZES.items():
        bodies[f"RLE size {name}"] = [_frame(label={"rle": {**GOOD, "size": size}})]
        bodies[f"frame size {name}"] = [_frame(size={"height": (size or [0])[0], "width": (size or [0])[-1]})]
    for name, counts in COUNTS.items():
        bodies[f"RLE counts {name}"] = [_frame(label={"rle": {**GOOD, "counts": counts}})]
    for name, word in WORDS.items():
        bodies[f"name {name}"] = [_frame(name=word)]
        bodies[f"category {name}"] = [_frame(label={"category": word})]
        bodies[f"attributes {name}"] = [_frame(attributes={"weather": word})]
    for name, value in NUMBERS.items():
        bodies[f"score {name}"] = [_frame(label={"score": value})]
        bodies[f"id {name}"] = [_frame(label={"id": value, "index": value})]
    for name, polygon in POLYGONS.items():
        outline = {"vertices": polygon, "types": "L" * len(polygon), "closed": True}
        bodies[f"polygon {name}"] = [_frame(label={"rle": None, "poly2d": [outline]})]
    for name, value in {
        **NUMBERS,
        "dict": {"a": 1},
        "nulls": [None],
        "numbers": [1, 2],
        "deep": [[[[]]]],
    }.items():
        bodies[f"labels {name}"] = [_frame(labels=value)]
        bodies[f"flags {name}"] = [_frame(label={"attributes": {"crowd": value, "ignored": value}})]
        bodies[f"video {name}"] = [_frame(videoName=value, frameIndex=value)]
        bodies[f"frames {name}"] = {"frames": value, "groups": value, "config": value}
    bodies["groups"] = {"groups": [{"name": "g"}] * 100_000, "frames": [_frame()]}
    bodies["frames twice"] = [_frame(), _frame()]
    bodies["many frames"] = [{"name": f"{i}", "labels": []} for i in range(2000)]
    bodies["many labels"] = [
        _frame(labels=[{"id": str(i), "category": "car", "rle": GOOD} for i in range(70_000)])
    ]
    for name, body in bodies.items():
        yield name, _write(folder / f"f {name}.json", json.dumps(body).encode())
    for name, body in _coco_bodies():
        yield f"COCO {name}", _write(folder / f"coco {name}.json", json.dumps(body).encode())
    noise = random.Random(1).randbytes(200_000)
    texts = {
        "nothing": b"",
        "spaces": b" " * 50_000_000,
        "zeros": bytes(50_000_000),
        "noise": noise,
        "null": b"null",
        "number": b"1" * 20_000_000,
        "exponent": b"[1e999999999]",
        "text": b'"' + b"x" * 50_000_000 + b'"',
        "deep": b"[" * 5_000_000,
        "deep objects": b'{"frames":' * 1_000_000,
        "deep frame": b'[{"name":"a.jpg","labels":' + b"[" * 3_000_000 + b"]" * 3_000_000 + b"}]",
        "deep closed": b"[" * 100_000 + b"]" * 100_000,
        "cut": json.dumps([_frame()]).encode()[:-9],
        "UTF-16": json.dumps([_frame()]).encode("utf-16"),
        "NaN": b'[{"name":"a.jpg","labels":[{"category":"car","score":NaN}]}]',
        "many objects": b"[" + b"{}," * 2_000_000 + b"{}]",
        "keys twice": b'[{"name":"a.jpg","name":"b.jpg","labels":[],"labels":null}]',
    }
    for name, text in texts.items():
        yield name, _write(folder / f"t {name}.json", text)


def _coco_bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    def body(image: Any = None, annotation: Any = None) -> dict[str, Any]:
        return {
            "images": [{"id": 1, "file_name": "a.jpg", "height": 32, "width": 64, **(image or {})}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 1,
                    "category_id": 3,
                    "segmentation": [[1, 1, 9, 1, 9, 9]],
                    **(annotation or {}),
                }
            ],
            "categories": [{"id": 3, "name": "car"}],
        }

    for name, size in SIZES.items():
        yield f"image size {name}", body({"height": (size or [None])[0], "width": (size or [None])[-1]})
        yield f"RLE size {name}", body(None, {"segmentation": {**GOOD, "size": size}})
        yield f"counts of size {name}", body(None, {"segmentation": {"counts": [10, 2038], "size": size}})
    for name, counts in COUNTS.items():
        yield f"counts {name}", body(None, {"segmentation": {**GOOD, "counts": counts}})
    for name, word in WORDS.items():
        yield f"name {name}", body({"file_name": word})
        yield f"id {name}", body({"id": word})
    for name, polygon in POLYGONS.items():
        yield f"polygon {name}", body(None, {"segmentation": [list(itertools.chain(*polygon))]})
    yield "empty", {"images": [], "annotations": [], "categories": []}


def _other_files(folder: Path) -> Iterator[tuple[str, Path]]:
    good = png(64, 32)
    images = {
        "huge": png(2_000_000_000, 2_000_000_000, rows=4),
        "bomb": png(25_000, 25_000, rows=25_000),
        "no size": png(0, 0),
        "cut": good[:-20],
        "noise": good[:60] + random.Random(2).randbytes(500),
        "16 bits": png(64, 32, depth=16),
        "palette": png(64, 32, colour=3),
        "values": png(64, 32, value=200),
        "text": b"<html>",
        "nothing": b"",
    }
    for name, data in images.items():
        (folder / f"png {name}").mkdir()
        _write(folder / f"png {name}" / "a.png", data)
        yield f"PNG {name}", folder / f"png {name}"
    frame = json.dumps([_frame()]).encode()
    archives: dict[str, list[tuple[str, bytes]]] = {
        "up": [(f"../../{OUTSIDE}/a.png", good)],
        "absolute": [("/tmp/a.png", good)],
        "many": [(f"{i}.png", b"") for i in range(30_000)],
        "escape": [("\x1b[2J.png", good)],
        "twice": [("a.png", good), ("a.png", good)],
        "bomb": [("a.json", bytes(200_000_000))],
        "nothing": [],
    }
    for name, members in archives.items():
        path = folder / f"zip {name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in members:
                info = zipfile.ZipInfo(member)
                info.compress_type = zipfile.ZIP_DEFLATED
                if member not in archive.NameToInfo or name != "twice":
                    archive.writestr(info, data)
        yield f"zip {name}", path
    whole = (folder / "zip up.zip").read_bytes()
    yield "zip cut", _write(folder / "zip cut.zip", whole[:-30])
    yield "zip noise", _write(folder / "zip noise.zip", whole[:40] + bytes(50) + whole[90:])
    packed = folder / "zip encrypted.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.json", frame)
    data = bytearray(packed.read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\1\2") + 8] |= 1
    yield "zip encrypted", _write(packed, bytes(data))
    os.mkfifo(folder / "pipe.json")
    (folder / "zero.json").symlink_to("/dev/zero")
    (folder / "self.json").symlink_to("self.json")
    loop = folder / "loop"
    loop.mkdir()
    (loop / "in").symlink_to(loop)
    for name in ("pipe.json", "zero.json", "self.json", "loop"):
        yield f"special {name}", folder / name
    yield "device", Path("/dev/zero")
    yield "null device", Path("/dev/null")


def _bombs() -> dict[str, bytes]:
    """Images of few bytes that say they are huge, and chunks that unfold."""
    frame = struct.pack(">BHHB", 8, 65_500, 65_500, 3) + b"\1\x22\0\2\x11\1\3\x11\1"
    scan = b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0" + bytes(3000) + b"\xff\xd9"
    profile = zlib.compress(bytes(200_000_000), 9)

    def with_chunk(kind: bytes, data: bytes) -> bytes:
        good = png(64, 32, colour=2)
        return good[:33] + chunk(kind, data) + good[33:]

    tiff = b"".join(
        struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in ((256, 60_000), (257, 60_000), (258, 8), (259, 1), (262, 1), (273, 200), (278, 60_000), (279, 1))
    )  # fmt: skip
    return {
        "jpg": b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + scan,
        "gif": b"GIF89a" + struct.pack("<HHBBB", 65_500, 65_500, 0xF0, 0, 0) + bytes(6)
        + b"," + struct.pack("<HHHHB", 0, 0, 65_500, 65_500, 0) + b"\2\2L\1\0;",
        "bmp": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "bmp coded": b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, -2**31, 1, 8, 1, 0, 0, 0, 0, 0) + bytes(900),
        "tif": b"II*\0" + struct.pack("<IH", 8, 8) + tiff + bytes(4),
        "tif circle": b"II*\0" + struct.pack("<IH", 8, 0) + struct.pack("<I", 8) + bytes(100),
        "webp": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\xff\x3f\0\xff\x3f\0" + b"VP8L" + struct.pack("<I", 5) + b"\x2f\xff\xff\xff\x0f",
        "unfolding profile": with_chunk(b"iCCP", b"x\0\0" + profile),
        "unfolding text": with_chunk(b"zTXt", b"x\0\0" + profile),
        "damaged exif": with_chunk(b"eXIf", b"II*\0" + struct.pack("<I", 8) + b"\xff" * 65_000),
        "endless chunk": with_chunk(b"tEXt", b"") .replace(b"\0\0\0\0tEXt", b"\xff\xff\xff\xfftEXt"),
        "pgm": b"P5\n60000 60000\n255\n" + bytes(100),
        "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n" + bytes(100),
        "jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 " + bytes(100),
        "exr": b"\x76\x2f\x31\x01\2\0\0\0" + bytes(200),
    }  # fmt: skip


def _data_sets(folder: Path) -> Iterator[tuple[str, Path]]:
    """Folders of BDD100K with a hostile image and label in them."""
    for name, content in _bombs().items():
        root = folder / f"image {name}"
        for place, data in (("images/10k/val", content), ("labels/sem_seg/masks/val", png(64, 32))):
            (root / place).mkdir(parents=True)
            (root / place / "a.png").write_bytes(data)
        yield f"data set of image {name}", root
    for label in sorted(folder.glob("png *")):
        root = folder / f"data {label.name}"
        images, masks = root / "images/10k/val", root / "labels/sem_seg/masks/val"
        for place in (images, masks):
            place.mkdir(parents=True)
            (place / "a.png").write_bytes((label / "a.png").read_bytes())
        yield f"data set of {label.name}", root
    for special in ("pipe.json", "zero.json", "self.json"):
        root = folder / f"data {special}"
        for place in (root / "images/10k/val", root / "labels/sem_seg/masks/val"):
            place.mkdir(parents=True)
            (place / "a.png").symlink_to(folder / special)
        (root / "labels/ins_seg/rles").mkdir(parents=True)
        (root / "labels/ins_seg/rles/ins_seg_val.json").symlink_to(folder / special)
        yield f"data set of {special}", root


def chunk(kind: bytes, data: bytes) -> bytes:
    """A piece of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, value: int = 13, rows: int = 0) -> bytes:
    """A PNG of one value whose header may lie; `rows` is how many rows it holds, all where 0."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    packer = zlib.compressobj(9, strategy=zlib.Z_RLE)
    line = b"\0" + bytes([value]) * (min(width, 60_000) * channels * depth // 8)
    pixels = b"".join(packer.compress(line) for _ in range(rows or height)) + packer.flush()
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
