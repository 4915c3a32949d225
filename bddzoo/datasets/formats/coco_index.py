"""Where the annotations of each image lie in a COCO file, found without decoding or holding them."""

from __future__ import annotations

import re
from array import array
from collections import defaultdict

from bddzoo.datasets.formats.frames import CHUNK_BYTES
from bddzoo.datasets.native import native
from bddzoo.datasets.sources import Source

# More than this around the annotations, or in a single one, is not a usual file.
MAX_HELD = 1 << 26
_LIST = re.compile(rb'"annotations"\s*:\s*\[')
_SPACE = b" \t\r\n"

Places = dict[int | str, list[tuple[int, int]]]


def index_annotations(source: Source, member: str, stand_in: bytes) -> tuple[bytes, Places] | None:
    """What is around the annotations of a COCO file, or of a list of results, and the places of each image's.

    Args:
        source: The file.
        member: Its name there.
        stand_in: Put between the brackets in the place of the annotations.

    Returns:
        None without compiled loops, and where anything is unusual: then the whole has to be decoded.
    """
    loops = native()
    if loops is None:
        return None
    around, held = bytearray(), b""
    offset, state = 0, array("q", [1, 0, 0])
    begun = False
    places: Places = defaultdict(list)
    last: int | None = None
    for chunk in source.chunks(member, CHUNK_BYTES):
        held += chunk
        if len(around) + len(held) > MAX_HELD + CHUNK_BYTES:
            return None
        if not begun:
            at = _begin(held)
            if at is None:
                continue
            begun = True
            around += held[:at] + stand_in + b"]"
            offset, held = at, held[at:]
        if not state[2]:
            state[1] = 0
            for image, start, end in zip(*loops.annotations(held, state), strict=True):
                begin = places[image].pop()[0] if image == last else offset + start
                places[image].append((begin, offset + end))
                last = image
            offset, held = offset + state[1], held[state[1] :]
        if state[2]:
            around += held
            held = b""
    return (bytes(around), places) if state[2] else None


def _begin(head: bytes) -> int | None:
    """Where the list begins, if it does in this part of the file: behind its bracket."""
    text = head.lstrip(_SPACE)
    if text.startswith(b"["):
        return len(head) - len(text) + 1
    found = _LIST.search(head)
    return found.end() if found else None
