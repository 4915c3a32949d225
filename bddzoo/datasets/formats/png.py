"""PNG files read to the bit: palette indices instead of colours, alpha not premultiplied."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.errors import MissingError
from bddzoo.lazy_numpy import np

if TYPE_CHECKING:
    import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_KINDS = {GREY: "grey", RGB: "RGB", PALETTE: "palette", GREY_ALPHA: "grey with alpha", RGBA: "RGBA"}


@dataclass(frozen=True)
class Header:
    """The IHDR chunk: size in pixels, bits per sample, colour type."""

    width: int
    height: int
    depth: int
    colour: int

    def __str__(self) -> str:
        return (
            f"{self.depth}-bit {_KINDS.get(self.colour, 'unknown')} PNG of {self.width}x{self.height} pixels"
        )


def check_png(content: bytes, path: Path) -> Header:
    """Header of a PNG whose chunks are all there and have the right checksums (PNG 1.2, section 5).

    Raises:
        MissingError: It is not PNG, cut short, or damaged; the file is named.
    """
    if not content.startswith(SIGNATURE):
        what = "empty" if not content else "not a PNG"
        raise MissingError(f"{path} is {what}", hint="labels are single PNG files, one for each image")
    header: Header | None = None
    at = len(SIGNATURE)
    while True:
        if at + 12 > len(content):
            raise damaged(path, "it is cut short")
        (length,) = struct.unpack_from(">I", content, at)
        end = at + 12 + length
        if end > len(content):
            raise damaged(path, "it is cut short")
        kind = content[at + 4 : at + 8]
        (checksum,) = struct.unpack_from(">I", content, end - 4)
        if zlib.crc32(memoryview(content)[at + 4 : end - 4]) != checksum:
            raise damaged(path, "a checksum does not match")
        if kind == b"IHDR" and length == 13:
            width, height, depth, colour = struct.unpack_from(">IIBB", content, at + 8)
            header = Header(width, height, depth, colour)
        if kind == b"IEND":
            break
        at = end
    if header is None or not header.width or not header.height:
        raise damaged(path, "it has no header" if header is None else "it has no pixels")
    return header


def decode_indices(content: bytes, header: Header, path: Path) -> npt.NDArray[np.uint8]:
    """Sample values of an 8-bit grey PNG, or palette indices of a palette PNG: (H, W) uint8.

    OpenCV replaces palette indices by their colours. The pixel stream of a palette PNG is that of
    a grey PNG of the same depth, so the header is rewritten to say grey; depths below 8 bits come
    back spread over 0..255 and are divided again.
    """
    scale = 1
    if header.colour == PALETTE:
        content = _with_colour(content, GREY)
        scale = 255 // ((1 << header.depth) - 1)
    pixels = decode_samples(content, path)
    if pixels.shape != (header.height, header.width) or pixels.dtype != np.uint8:
        raise damaged(path, "its pixels are not what its header says")
    return pixels // np.uint8(scale) if scale > 1 else pixels


def decode_rgb(content: bytes, header: Header, path: Path) -> npt.NDArray[np.uint8]:
    """Colours of an RGB or RGBA PNG, (H, W, 3) uint8; of 16 bits the high 8, alpha dropped."""
    import cv2

    pixels = decode_samples(content, path)
    if pixels.shape[:2] != (header.height, header.width) or pixels.ndim != 3 or pixels.shape[2] < 3:
        raise damaged(path, "its pixels are not what its header says")
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB), np.uint8)


def encode_png(pixels: npt.NDArray[np.uint8], path: Path) -> bytes:
    """PNG bytes of a (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA image of uint8."""
    import cv2

    if pixels.ndim == 3:
        swap = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
        done, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, swap))
    else:
        done, encoded = cv2.imencode(".png", pixels)
    if not done:
        raise MissingError(f"cannot encode {path} as PNG")
    return encoded.tobytes()


def encode_palette(indices: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8], path: Path) -> bytes:
    """PNG with a palette, from (H, W) uint8 indices and (N, 3) uint8 RGB colours.

    Shown in colours by any program, and read as indices by those that know: several times smaller and faster
    than RGB. Indices without a colour are black.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette[:256]
    return _with_colour(encode_png(indices, path), PALETTE, _chunk(b"PLTE", colours.tobytes()))


def decode_samples(content: bytes, path: Path) -> npt.NDArray[Any]:
    """What OpenCV makes of a PNG: colours in the order B, G, R, A; palette entries as colours."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise damaged(path, "its pixels cannot be decoded")
    return pixels


def _with_colour(content: bytes, colour: int, palette: bytes = b"") -> bytes:
    """The same pixel stream under another colour type, with that palette and no transparency."""
    out = bytearray(SIGNATURE)
    for kind, body in chunks(content):
        if kind == b"IHDR":
            out += _chunk(kind, body[:9] + bytes([colour]) + body[10:]) + palette
        elif kind in (b"IDAT", b"IEND"):
            out += _chunk(kind, body)
    return bytes(out)


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each chunk, to the last."""
    at = len(SIGNATURE)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind = content[at + 4 : at + 8]
        yield kind, content[at + 8 : at + 8 + length]
        if kind == b"IEND":
            break
        at += 12 + length


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def damaged(path: Path, reason: str) -> MissingError:
    """The error of a damaged file, to be raised."""
    return MissingError(f"{path} is damaged: {reason}", hint="copy or download it again")
