"""COCO instance files, read and written."""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import msgspec

from bddzoo.datasets.classes import ClassSet
from bddzoo.datasets.formats.frames import (
    CHUNK_BYTES,
    Frame,
    FrameSize,
    Label,
    Pixel,
    Rle,
    coco_kind,
    joined,
    read_places,
)
from bddzoo.datasets.formats.json_index import index_list
from bddzoo.datasets.formats.labels import FLAGS, NEUTRAL, FrameLabels, flag_attributes
from bddzoo.datasets.formats.rle import MAX_PIXELS, coco_polygons, mask_pixels
from bddzoo.datasets.native import native
from bddzoo.datasets.sources import Source
from bddzoo.errors import MissingError
from bddzoo.files import atomic_open, is_inside
from bddzoo.reading import json_errors
from bddzoo.text import number_of, printable


class _Annotation(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int
    # As it stands in the file: most of its bytes, which are read image by image.
    segmentation: msgspec.Raw = msgspec.Raw()
    bbox: list[Pixel] | None = None
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


_RESULTS = msgspec.json.Decoder(list[_Annotation])
# In the place of annotations that stay in their file.
_MARK = -1.5e300
_STAND_IN = b'{"image_id":0,"category_id":0,"score":%r}' % _MARK


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _Coco(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def _decoded(source: Source, member: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(source.read_text(member), type=kind)
    except json_errors() as error:
        raise MissingError(f"{source.where(member)} is not a COCO file: {error}") from None


def _by_image(annotations: Iterable[_Annotation]) -> dict[int | str, list[_Annotation]]:
    out: dict[int | str, list[_Annotation]] = defaultdict(list)
    for annotation in annotations:
        out[annotation.image_id].append(annotation)
    return out


def refuse_results(where: object) -> NoReturn:
    """Refuse a list of results, which needs another file.

    Raises:
        MissingError: Always.
    """
    raise MissingError(
        f"{where} is a list of results, which names images by number",
        hint="give the COCO file that it belongs to as ground truth, or a whole COCO file "
        "('bddzoo convert-labels --to coco' makes one)",
    )


class CocoFrames:
    """Frames of a COCO file, or of a list of results that goes with one, as `Frames`.

    Args:
        source: The file.
        member: Its name there.
        truth: The ground truth that names the images and categories of a list of results.

    Raises:
        MissingError: It is neither, or has annotations of no image.
    """

    kind = "coco"

    def __init__(self, source: Source, member: str, truth: CocoFrames | None = None) -> None:
        self.source = source
        self._member = member
        self._where = str(source.where(member))
        results = coco_kind(source, member) == "results"
        if results and truth is None:
            refuse_results(self._where)
        # Annotations by image, or only where in the file they lie.
        self._annotations: dict[int | str, list[_Annotation]] = {}
        self._places: dict[int | str, list[tuple[int, int]]] = {}
        data = self._index(truth if results else None)
        if data is None:
            data = _decoded(source, member, list[_Annotation] if results else _Coco)
            if isinstance(data, list):
                assert truth
                data = _Coco(truth._images, data, truth._categories)
            self._annotations = _by_image(data.annotations)
        self._images: list[_Image] = data.images
        self._categories: list[_Category] = data.categories
        self.numbers = {category.id: category.name for category in data.categories}
        self.names = [f"{name}.jpg" for name in _names(data, self._where)]
        self.videos: list[str | None] = [None] * len(self.names)
        # Where annotations of one image are all over the file, it is read once.
        scattered = sum(map(len, self._places.values())) > 2 * len(self._images)
        self._whole = source.read(member) if scattered else None

    def _index(self, truth: CocoFrames | None) -> _Coco | None:
        """The file without its annotations, whose places are found; None where they have to be decoded."""
        loops = native()
        if loops is None:
            return None
        places: dict[int | str, list[tuple[int, int]]] = defaultdict(list)
        last: int | None = None

        def read(held: bytes, state: array[int], offset: int) -> None:
            nonlocal last
            runs = loops.annotations(held, state)
            for image, start, end in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
                begin = places[image].pop()[0] if image == last else offset + start
                places[image].append((begin, offset + end))
                last = image

        chunks = self.source.chunks(self._member, CHUNK_BYTES)
        around = index_list(chunks, "annotations", _STAND_IN, read)
        if around is None:
            return None
        try:
            if truth:
                data = _Coco(truth._images, _RESULTS.decode(around), truth._categories)
            else:
                data = msgspec.json.decode(around, type=_Coco)
        except json_errors():
            return None
        # The stand-in is there once, so it was the list of annotations that it stands in for.
        known = {image.id for image in data.images}
        if len(data.annotations) != 1 or data.annotations[0].score != _MARK or not places.keys() <= known:
            return None
        self._places = places
        return _Coco(data.images, [], data.categories)

    def __len__(self) -> int:
        return len(self.names)

    def where(self, index: int) -> str:
        """File and image, for messages."""
        return f"{self._where}, image {self._images[index].file_name}"

    def frame(self, index: int) -> Frame:
        """Labels of one image.

        Raises:
            MissingError: A category that the file does not have, or a segmentation that is none.
        """
        image = self._images[index]
        size = (image.height, image.width) if image.height and image.width else None
        return Frame(
            self.names[index],
            [
                Label(
                    category,
                    _mask(annotation.segmentation, size, where),
                    annotation.score,
                    annotation.instance_id or None,
                    flag_attributes(_flags(annotation)),
                )
                for annotation, category, where in self._known(index)
            ],
            FrameSize(size[1], size[0]) if size else None,
        )

    def boxes(self, index: int) -> Iterator[tuple[str, list[float], int, float | None]]:
        """Category, x, y, w, h, flags and score of each box of one image.

        Raises:
            MissingError: A category that the file does not have, or a box that is none.
        """
        for annotation, category, where in self._known(index):
            if annotation.bbox is None or len(annotation.bbox) != 4:
                raise MissingError(f"{where} has no bbox of four numbers")
            yield category, annotation.bbox, _flags(annotation), annotation.score

    def _known(self, index: int) -> Iterator[tuple[_Annotation, str, str]]:
        """Annotations of one image with their categories, and what they are called in messages."""
        for number, annotation in enumerate(self._of_image(index), 1):
            where = f"{self.where(index)}, annotation {number}"
            category = self.numbers.get(annotation.category_id)
            if category is None:
                raise MissingError(f"{where} has category {annotation.category_id}")
            yield annotation, category, where

    def contents(self, indices: Sequence[int | None]) -> tuple[bytes, array[int]]:
        """Annotations of images with commas between them, and where each image's begin and end."""
        if self._annotations:
            found = [[] if i is None else self._annotations.get(self._images[i].id, []) for i in indices]
            return joined(msgspec.json.encode(some)[1:-1] for some in found)
        places = [[] if i is None else self._places.get(self._images[i].id, []) for i in indices]
        if self._whole is not None:
            whole = self._whole
            return joined(b",".join(whole[start:end] for start, end in some) for some in places)
        data, bounds = read_places(self.source, [(self._member, *place) for some in places for place in some])
        ends = iter(zip(bounds[::2], bounds[1::2], strict=True))
        pieces = [[data[start:end] for start, end in islice(ends, len(some))] for some in places]
        return joined(map(b",".join, pieces))

    def _of_image(self, index: int) -> list[_Annotation]:
        if self._annotations:
            return self._annotations.get(self._images[index].id, [])
        return _RESULTS.decode(b"[%b]" % self.contents([index])[0])


def _parsed(segmentation: msgspec.Raw, where: str) -> Any:
    try:
        return msgspec.json.decode(segmentation) if bytes(segmentation) else None
    except json_errors() as error:
        raise MissingError(f"{where}: {error}") from None


def _mask(raw: msgspec.Raw, size: tuple[int, int] | None, where: str) -> Rle:
    """A segmentation in COCO's compressed form; whether counts describe a mask is seen when they are read."""
    segmentation = _parsed(raw, where)
    if isinstance(segmentation, dict):
        if isinstance(segmentation.get("counts"), list):
            segmentation = _packed(segmentation["counts"], segmentation.get("size"), where)
        try:
            rle = msgspec.convert(segmentation, Rle)
        except msgspec.ValidationError as error:
            raise MissingError(f"{where}: not an RLE with 'counts' and 'size': {error}") from None
        mask_pixels(rle.size, where)
        return rle
    if not isinstance(segmentation, list) or not segmentation:
        raise MissingError(f"{where} has no segmentation", hint="boxes are not a segmentation")
    if size is None:
        raise MissingError(f"{where}: polygons need the height and width of their image")
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise MissingError(f"{where}: an image of {size[1]}x{size[0]} pixels, which can't be meant")
    return msgspec.convert(coco_polygons(segmentation, size, where), Rle)


def _names(data: _Coco, where: str) -> list[str]:
    """Bare names of the images, all different; every annotation is of one, and a category is one thing."""
    ids = {image.id for image in data.images}
    if len(ids) < len(data.images):
        raise MissingError(f"{where}: {len(data.images) - len(ids)} of the images have the id of another one")
    kinds = {category.id: category.name for category in data.categories}
    for category in data.categories:
        if category.name != kinds[category.id]:
            raise MissingError(
                f"{where}: category {category.id} is both {category.name!r} and {kinds[category.id]!r}"
            )
    names = [PurePosixPath(image.file_name.replace("\\", "/")).stem for image in data.images]
    seen: set[str] = set()
    for name in names:
        if not is_inside(name):
            raise MissingError(f"{where}: '{printable(name, 80)}' cannot be the name of an image")
        if name in seen:
            raise MissingError(
                f"{where}: two images are called {name}", hint="frames are matched by bare file name"
            )
        seen.add(name)
    stray = [a.image_id for a in data.annotations if a.image_id not in ids]
    if stray:
        texts = {str(i) for i in ids}
        alike = all(str(i) in texts for i in stray)
        raise MissingError(
            f"{where}: {number_of(len(stray), 'annotation')} of no image (first: image_id {stray[0]!r})",
            hint="ids of images are numbers on one side and text on the other" if alike else None,
        )
    return names


def _packed(counts: list[Any], size: Any, where: str) -> dict[str, Any]:
    """Plain counts in compressed form."""
    from pycocotools import mask as coco

    good = isinstance(size, list) and len(size) == 2 and all(type(v) is int for v in [*size, *counts])
    if not good or min([*size, *counts], default=0) < 0 or sum(counts) != size[0] * size[1]:
        raise MissingError(f"{where}: plain counts that do not describe a mask of {size} pixels")
    mask_pixels((size[0], size[1]), where)
    packed = coco.frPyObjects({"counts": counts, "size": size}, *size)
    return {"counts": packed["counts"].decode(), "size": list(packed["size"])}


def _flags(annotation: _Annotation) -> int:
    """Our attributes where they were written, else COCO's own keys."""
    known = annotation.attributes
    if not known:
        return FLAGS["crowd"] * bool(annotation.iscrowd) | FLAGS["ignored"] * bool(annotation.ignore)
    if not {"crowd", "ignored"} & known.keys():
        # Others write some of the attributes, too, but not these.
        known = {**known, "crowd": annotation.iscrowd, "ignored": annotation.ignore}
    return sum(bit for key, bit in FLAGS.items() if known.get(key))


def write_coco(frames: Iterable[FrameLabels], target: Path, classes: ClassSet) -> int:
    """A COCO instance file: iscrowd for crowd or ignored objects, all four attributes next to it."""
    return write_annotations(_annotations(frames), target, classes)


def _annotations(frames: Iterable[FrameLabels]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    from pycocotools import mask as coco

    for frame in frames:
        frame.number()
        frame.need_rles()
        image: dict[str, Any] = {"file_name": f"{frame.name}.jpg"}
        if frame.size:
            image |= {"height": int(frame.size[0]), "width": int(frame.size[1])}
        annotations = []
        for item in frame.items:
            assert item.rle is not None
            encoded = {"counts": item.rle["counts"].encode(), "size": list(item.rle["size"])}
            annotations.append(
                {
                    **coco_keys(item.category, item.flags, item.score),
                    "instance_id": item.ident,
                    "bbox": coco.toBbox(encoded).tolist(),
                    "area": int(coco.area(encoded)),
                    "segmentation": item.rle,
                }
            )
        yield image, annotations


def coco_keys(category: int, flags: int, score: float | None) -> dict[str, Any]:
    """What COCO says of an object besides its shape."""
    return {
        "category_id": category + 1,
        "iscrowd": int(bool(flags & NEUTRAL)),
        "ignore": int(bool(flags & FLAGS["ignored"])),
        "attributes": {k: bool(flags & bit) for k, bit in FLAGS.items()},
        **({} if score is None else {"score": score}),
    }


def write_annotations(
    frames: Iterable[tuple[dict[str, Any], list[dict[str, Any]]]], target: Path, classes: ClassSet
) -> int:
    """Write a COCO file; returns the number of images.

    Args:
        frames: Image and annotations of each frame; their ids are given here.
        target: The file.
        classes: Class k becomes category k + 1.
    """
    images: list[dict[str, Any]] = []
    count = 0
    with atomic_open(target) as file:
        head = {
            "type": "instances",
            "categories": [{"id": k + 1, "name": n} for k, n in enumerate(classes.names)],
        }
        file.write(json.dumps(head)[:-1].encode() + b', "annotations": [')
        for image, annotations in frames:
            images.append({"id": len(images) + 1, **image})
            for annotation in annotations:
                count += 1
                entry = {"id": count, "image_id": len(images), **annotation}
                file.write((b",\n" if count > 1 else b"\n") + json.dumps(entry).encode())
        file.write(b'\n], "images": ' + json.dumps(images).encode() + b"}\n")
    return len(images)
