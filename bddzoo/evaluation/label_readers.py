"""Frames of labels from any of the formats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np

from bddzoo.datasets.classes import ClassSet
from bddzoo.datasets.formats.frames import JsonFrames, Label
from bddzoo.datasets.formats.rle import decode_rle
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError
from bddzoo.evaluation.fast.decode import decode_bitmask, decode_loose, decode_mask
from bddzoo.evaluation.labels import FLAGS, FrameLabels, Instance, instances_of_bitmask
from bddzoo.evaluation.metrics.insseg import score_entries
from bddzoo.evaluation.rle_frames import INS_ALIASES, INS_IGNORED, label_flag

SEMANTIC = ("sem_seg", "drivable")


def read_masks(source: Source, classes: ClassSet) -> Iterator[FrameLabels]:
    """Frames of a folder of class maps."""
    for member in source.with_suffix(".png"):
        pixels, _ = decode_mask(source.read(member), source.where(member))
        yield FrameLabels(PurePosixPath(member).stem, (pixels.shape[0], pixels.shape[1]), pixels)


def read_colours(source: Source, classes: ClassSet) -> Iterator[FrameLabels]:
    """Frames of a folder of colour maps, as RGB or palette PNGs; black that is no class is ignored.

    Raises:
        MissingError: A colour that no class has.
    """
    table = {(r << 16) | (g << 8) | b: i for i, (r, g, b) in enumerate(classes.palette)}
    table.setdefault(0, 255)
    for member in source.with_suffix(".png"):
        path = source.where(member)
        pixels = decode_loose(source.read(member), path)
        if pixels.ndim == 2:
            # A palette PNG holds the classes themselves.
            yield FrameLabels(PurePosixPath(member).stem, pixels.shape[:2], pixels)
            continue
        packed = pixels[..., :3].astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        colours, inverse = np.unique(packed, return_inverse=True)
        unknown = [c for c in colours.tolist() if c not in table]
        if unknown:
            raise MissingError(f"{path}: colour #{unknown[0]:06x} belongs to no class")
        values = np.array([table[c] for c in colours.tolist()], np.uint8)
        class_map = values[inverse].reshape(packed.shape)
        yield FrameLabels(PurePosixPath(member).stem, class_map.shape, class_map)


def read_bitmasks(source: Source, classes: ClassSet, score_file: Path | None) -> Iterator[FrameLabels]:
    """Frames of a folder of bitmasks, with scores if there is a file of them."""
    scores = _scores(score_file) if score_file else None
    for member in source.with_suffix(".png"):
        path = source.where(member)
        stem = PurePosixPath(member).stem
        if scores is not None and stem not in scores:
            raise MissingError(f"{score_file} has no scores for {stem}")
        bitmask = decode_bitmask(source.read(member), path)
        mine = scores[stem] if scores is not None else None
        found = instances_of_bitmask(bitmask, mine, len(classes), str(path))
        if mine is not None:
            position = {ident: k for k, ident in enumerate(mine)}
            found.sort(key=lambda i: position[i.ident])
        yield FrameLabels(stem, (bitmask.shape[0], bitmask.shape[1]), instances=found)


def _scores(path: Path) -> dict[str, dict[int, float]]:
    source = open_source(path)
    frames = JsonFrames(source, source.members)
    out = {}
    for i, name in enumerate(frames.names):
        entries = score_entries([(e.index, e.score) for e in frames.scores(i)], frames.where(i))
        out[PurePosixPath(name).stem] = dict(entries)
    return out


def read_rle(source: Source, classes: ClassSet) -> Iterator[FrameLabels]:
    """Frames of RLE JSON; labels of other categories than the task's are left out (sem_seg, drivable).

    Raises:
        MissingError: ins_seg: an unknown category.
    """
    frames = JsonFrames(source, [m for m in source.members if m.endswith(".json")])
    for i, name in enumerate(frames.names):
        where = frames.where(i)
        labels = [label for label in frames.frame(i).labels or [] if label.rle is not None]
        out = FrameLabels(PurePosixPath(name).stem)
        if labels and labels[0].rle:
            out.size = labels[0].rle.size
        if classes.task in SEMANTIC:
            out.class_map = np.full(out.size or (720, 1280), 255, np.uint8)
            out.size = (out.class_map.shape[0], out.class_map.shape[1])
            for label in labels:
                if label.category in classes.names:
                    mask = decode_rle(_plain(label), where)
                    if mask.shape != out.size:
                        raise MissingError(f"{where}: masks of different sizes")
                    out.class_map[mask] = classes.index(label.category or "")
        else:
            out.instances = [_instance(label, classes, where) for label in labels]
        yield out


def _plain(label: Label) -> dict[str, Any]:
    assert label.rle
    return {"counts": label.rle.counts, "size": list(label.rle.size)}


def _instance(label: Label, classes: ClassSet, where: str) -> Instance:
    name = INS_ALIASES.get(label.category or "", label.category)
    flags = sum(bit for key, bit in FLAGS.items() if label_flag(label, key))
    if name in INS_IGNORED:
        name = INS_IGNORED[name]
        flags |= FLAGS["ignored"]
    if name not in classes.names:
        raise MissingError(f"{where}: unknown category {label.category!r}")
    return Instance(classes.index(name or ""), _plain(label), flags, label.index or 0, label.score)


class _Annotation(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int
    segmentation: Any = None
    iscrowd: int | bool = 0
    ignore: int | bool = 0
    score: float | None = None
    instance_id: int = 0
    attributes: dict[str, Any] | None = None


class _Image(msgspec.Struct, gc=False):
    id: int | str
    file_name: str
    height: int | None = None
    width: int | None = None


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _Coco(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(source: Source, classes: ClassSet) -> Iterator[FrameLabels]:
    """Frames of a COCO instance file: compressed or plain RLE, or polygons.

    Raises:
        MissingError: No such file, an unknown category, or a segmentation that is none.
    """
    from pycocotools import mask as coco

    (member,) = source.members[:1]
    where = source.where(member)
    try:
        data = msgspec.json.decode(source.read(member), type=_Coco)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MissingError(f"{where} is no COCO file: {error}") from None
    kinds: dict[int, int] = {}
    for category in data.categories:
        name = INS_ALIASES.get(category.name, category.name)
        if name not in classes.names:
            raise MissingError(f"{where}: unknown category {category.name!r}")
        kinds[category.id] = classes.index(name)
    by_image: dict[int | str, list[_Annotation]] = defaultdict(list)
    for annotation in data.annotations:
        by_image[annotation.image_id].append(annotation)
    for image in data.images:
        size = (image.height, image.width) if image.height and image.width else None
        out = FrameLabels(PurePosixPath(image.file_name).stem, size)
        for annotation in by_image.get(image.id, []):
            try:
                rle = _coco_rle(annotation.segmentation, size)
                category_index = kinds[annotation.category_id]
            except (KeyError, TypeError, ValueError) as error:
                raise MissingError(f"{where}, image {image.file_name}: {error!r} in an annotation") from None
            if isinstance(rle["counts"], list):
                rle = coco.frPyObjects(rle, *rle["size"])
                rle = {"counts": rle["counts"].decode(), "size": list(rle["size"])}
            out.size = out.size or (rle["size"][0], rle["size"][1])
            flags = _coco_flags(annotation)
            out.instances.append(
                Instance(category_index, rle, flags, annotation.instance_id, annotation.score)
            )
        yield out


def _coco_rle(segmentation: Any, size: tuple[int, int] | None) -> dict[str, Any]:
    from pycocotools import mask as coco

    if isinstance(segmentation, dict):
        return {"counts": segmentation["counts"], "size": [int(v) for v in segmentation["size"]]}
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("no segmentation")
    if size is None:
        raise ValueError("polygons need the height and width of their image")
    merged = coco.merge(coco.frPyObjects(segmentation, *size))
    return {"counts": merged["counts"].decode(), "size": list(size)}


def _coco_flags(annotation: _Annotation) -> int:
    """Our attributes where they were written, else COCO's own keys."""
    known = annotation.attributes or {}
    if any(key in known for key in FLAGS):
        return sum(bit for key, bit in FLAGS.items() if known.get(key))
    return FLAGS["crowd"] * bool(annotation.iscrowd) | FLAGS["ignored"] * bool(annotation.ignore)
