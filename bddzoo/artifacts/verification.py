"""Whether bytes are the file that was asked for: what servers give in place of it, and files cut short."""

from __future__ import annotations

import html
import pickletools
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bddzoo.artifacts.digests import CHUNK_BYTES, first_mismatch, hashes_of, is_whole, strongest
from bddzoo.errors import IntegrityError, MissingError
from bddzoo.registry.model import Artifact, DigestState

HEAD_BYTES = 2048
_TEXT_SUFFIXES = (".html", ".htm", ".xhtml", ".svg", ".xml")
_LFS = b"version https://git-lfs.github.com/spec/"


def wrong_content(head: bytes, file_name: str, content_type: str | None = None) -> str | None:
    """Say what the bytes are if they cannot be the file that was asked for.

    Args:
        head: The first bytes, up to `HEAD_BYTES`; empty for an empty file.
        file_name: Name of the file that was asked for.
        content_type: The server's `Content-Type`, if any.

    Returns:
        A few words such as `an HTML page titled "Login"`, or None if nothing speaks against it.
    """
    if not head:
        return "an empty file"
    if head.startswith(_LFS):
        size = re.search(rb"^size (\d+)", head, re.MULTILINE)
        of = f" for a file of {int(size[1])} bytes" if size else ""
        return f"a Git LFS pointer{of}, not the file itself"
    if file_name.lower().endswith(_TEXT_SUFFIXES):
        return None
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    declared = (content_type or "").split(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or (
        start.startswith(b"<") and (declared or b"<html" in start)
    ):
        title = re.search(rb"<title[^>]*>(.*?)</title>", head, re.IGNORECASE | re.DOTALL)
        words = html.unescape(" ".join(title[1].decode("utf-8", "replace").split())) if title else ""
        return "an HTML page" + (f' titled "{words[:80]}"' if words else "") + " (error page or login page?)"
    if start.startswith(b"<?xml") and b"<error" in start:
        code = re.search(rb"<code>([^<]*)</code>", head, re.IGNORECASE)
        return "an XML error message" + (f" ({code[1].decode('utf-8', 'replace')})" if code else "")
    return None


def cut_short(path: Path, file_name: str) -> str | None:
    """Say what is missing at the end of a file, where its format shows the end.

    Zip archives (which `.pth` files are, unless they are older than PyTorch 1.6) end in a directory,
    JSON in a bracket, a pickle in a mark of its own, and what an older `.pth` holds stands in its pickles.
    Files of other formats are not judged.

    Returns:
        A few words, or None if nothing speaks against the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4)
        # The end record is 22 bytes plus a comment of at most 65535 bytes.
        file.seek(max(0, size - (1 << 16) - 22))
        end = file.read()
    if start == b"PK\x03\x04" and not _ends_zip(end, size):
        return "a zip archive cut short (its directory is missing)"
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5") and _is_pickle_cut(path, size):
        return "a pickle cut short"
    if file_name.lower().endswith(".json"):
        stripped = end.rstrip()
        if start.lstrip()[:1] in (b"{", b"[") and stripped[-1:] not in (b"}", b"]"):
            return "a JSON file cut short (its last bracket is missing)"
    return None


def _ends_zip(end: bytes, size: int) -> bool:
    """Whether a zip archive's last bytes hold a whole end record, right behind the directory that it names.

    Without the second, the record of an archive inside a cut archive would do.
    """
    place = end.rfind(b"PK\x05\x06")
    if place < 0 or len(end) < place + 22:
        return False
    length, start, comment = struct.unpack("<IIH", end[place + 12 : place + 22])
    directory_end = size - len(end) + place
    locator = place - 20
    if locator >= 56 and end[locator:].startswith(b"PK\x06\x07"):  # zip64: a larger record before this one
        length, start = struct.unpack("<QQ", end[locator - 16 : locator])
        directory_end -= 76
    return bool(place + 22 + comment <= len(end) and start + length == directory_end)


# The first pickle of a checkpoint of before PyTorch 1.6, and bytes of an element by type of storage.
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_ITEM_BYTES = {"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1,
               "Byte": 1, "Bool": 1, "ComplexFloat": 8, "ComplexDouble": 16}  # fmt: skip
# Fewer operations than this may be other bytes that look like some; more than that take too long to read.
_FEWEST_OPS, _MOST_OPS = 10, 300_000


def _is_pickle_cut(path: Path, size: int) -> bool:
    """Whether a pickle, or an old checkpoint of five pickles and the storages that they name, ends too early.

    The pickles are read operation by operation, and never executed.
    """
    storages: dict[object, int] = {}
    count = 0
    with path.open("rb") as file:
        legacy = file.read(len(_LEGACY)) == _LEGACY
        file.seek(0)
        try:
            for _ in range(5 if legacy else 1):
                pushed: list[Any] = []
                memo: dict[Any, Any] = {}
                for operation, argument, _position in pickletools.genops(file):
                    count += 1
                    if count > _MOST_OPS:
                        file.seek(size - 1)
                        return not legacy and file.read() != b"."
                    name = operation.name
                    if name == "MARK":
                        pushed.clear()
                    elif name in ("BINPUT", "LONG_BINPUT"):
                        memo[argument] = pushed[-1] if pushed else None
                    elif name in ("BINGET", "LONG_BINGET"):
                        pushed.append(memo.get(argument))
                    elif name == "BINPERSID":
                        _note_storage(pushed[-8:], storages)
                    elif isinstance(argument, int | str):
                        pushed.append(argument)
        except (ValueError, UnicodeDecodeError):
            return count >= _FEWEST_OPS and not file.read(1)
        return legacy and file.tell() + sum(8 + amount for amount in storages.values()) > size


def _note_storage(pushed: Sequence[Any], storages: dict[object, int]) -> None:
    """Note a storage that a pickle refers to as `("storage", type, key, device, elements, ...)`, in bytes."""
    for at in range(len(pushed) - 4):
        word, kind, key, _, elements = pushed[at : at + 5]
        if word == "storage" and isinstance(kind, str) and isinstance(elements, int):
            kind = kind.rpartition(" ")[2].removesuffix("Storage")
            storages[key] = elements * _ITEM_BYTES.get(kind, 1)


def verify_file(path: Path, artifact: Artifact) -> DigestState:
    """Compare a file with what the registry knows of it: size first, then the digests.

    Returns:
        `verified` if a known digest agrees, `prefix` if only its first digits are known, `unknown` if
        none is.

    Raises:
        MissingError: There is no such file, or it cannot be read.
        IntegrityError: Size or digest differ.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            mismatch = wrong_content(file.read(HEAD_BYTES), path.name)
        if mismatch is not None:
            raise IntegrityError(f"{path}: is {mismatch}", hint="fetch it again")
        if artifact.size_bytes is not None and size != artifact.size_bytes:
            raise IntegrityError(
                f"{path}: has {size} bytes, the registry knows {artifact.size_bytes}", hint="fetch it again"
            )
        known = strongest(artifact.digests)
        if known is None:
            return "unknown"
        hashes = hashes_of(path)
    except OSError as error:
        raise MissingError(f"{path}: cannot be read: {error.strerror or error}") from error
    wrong = first_mismatch(artifact.digests, hashes)
    if wrong is not None:
        found = hashes.get(wrong.algorithm)
        raise IntegrityError(
            f"{path}: has {wrong.algorithm} {found}, expected {wrong.hex}", hint="fetch it again"
        )
    return "verified" if is_whole(known) else "prefix"


GZIP = b"\x1f\x8b"
# Small enough that a body of nothing but tiny members does not take long.
_SLICE_BYTES = 16 << 10


class CodingError(Exception):
    """Bytes that are not a whole gzip or zlib stream."""


class Inflater:
    """Undoes gzip coding, of all its members (RFC 1952, 2.2), or zlib coding, with little memory."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(47)  # gzip or zlib, as the header says

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes unfold to, in pieces of at most a mebibyte.

        Raises:
            CodingError: They are damaged, or lie behind the end.
        """
        for start in range(0, len(data), _SLICE_BYTES):
            rest = data[start : start + _SLICE_BYTES]
            while rest:
                if self._decoder.eof:
                    rest = rest.lstrip(b"\0")  # padding
                    if rest and not GZIP.startswith(rest[:2]):
                        raise CodingError("bytes behind its end")
                    self._decoder = zlib.decompressobj(31) if rest else self._decoder
                    continue
                try:
                    yield self._decoder.decompress(rest, CHUNK_BYTES)
                except zlib.error as error:
                    raise CodingError(str(error)) from None
                rest = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail

    def end(self) -> bytes:
        """The last bytes.

        Raises:
            CodingError: The coding has not ended.
        """
        data = self._decoder.flush()
        if not self._decoder.eof:
            raise CodingError("cut short")
        return data


def is_compressed(head: bytes, coding: str | None) -> bool:
    """Whether a body begins as gzip does, or as zlib if the server says that it is `deflate`."""
    zlib_header = len(head) > 1 and head[0] & 15 == 8 and (head[0] << 8 | head[1]) % 31 == 0
    return head.startswith(GZIP) or (coding == "deflate" and zlib_header)
