"""Images from files, as upstream reads them; every command that looks at an image asks here.

mmcv decodes with OpenCV's `IMREAD_COLOR`, and so do we: the result is always 8-bit BGR. What that
means for unusual files is part of the answer and is reported as a remark:

- the EXIF orientation of JPEG, PNG and WebP files is applied: an image is seen, and its results are
  written, upright (OpenCV's releases differ in which formats they do it for, so it is done here);
- grey images give three equal channels;
- 16-bit samples lose their low byte;
- CMYK is converted by OpenCV's plain formula, without a colour profile;
- an alpha channel is dropped;
- bytes behind the end are passed over: phones put a film there.

Files that end early are refused. OpenCV's releases differ in how they treat them, some return an
image with a grey remainder, so the end of JPEG, PNG and WebP files is looked for here. What a file is
is told by its content; its suffix says nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.formats.png import GREY, GREY_ALPHA, RGBA, SIGNATURE, check_png, chunks
from bddzoo.datasets.sources import read_bytes
from bddzoo.errors import MissingError

# Brands of ISO base media files (ISO/IEC 14496-12) that phones write and OpenCV does not read.
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
# What a file that can't be decoded is by its first bytes, from a place on.
_OTHER_KINDS = (
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftyp", "a video"),
    (4, b"jP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (4, b"JXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, bytes(64), "nothing but zeros"),
)


@dataclass(frozen=True)
class Image:
    """A decoded image.

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


def read_image(path: Path) -> Image:
    """Decode an image file of any format that OpenCV knows.

    Raises:
        MissingError: It is absent, cut short, damaged or no image; the file is named.
    """
    return decode_image(read_bytes(path), path)


def decode_image(content: bytes, path: Path) -> Image:
    """Decode the bytes of an image file; see `read_image`."""
    import cv2

    if not content:
        raise MissingError(f"{path} is empty", hint="copy or download it again")
    flags, turn = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, None
    if content.startswith(SIGNATURE):
        remarks, turn = _png_remarks(content, path)
    elif content.startswith(b"\xff\xd8"):
        remarks, turn = _jpeg_remarks(content, path)
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        remarks, turn = [], _webp_orientation(content, path)
    else:
        _refuse_other_kinds(content, path)
        remarks, flags = [], cv2.IMREAD_COLOR
    _silence()
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise MissingError(f"cannot decode {path}: {error.err or error.func}") from error
    if pixels is None:
        kinds = (kind for at, start, kind in _OTHER_KINDS if content.startswith(start, at))
        kind = next(kinds, None)
        what = f"looks like {kind}, and cannot be read" if kind else "is damaged or not an image"
        raise MissingError(f"{path} {what}", hint="JPEG and PNG files are the usual ones")
    if turn not in (None, 1):
        remarks.append(f"EXIF orientation {turn} is applied")
        pixels = _upright(np.asarray(pixels, np.uint8), turn)
    return Image(np.asarray(pixels, np.uint8), tuple(remarks))


@cache
def _silence() -> None:
    """Keep OpenCV from writing about damaged files to stderr: we say what is wrong with them."""
    import cv2

    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)
    else:  # OpenCV 5
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _upright(pixels: npt.NDArray[np.uint8], turn: int | None) -> npt.NDArray[np.uint8]:
    """The pixels of an image in EXIF orientation 2 to 8 as they are meant to be seen."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    # What is first: rows from below (3, 4), columns from the right (2, 3); turned ones likewise.
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _refuse_other_kinds(content: bytes, path: Path) -> None:
    """Name a file that is known not to be read.

    Raises:
        MissingError: It is HEIC, or a web page.
    """
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        raise MissingError(f"{path} is a HEIC image, which is not read", hint="convert it to JPEG or PNG")
    if content[:64].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise MissingError(f"{path} is a web page, not an image", hint="download it again")


def _png_remarks(content: bytes, path: Path) -> tuple[list[str], int | None]:
    header = check_png(content, path)
    remarks = []
    exif = next((body for kind, body in chunks(content) if kind == b"eXIf"), b"")
    if header.colour in (GREY, GREY_ALPHA):
        remarks.append("grey: its one channel is used three times")
    if header.depth == 16:
        remarks.append("16 bits a channel: the low 8 are dropped")
    if header.colour in (GREY_ALPHA, RGBA):
        remarks.append("transparency is ignored")
    return remarks, exif_orientation(exif)


def _jpeg_remarks(content: bytes, path: Path) -> tuple[list[str], int | None]:
    """Walk the marker segments of a JPEG up to its first scan (ITU-T T.81, annex B)."""
    remarks: list[str] = []
    turn = None
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
            turn = turn or exif_orientation(body[6:])
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
    return remarks, turn


def _webp_orientation(content: bytes, path: Path) -> int | None:
    """The EXIF orientation of a WebP file that is whole (RFC 9649, section 2)."""
    if int.from_bytes(content[4:8], "little") + 8 > len(content):
        raise _cut(path)
    for kind, body in _riff_chunks(content):
        if kind == b"EXIF":
            return exif_orientation(body.removeprefix(b"Exif\0\0"))
    return None


def _riff_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


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
