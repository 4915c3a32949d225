"""`vis compare`: image, truth, predictions and where they are wrong, side by side.

All frames also on one sheet, and on a page with a slider that needs no server and no network.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import numpy.typing as npt

from bddzoo.datasets.decode import read_image
from bddzoo.datasets.formats.labels import FrameLabels
from bddzoo.datasets.formats.readers import LabelSet
from bddzoo.errors import MissingError, UsageError
from bddzoo.files import write_bytes
from bddzoo.painting.colouring import Style
from bddzoo.reports.vis.draw import (
    COLOURS,
    WORDS,
    difference,
    draw_errors,
    outcomes,
    overlay,
    rounded,
    shares,
)
from bddzoo.reports.vis.work import (
    Effort,
    ImageSet,
    OutputFolder,
    Pair,
    Reports,
    Tally,
    encode,
    note_lacking,
    note_unknown,
    pair,
    run_each,
    same_size,
)
from bddzoo.text import number_of

Image = npt.NDArray[np.uint8]

SHEET = "sheet"
SUMMARY = "compare.json"
PAGE = "index.html"


@dataclass(frozen=True)
class ImageComparison:
    """Images of a data set, its truth, and predictions.

    Attributes:
        images: The images.
        truth: Ground truth.
        predictions: Predictions, one or more.
        names: What the predictions are called, all different.
        style: How labels are drawn.
        out: Where to.
        effort: How to go about it.
    """

    images: ImageSet
    truth: LabelSet
    predictions: tuple[LabelSet, ...]
    names: tuple[str, ...]
    style: Style
    out: Path
    effort: Effort

    def __post_init__(self) -> None:
        tasks = {one.task for one in (self.truth, *self.predictions)}
        if len(tasks) > 1:
            told = ", ".join(f"{one.path} ({one.task})" for one in (self.truth, *self.predictions))
            raise UsageError(f"labels of different tasks: {told}", hint="say what they are with -t")

    @property
    def titles(self) -> list[str]:
        """Titles of the columns."""
        return ["image", "truth", *(t for name in self.names for t in (name, f"{name}: errors"))]

    def run(self, worst: int | None, reports: Reports) -> tuple[Tally, list[Compared]]:
        """Draw and write everything but the page.

        Args:
            worst: Only so many frames, those that differ most; None for all, in order.
            reports: Whom to tell.

        Raises:
            MissingError: The folder cannot be written to, nothing fits together, or nothing could be drawn.
        """
        tally = Tally(self.out)
        sets = (self.truth, *self.predictions)
        pairs, _ = pair(self.images, sets)
        folder = self._folder()
        for one in sets:
            note_lacking(tally, [name for name in self.images.names if one.find(name) is None], one, reports)
        if worst is not None:
            pairs = self._worst(pairs, worst, tally, reports)
        done: list[Compared] = []
        page: list[Compared] = []
        sheets = 0
        many = len(pairs) > ROWS
        work = partial(self._compare, folder=folder)
        for _, found in run_each(work, pairs, tally, reports, self.effort.workers):
            tally.drawn += found.drawn
            tally.kept += not found.drawn
            page.append(found)
            done.append(replace(found, thumbs=()))  # nobody needs them any longer
            if len(page) == ROWS:
                sheets += 1
                self._write_sheet(folder, page, sheets if many else 0)
                page = []
        if page:
            self._write_sheet(folder, page, sheets + 1 if many else 0)
        tally.stop()
        note_unknown(sets, reports)
        if not done:
            folder.discard()
            raise MissingError(
                f"not one of {number_of(len(tally.failed), 'frame')} could be drawn: {tally.failed[0][1]}"
            )
        return tally, done

    def summary(self, found: Sequence[Compared]) -> list[dict[str, object]]:
        """What was found out about each frame."""
        return [
            {
                "name": one.name,
                "difference": round(one.difference, 5),
                "shares": dict(zip(self.names, map(rounded, one.shares), strict=True)),
                "files": list(one.files),
            }
            for one in found
        ]

    def write_summary(self, found: Sequence[Compared]) -> Path:
        """Write `compare.json`."""
        path = self.out / SUMMARY
        value = {"task": self.truth.task, "predictions": self.names, "frames": self.summary(found)}
        write_bytes(path, json.dumps(value, indent=1, ensure_ascii=False).encode())
        return path

    def write_page(self, found: Sequence[Compared], *, embed: bool) -> Path:
        """Write `index.html`."""
        path = self.out / PAGE
        title = " and ".join(self.names) if len(self.names) < 3 else ", ".join(self.names)
        page = comparison_page(
            f"{title}: {number_of(len(found), 'frame')}", self.titles, found, self.out if embed else None
        )
        write_bytes(path, page.encode())
        return path

    def _folder(self) -> OutputFolder:
        sets = (self.truth, *self.predictions)
        settings: dict[str, object] = {
            "vis": "compare",
            "task": self.truth.task,
            "images": self.images.path.resolve(),
            "labels": [str(one.path.resolve()) for one in sets],
            "names": self.names,
            "suffix": self.effort.suffix,
            "quality": self.effort.quality,
            **asdict(self.style),
        }
        sources = [self.images.path, *(one.path for one in sets)]
        return OutputFolder.open(self.out, settings, sources, force=self.effort.force)

    def _worst(self, pairs: list[Pair], count: int, tally: Tally, reports: Reports) -> list[Pair]:
        """The frames that differ most, the worst first; names decide between equals."""

        def measure(job: Pair) -> float:
            return self._difference(self._read(job))

        measured = run_each(measure, pairs, tally, reports, self.effort.workers)
        found = [(value, job.name, job) for job, value in measured]
        found.sort(key=lambda entry: (-entry[0], entry[1]))
        return [job for _, _, job in found[:count]]

    def _read(self, job: Pair) -> list[FrameLabels]:
        sets = (self.truth, *self.predictions)
        keys = [key for key in job.keys if key is not None]
        planes = [one.read(key) for one, key in zip(sets, keys, strict=True)]
        for one, key, plane in zip(sets[1:], keys[1:], planes[1:], strict=True):
            same_size(plane, planes[0].shape, one.where(key), "the truth")
        return planes

    def _difference(self, planes: Sequence[FrameLabels]) -> float:
        truth, *classes = (plane.classes(self.style.min_score) for plane in planes)
        if len(classes) == 1:
            return difference(truth, truth, classes[0])
        return difference(truth, classes[0], classes[1])

    def _compare(self, job: Pair, folder: OutputFolder) -> Compared:
        planes = self._read(job)
        truth, *classes = (plane.classes(self.style.min_score) for plane in planes)
        found = [outcomes(truth, one) for one in classes]
        files = tuple(f"{job.name}/{stem}{self.effort.suffix}" for stem in self._stems())
        targets = [self.out / file for file in files]
        drawn = not folder.finished(targets, self._files_of(job))
        if drawn:
            image = self.images.read(job.name)
            height, width = image.shape[:2]
            same_size(planes[0], (height, width), self.truth.where(str(job.keys[0])), "its image")
            images = [image, overlay(image, planes[0], self.style)]
            for plane, outcome in zip(planes[1:], found, strict=True):
                images += [overlay(image, plane, self.style), draw_errors(image, outcome)]
            for target, one in zip(targets, images, strict=True):
                folder.write(target, encode(one, self.effort.suffix, self.effort.quality))
            thumbs = tuple(thumbnail(one) for one in images)
        else:
            thumbs = tuple(_small(target) for target in targets)
        told = tuple(shares(one) for one in found)
        return Compared(job.name, self._difference(planes), told, files, drawn, thumbs)

    def _files_of(self, job: Pair) -> list[Path]:
        sets = (self.truth, *self.predictions)
        labels = [Path(one.where(key)) for one, key in zip(sets, job.keys, strict=True) if key is not None]
        return [self.images.where(job.name), *labels]

    def _stems(self) -> list[str]:
        return ["image", "truth", *(s for name in self.names for s in (name, f"{name}-errors"))]

    def _write_sheet(self, folder: OutputFolder, page: Sequence[Compared], number: int) -> None:
        rows = [(self._captions(found), found.thumbs) for found in page]
        name = f"{SHEET}-{number:03}" if number else SHEET
        image = contact_sheet(self.titles, rows)
        folder.write(self.out / f"{name}.jpg", encode(image, ".jpg", self.effort.quality))

    def _captions(self, found: Compared) -> list[str]:
        two = f"{self.names[0]} and {self.names[1]}" if len(self.names) > 1 else "truth and prediction"
        two += f" differ on {found.difference:.1%}"
        out = [found.name, two]
        for told in found.shares:
            out += ["", ", ".join(f"{share:.0%} {word}" for word, share in told.items() if share >= 0.005)]
        return out


def _small(path: Path) -> Image:
    """Thumbnail of an image that was written before; a quarter of it is decoded, which is faster."""
    small = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2)
    return thumbnail(read_image(path).pixels if small is None else small)  # type: ignore[arg-type]


def short_names(paths: Sequence[Path]) -> list[str]:
    """What predictions are called, all different: the last part of their paths that tells them apart."""
    parts = [path.resolve().with_suffix("").parts[::-1] for path in paths]
    for place in range(max(len(p) for p in parts)):
        names = [p[place] if len(p) > place else "" for p in parts]
        if len(set(names)) == len(names) and not any(n in ("", "/") for n in names):
            return names
    return [f"{p[0]}-{i}" for i, p in enumerate(parts, 1)]


THUMB_WIDTH = 320
MARGIN = 6
HEAD = 30
CAPTION = 22
# Rows of one sheet; a taller JPEG is not shown by every program.
ROWS = 40


def thumbnail(image: Image) -> Image:
    """An image at the width of a column."""
    height = max(1, round(image.shape[0] * THUMB_WIDTH / image.shape[1]))
    return np.asarray(cv2.resize(image, (THUMB_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def contact_sheet(titles: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[Image]]]) -> Image:
    """One image of many.

    Args:
        titles: Of the columns.
        rows: Captions and thumbnails of each row, one for each column. Thumbnails may differ in height.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    width = MARGIN + len(titles) * (THUMB_WIDTH + MARGIN)
    heights = [max(image.shape[0] for image in images) + CAPTION + MARGIN for _, images in rows]
    sheet = np.full((2 * HEAD + sum(heights) + MARGIN, width, 3), 255, np.uint8)
    lefts = [MARGIN + i * (THUMB_WIDTH + MARGIN) for i in range(len(titles))]
    for left, title in zip(lefts, titles, strict=True):
        _text(sheet, _fit(title, THUMB_WIDTH, 0.6), (left, HEAD - 9), 0.6)
    _legend(sheet, (lefts[0], 2 * HEAD - 10))
    top = 2 * HEAD
    for (captions, images), height in zip(rows, heights, strict=True):
        for left, caption, image in zip(lefts, captions, images, strict=True):
            sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
            _text(sheet, _fit(caption, THUMB_WIDTH, 0.42), (left, top + image.shape[0] + 15), 0.42)
        top += height
    return sheet


def _legend(sheet: Image, at: tuple[int, int]) -> None:
    x, y = at
    for outcome, word in WORDS.items():
        colour = COLOURS[outcome]
        cv2.rectangle(sheet, (x, y - 12), (x + 18, y + 2), colour[::-1], -1)
        cv2.rectangle(sheet, (x, y - 12), (x + 18, y + 2), (0, 0, 0), 1)
        _text(sheet, word, (x + 24, y), 0.45)
        x += 24 + _width(word, 0.45) + 22


def _fit(text: str, width: int, scale: float) -> str:
    """The text, its middle left out where it is too long."""
    if _width(text, scale) <= width:
        return text
    keep = len(text)
    while keep > 4 and _width(_cut(text, keep), scale) > width:
        keep -= 1
    return _cut(text, keep)


def _cut(text: str, keep: int) -> str:
    tail = keep // 2
    return f"{text[: keep - tail]}...{text[len(text) - tail :]}"


def _width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0])


def _text(sheet: Image, text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)


TEMPLATE = "page.html"
MIME = {".jpg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True)
class Compared:
    """What a frame's images are and say.

    Attributes:
        name: Name of the frame.
        difference: How much the two first predictions differ; the only one and the truth where there is one.
        shares: Outcome to its share for each prediction.
        files: Images by column, relative to the output folder.
        drawn: Whether they were drawn now.
        thumbs: Their thumbnails.
    """

    name: str
    difference: float
    shares: tuple[dict[str, float], ...]
    files: tuple[str, ...]
    drawn: bool
    thumbs: tuple[Image, ...] = field(repr=False, default=())


def comparison_page(title: str, titles: Sequence[str], frames: Sequence[Compared], embed: Path | None) -> str:
    """HTML of the page.

    Args:
        title: Of the page.
        titles: Of the images of a frame; the page opens with the first two predictions side by side, or the
            truth and the only one.
        frames: What there is, in the order in which it is shown.
        embed: Folder whose images are put into the page itself; None to link them.

    Returns:
        A document that asks for nothing but the images next to it.
    """
    data = {
        "titles": list(titles),
        "start": [2, 4] if len(titles) > 4 else [1, 2],
        "frames": [
            {
                "name": frame.name,
                "differ": round(frame.difference, 5),
                "shares": [rounded(told) for told in frame.shares],
                "files": [_link(file, embed) for file in frame.files],
            }
            for frame in frames
        ],
    }
    # A script element ends at the first "</", even within a string.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    legend = "".join(
        f'<li><span class="key k{outcome}" style="background-color:rgb{COLOURS[outcome]}"></span>'
        f"{html.escape(word)}</li>"
        for outcome, word in WORDS.items()
    )
    page = (files("bddzoo.reports.vis") / TEMPLATE).read_text(encoding="utf-8")
    for name, value in (
        ("title", html.escape(title)),
        ("legend", legend),
        ("links", "" if embed else _plain_links(titles, frames)),
        ("data", text),
    ):
        page = page.replace("{{" + name + "}}", value)
    return page


def _plain_links(titles: Sequence[str], frames: Sequence[Compared]) -> str:
    """What is left of the page where scripts are off."""
    rows = []
    for frame in frames:
        links = ", ".join(
            f'<a href="{html.escape(quote(file))}">{html.escape(title)}</a>'
            for title, file in zip(titles, frame.files, strict=True)
        )
        rows.append(f"<li>{html.escape(frame.name)}: {links}</li>")
    return "<ul>" + "".join(rows) + "</ul>"


def _link(file: str, embed: Path | None) -> str:
    if embed is None:
        return quote(file)
    path = embed / file
    return f"data:{MIME[path.suffix]};base64," + base64.b64encode(path.read_bytes()).decode("ascii")
