"""Frames of labels to any of the formats; JSON files are written frame by frame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bddzoo.datasets.classes import ClassSet
from bddzoo.datasets.formats.mask import write_mask, write_rgba
from bddzoo.datasets.formats.png import encode_palette, encode_png
from bddzoo.datasets.formats.rle import encode_values
from bddzoo.datasets.formats.scalabel import FrameWriter, label_dict
from bddzoo.errors import MissingError
from bddzoo.evaluation.labels import FLAGS, FrameLabels, Instance, number, paint_instances
from bddzoo.files import atomic_open, write_bytes

SIZE = (720, 1280)


@contextmanager
def once(target: Path) -> Iterator[set[str]]:
    """Names written so far; a second frame of the same name would overwrite the first."""
    target.mkdir(parents=True, exist_ok=True)
    yield set()


def _png(target: Path, frame: FrameLabels, seen: set[str]) -> Path:
    if frame.name in seen:
        raise MissingError(f"two frames are called {frame.name}", hint="they would overwrite each other")
    seen.add(frame.name)
    return target / f"{frame.name}.png"


def write_masks(frames: Iterable[FrameLabels], target: Path, classes: ClassSet) -> int:
    """Class maps as 8-bit grey PNGs; returns the number of frames."""
    with once(target) as seen:
        for frame in frames:
            assert frame.class_map is not None
            write_mask(_png(target, frame, seen), frame.class_map)
    return len(seen)


def write_colours(frames: Iterable[FrameLabels], target: Path, classes: ClassSet) -> int:
    """Colour maps: class maps as palette PNGs (the index is the class), objects as RGB by category."""
    palette = np.array(classes.palette, np.uint8)
    with once(target) as seen:
        for frame in frames:
            path = _png(target, frame, seen)
            if frame.class_map is not None:
                write_bytes(path, encode_palette(frame.class_map, palette, path))
                continue
            bitmask = paint_instances(frame, frame.size or SIZE)
            colours = np.concatenate((np.zeros((1, 3), np.uint8), palette))
            write_bytes(path, encode_png(colours[bitmask[..., 0]], path))
    return len(seen)


def write_bitmasks(frames: Iterable[FrameLabels], target: Path, score_file: Path | None) -> int:
    """Bitmasks as RGBA PNGs and, where objects have scores, the file of them."""
    from contextlib import ExitStack

    with once(target) as seen, ExitStack() as stack:
        scores = stack.enter_context(FrameWriter(score_file, bare=True)) if score_file else None
        for frame in frames:
            write_rgba(_png(target, frame, seen), paint_instances(frame, frame.size or SIZE))
            if scores:
                scores.add(f"{frame.name}.jpg", [_score(i, frame.name) for i in frame.instances])
            elif any(i.score is not None for i in frame.instances):
                raise MissingError(
                    f"{frame.name} has scores, which bitmasks cannot hold",
                    hint="name a --score-file for them",
                )
    return len(seen)


def _score(item: Instance, name: str) -> dict[str, Any]:
    if item.score is None:
        raise MissingError(f"{name}: an object without a score", hint="leave out --score-file")
    return label_dict(index=item.ident, score=item.score)


def write_rle(frames: Iterable[FrameLabels], target: Path, classes: ClassSet) -> int:
    """Scalabel JSON with RLE labels."""
    with FrameWriter(target) as writer:
        for frame in frames:
            if frame.class_map is not None:
                labels = [
                    label_dict(category=classes.names[v], rle=rle)
                    for v, rle in encode_values(frame.class_map).items()
                    if v < len(classes)
                ]
            else:
                labels = [
                    label_dict(
                        index=i.ident or None,
                        score=i.score,
                        category=classes.names[i.category],
                        attributes={k: bool(i.flags & bit) for k, bit in FLAGS.items()} if i.flags else None,
                        rle=i.rle,
                    )
                    for i in frame.instances
                ]
            writer.add(f"{frame.name}.jpg", labels)
    return writer.frames


def write_coco(frames: Iterable[FrameLabels], target: Path, classes: ClassSet) -> int:
    """A COCO instance file: iscrowd for crowd or ignored objects, all four attributes beside it."""
    from pycocotools import mask as coco

    images: list[dict[str, Any]] = []
    count = 0
    with atomic_open(target) as file:
        head = {
            "type": "instances",
            "categories": [{"id": k + 1, "name": n} for k, n in enumerate(classes.names)],
        }
        file.write(json.dumps(head)[:-1].encode() + b', "annotations": [')
        for frame in frames:
            number(frame)
            image: dict[str, Any] = {"id": len(images) + 1, "file_name": f"{frame.name}.jpg"}
            if frame.size:
                image |= {"height": int(frame.size[0]), "width": int(frame.size[1])}
            images.append(image)
            for item in frame.instances:
                count += 1
                encoded = {"counts": item.rle["counts"].encode(), "size": list(item.rle["size"])}
                annotation = {
                    "id": count,
                    "image_id": image["id"],
                    "category_id": item.category + 1,
                    "instance_id": item.ident,
                    "iscrowd": int(bool(item.flags & (FLAGS["crowd"] | FLAGS["ignored"]))),
                    "ignore": int(bool(item.flags & FLAGS["ignored"])),
                    "bbox": coco.toBbox(encoded).tolist(),
                    "area": int(coco.area(encoded)),
                    "attributes": {k: bool(item.flags & bit) for k, bit in FLAGS.items()},
                    "segmentation": item.rle,
                }
                if item.score is not None:
                    annotation["score"] = item.score
                file.write((b",\n" if count > 1 else b"\n") + json.dumps(annotation).encode())
        file.write(b'\n], "images": ' + json.dumps(images).encode() + b"}\n")
    return len(images)
