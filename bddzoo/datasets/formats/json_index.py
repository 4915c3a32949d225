"""Where the frames of a large JSON file start and end, found without decoding or holding it.

A dataset file is a list of frames, or an object whose key `frames` holds one. Everything but the
frames themselves is small. So the file is read in chunks; of each outermost object (a frame, or
`config`) only the position is kept and its number written in its place; what remains is decoded as
ordinary JSON and says which of the numbers are frames.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from bddzoo.lazy_numpy import np
from bddzoo.reading import json_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUOTE, BACKSLASH, OPEN, CLOSE = b'"\\{}'
SPACE = b" \t\r\n"
# What surrounds the frames of a file; more means that there are none.
MAX_REMAINDER = 1 << 26
# A frame is at most a megabyte or two; more is held for nobody.
MAX_FRAME = 1 << 26
# The largest of the data set's label files has some hundred thousand frames.
MAX_FRAMES = 1 << 20


class OutlineError(ValueError):
    """The file is not a list of frames; says why."""


@dataclass
class _Scan:
    """State between chunks."""

    offset: int = 0
    base: int = -1
    depth: int = 0
    in_string: bool = False
    escaped: bool = False
    start: int = 0
    remainder: bytearray = field(default_factory=bytearray)
    starts: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    begun: bytearray = field(default_factory=bytearray)
    seen: Callable[[int, bytes], object] = lambda start, content: None


def frame_regions(
    chunks: Iterable[bytes], seen: Callable[[int, bytes], object] | None = None
) -> tuple[list[tuple[int, int]], bool]:
    """Offsets (start, end) of the frames, and whether the file is a bare list.

    Args:
        chunks: The file's bytes, in pieces of any size.
        seen: Called with the offset and the bytes of everything that may turn out to be a frame.

    Raises:
        OutlineError: It is cut short or something else.
    """
    scan = _Scan()
    if seen is not None:
        scan.seen = seen
    for chunk in chunks:
        _add(scan, _without_mark(chunk) if scan.offset == 0 else chunk)
        if len(scan.ends) > MAX_FRAMES:
            raise OutlineError(f"more than {MAX_FRAMES} frames in it")
        if len(scan.remainder) > MAX_REMAINDER:
            raise OutlineError("no frames in it")
        if len(scan.begun) > MAX_FRAME:
            raise OutlineError(f"a frame in it is larger than {MAX_FRAME >> 20} MiB, or never ends")
    if scan.depth > max(scan.base, 0):
        raise OutlineError("it ends within a frame")
    try:
        outline = msgspec.json.decode(scan.remainder)
    except json_errors() as error:
        # A place in the outline is not one in the file.
        raise OutlineError(str(error).partition(" (byte")[0]) from None
    bare = isinstance(outline, list)
    frames = outline if bare else outline.get("frames") if isinstance(outline, dict) else None
    if not isinstance(frames, list) or not all(type(f) is int for f in frames):
        raise OutlineError("no list of objects in it")
    # A number that stood there itself has no place among the regions.
    if not all(0 <= f < len(scan.ends) for f in frames) or any(a >= b for a, b in pairwise(frames)):
        raise OutlineError("no list of objects in it")
    return [(scan.starts[f], scan.ends[f]) for f in frames], bare


def index_list(
    chunks: Iterable[bytes], key: str, stand_in: bytes, read: Callable[[bytes, array[int], int], None]
) -> bytes | None:
    """Find the items of the list that a file is, or that it has below a key, without holding them.

    Args:
        chunks: The file's bytes, in pieces of any size.
        key: Of the list, if the file is an object.
        stand_in: Put into the list in place of its items.
        read: Called with bytes of the list, a state (see `Native.annotations`) and their place in the file.

    Returns:
        The file with the stand-in; whoever decodes it sees whether it stands in the right list. None where an
        item is unusual.
    """
    pattern = re.compile(rb'"%b"\s*:\s*\[' % key.encode())
    around, held, begun = bytearray(), b"", False
    offset, state = 0, array("q", [1, 0, 0])
    for chunk in chunks:
        held += chunk
        if len(around) + len(held) > MAX_FRAME:
            return None
        if not begun:
            text = held.lstrip(SPACE)
            found = None if text.startswith(b"[") else pattern.search(held)
            at = found.end() if found else len(held) - len(text) + 1
            begun = found is not None or text.startswith(b"[")
            if not begun:
                continue
            around += held[:at] + stand_in + b"]"
            offset, held = at, held[at:]
        if not state[2]:
            state[1] = 0
            read(held, state, offset)
            offset, held = offset + state[1], held[state[1] :]
        if state[2]:
            around += held
            held = b""
    return bytes(around) if state[2] else None


def _without_mark(head: bytes) -> bytes:
    """The start of a file with spaces in place of a byte order mark.

    Raises:
        OutlineError: The mark is that of another encoding.
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise OutlineError("it is UTF-16, not UTF-8")
    return b"   " + head[3:] if head.startswith(b"\xef\xbb\xbf") else head


def _add(scan: _Scan, chunk: bytes) -> None:
    """Scan one chunk."""
    if scan.base < 0:
        text = chunk.lstrip(SPACE)
        if not text:
            scan.offset += len(chunk)
            return
        # Frames lie one level deeper where the whole is an object.
        scan.base = 1 if text[0] == OPEN else 0
    inside = scan.depth > scan.base
    starts, ends = _edges(scan, chunk)
    at = 0
    first = 0
    if inside:
        if not ends:
            at = len(chunk)
            scan.begun += chunk
        else:
            at = ends[0]
            _found(scan, scan.offset + at, bytes(scan.begun) + chunk[:at])
            scan.begun = bytearray()
            first = 1
    for k, start in enumerate(starts):
        scan.remainder += chunk[at:start] + b" %d " % len(scan.ends)
        scan.start = scan.offset + start
        if k + first < len(ends):
            at = ends[k + first]
            _found(scan, scan.offset + at, chunk[start:at])
        else:
            at = len(chunk)
            scan.begun += chunk[start:]
    scan.remainder += chunk[at:]
    scan.offset += len(chunk)


def _edges(scan: _Scan, chunk: bytes) -> tuple[list[int], list[int]]:
    """Where outermost objects begin and end in a chunk; carries the state over to the next one."""
    data = np.frombuffer(chunk, np.uint8)
    quotes = _real_quotes(scan, data)
    braces = np.flatnonzero((data == OPEN) | (data == CLOSE))
    outside = (np.searchsorted(quotes, braces) + scan.in_string) % 2 == 0
    braces = braces[outside]
    opening = data[braces] == OPEN
    depth = scan.depth + np.cumsum(np.where(opening, 1, -1))
    starts = braces[opening & (depth == scan.base + 1)]
    ends = braces[~opening & (depth == scan.base)] + 1
    scan.in_string ^= bool(quotes.size % 2)
    scan.depth = int(depth[-1]) if depth.size else scan.depth
    return starts.tolist(), ends.tolist()


def _found(scan: _Scan, end: int, content: bytes) -> None:
    scan.starts.append(scan.start)
    scan.ends.append(end)
    scan.seen(scan.start, content)


def _real_quotes(scan: _Scan, data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Positions of the quotes that are not escaped; carries an escape over to the next chunk."""
    quotes = np.flatnonzero(data == QUOTE)
    suspects = quotes[data[quotes - 1] == BACKSLASH]
    escaped = []
    for at in suspects.tolist():
        run = _backslashes(data, at)
        # A run that reaches the start of the chunk goes on where the last chunk ended.
        if (run + (scan.escaped and run == at)) % 2:
            escaped.append(at)
    if scan.escaped and quotes.size and quotes[0] == 0:
        escaped.append(0)
    trailing = _backslashes(data, data.size)
    scan.escaped = bool((trailing + (scan.escaped and trailing == data.size)) % 2)
    return np.setdiff1d(quotes, escaped, assume_unique=True) if escaped else quotes


def _backslashes(data: NDArray[np.uint8], end: int) -> int:
    """Length of the run of backslashes that ends before a position."""
    at = end
    while at > 0 and data[at - 1] == BACKSLASH:
        at -= 1
    return end - at
