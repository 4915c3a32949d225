"""Compared frames on one sheet, and on a page with a slider that needs no server and no network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import numpy.typing as npt

from bddzoo.reports.vis.draw import COLOURS, WORDS, rounded

Image = npt.NDArray[np.uint8]

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
