"""Contact sheets: a row for each frame, a column for each kind of picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bddzoo.painting.colours import WHITE
from bddzoo.painting.text import write_plate
from bddzoo.reports.pictures.errors import COLOURS, WORDS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]

THUMB_WIDTH = 320
MARGIN = 6
HEAD = 30
CAPTION = 22
# Rows of one sheet; a taller JPEG is not shown by every program.
ROWS = 40


def thumbnail(picture: Image) -> Image:
    """A picture at the width of a column."""
    import cv2
    import numpy as np

    height = max(1, round(picture.shape[0] * THUMB_WIDTH / picture.shape[1]))
    return np.asarray(cv2.resize(picture, (THUMB_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def contact_sheet(titles: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[Image]]]) -> Image:
    """One picture of many.

    Args:
        titles: Of the columns.
        rows: Captions and thumbnails of each row, one for each column. Thumbnails may differ in height.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    import numpy as np

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
    import cv2

    x, y = at
    for outcome, word in WORDS.items():
        colour = COLOURS[outcome]
        cv2.rectangle(sheet, (x, y - 12), (x + 18, y + 2), colour[::-1], -1)
        cv2.rectangle(sheet, (x, y - 12), (x + 18, y + 2), (0, 0, 0), 1)
        _text(sheet, word, (x + 24, y), 0.45)
        x += 24 + _width(word, 0.45) + 22


def caption_picture(picture: Image, text: str) -> Image:
    """The picture with a caption in its upper left corner."""
    drawn = picture.copy()
    write_plate(drawn, text, [(0, 0)], WHITE, must=True)
    return drawn


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
    import cv2

    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0])


def _text(sheet: Image, text: str, at: tuple[int, int], scale: float) -> None:
    import cv2

    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
