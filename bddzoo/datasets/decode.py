"""Pictures from files, as upstream reads them.

mmcv decodes with OpenCV's `IMREAD_COLOR`, and so do we: the result is always 8-bit BGR. What that
means for unusual files is part of the answer and is reported as a remark:

- EXIF orientation is applied: a picture is seen, and its results are written, upright;
- grey pictures give three equal channels;
- 16-bit samples lose their low byte;
- CMYK is converted by OpenCV's plain formula, without a colour profile;
- an alpha channel is dropped.

Files that end early are refused. OpenCV's releases differ in how they treat them, some return a
picture with a grey remainder, so the end of JPEG and PNG files is looked for here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bddzoo.datasets.formats.png import GREY, GREY_ALPHA, RGBA, SIGNATURE, check_png, read_bytes
from bddzoo.errors import MissingError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: (H, W, 3) uint8, BGR.
        remarks: What was done to it that its owner may not expect.
    """

    pixels: npt.NDArray[np.uint8]
    remarks: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width, _ = self.pixels.shape
        return int(height), int(width)


def read_picture(path: Path) -> Picture:
    """Decode a picture file of any format that OpenCV knows.

    Raises:
        MissingError: It is absent, cut short, damaged or no picture; the file is named.
    """
    return decode_picture(read_bytes(path), path)


def decode_picture(content: bytes, path: Path) -> Picture:
    """Decode the bytes of a picture file; see `read_picture`.

    Args:
        content: The file.
        path: Its name, for messages.
    """
    import cv2
    import numpy as np

    if not content:
        raise MissingError(f"{path} is empty", hint="copy or download it again")
    if content.startswith(SIGNATURE):
        remarks = _png_remarks(content, path)
    elif content.startswith(b"\xff\xd8"):
        remarks = _jpeg_remarks(content, path)
    else:
        remarks = []
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise MissingError(f"cannot decode {path}: {error.err or error.func}") from error
    if pixels is None:
        raise MissingError(f"{path} is damaged or no picture", hint="JPEG and PNG files are the usual ones")
    return Picture(np.asarray(pixels, np.uint8), tuple(remarks))


def _png_remarks(content: bytes, path: Path) -> list[str]:
    header = check_png(content, path)
    remarks = []
    if header.colour in (GREY, GREY_ALPHA):
        remarks.append("grey: its one channel is used three times")
    if header.depth == 16:
        remarks.append("16 bits a channel: the low 8 are dropped")
    if header.colour in (GREY_ALPHA, RGBA):
        remarks.append("transparency is ignored")
    return remarks


def _jpeg_remarks(content: bytes, path: Path) -> list[str]:
    """Walk the marker segments of a JPEG up to its first scan (ITU-T T.81, annex B)."""
    remarks = []
    at = 2
    while True:
        if at + 4 > len(content):
            raise _cut(path)
        if content[at] != 0xFF:
            raise MissingError(f"{path} is damaged: no JPEG marker at byte {at}", hint="copy it again")
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", content, at + 2)
        body = content[at + 4 : at + 2 + length]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            turn = exif_orientation(body[6:])
            if turn not in (None, 1):
                remarks.append(f"EXIF orientation {turn} is applied")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(body) >= 6:
            if body[5] == 1:
                remarks.append("grey: its one channel is used three times")
            elif body[5] == 4:
                remarks.append("CMYK: converted to RGB without a colour profile")
        if marker == 0xDA:
            break
        at += 2 + length
    # 0xFF is followed by 0x00 or a restart marker within a scan, so the end marker cannot be data.
    if content.rfind(b"\xff\xd9", at) < 0:
        raise _cut(path)
    return remarks


def exif_orientation(tiff: bytes) -> int | None:
    """The orientation, 1 to 8, of an EXIF block (TIFF 6.0, tag 274); None where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return None
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return None
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
        if tag == 0x0112 and kind == 3:
            (value,) = struct.unpack_from(f"{order}H", tiff, entry + 8)
            return int(value) if 1 <= value <= 8 else None
    return None


def _cut(path: Path) -> MissingError:
    return MissingError(f"{path} is damaged: it is cut short", hint="copy or download it again")
