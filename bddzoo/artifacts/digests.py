"""MD5 and SHA-256 of files and streams, and what they are compared with."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Literal

from bddzoo.files import is_special
from bddzoo.registry.model import Artifact, Digest

Algorithm = Literal["md5", "sha256"]
LENGTHS = {"md5": 32, "sha256": 64}
CHUNK_BYTES = 1 << 20
# A prefix shorter than this is not evidence: one file in 65536 has the same four digits.
MIN_PREFIX = 8
# Pieces that may wait to be hashed: a source is not read faster than that.
_WAITING = 8


@dataclass(frozen=True)
class Hashes:
    """Digests of some bytes: lower-case hexadecimal MD5 and SHA-256, and the size in bytes."""

    md5: str
    sha256: str
    size_bytes: int

    def get(self, algorithm: str) -> str:
        """The digest by the name of its algorithm."""
        return self.md5 if algorithm == "md5" else self.sha256


def new_hash(algorithm: str) -> Any:
    """A hash object; MD5 is asked for as a checksum, so that FIPS builds of OpenSSL give it too."""
    return hashlib.new(algorithm, usedforsecurity=False)


class _HashThread(Thread):
    """Feeds one hash from a queue, so that hashing overlaps receiving (hashlib lets go of the GIL)."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(name=f"hash-{algorithm}", daemon=True)
        self.hash = new_hash(algorithm)
        self.queue: Queue[bytes | Callable[[Any], None] | None] = Queue(maxsize=_WAITING)

    def run(self) -> None:
        """Hash bytes until the end mark; a callable in the queue is called in turn."""
        while (item := self.queue.get()) is not None:
            if callable(item):
                item(self.hash)
            else:
                self.hash.update(item)


class StreamHasher:
    """MD5 and SHA-256 of a stream in one pass, each in a thread of its own."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._threads = [_HashThread("md5"), _HashThread("sha256")]
        self._closed = False

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size_bytes += len(data)
        for thread in self._threads:
            self._put(thread, data)

    def mark(self, done: Callable[[int, str], None]) -> None:
        """Have `done(size_bytes, sha256)` called, in a thread, once everything so far has been hashed."""
        size = self.size_bytes
        self._put(self._threads[1], lambda state: done(size, state.copy().hexdigest()))

    def finish(self) -> Hashes:
        """Wait for the rest and return the digests; further calls return the same."""
        if not self._closed:
            self._closed = True
            for thread in self._threads:
                if thread.ident is not None:
                    thread.queue.put(None)
                    thread.join()
        md5, sha256 = (thread.hash.hexdigest() for thread in self._threads)
        return Hashes(md5, sha256, self.size_bytes)

    def _put(self, thread: _HashThread, item: bytes | Callable[[Any], None]) -> None:
        if thread.ident is None:
            thread.start()
        thread.queue.put(item)


def hash_file(
    path: Path,
    algorithms: Sequence[Algorithm] = ("md5", "sha256"),
    *,
    each: Callable[[int], None] | None = None,
) -> dict[str, str]:
    """Digests of a file.

    Args:
        path: The file.
        algorithms: Which digests.
        each: Called with the number of bytes of every piece hashed; may raise to stop.

    Returns:
        Lower-case hexadecimal digests by algorithm.

    Raises:
        OSError: The file cannot be read, or is a device or pipe, which may have no end.
    """
    if is_special(path):
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    states = {name: new_hash(name) for name in algorithms}
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(view):
            for state in states.values():
                state.update(view[:count])
            if each is not None:
                each(count)
    return {name: state.hexdigest() for name, state in states.items()}


def hashes_of(path: Path) -> Hashes:
    """Both digests and the size of a file."""
    found = hash_file(path)
    return Hashes(found["md5"], found["sha256"], path.stat().st_size)


def is_usable(digest: Digest) -> bool:
    """Whether a digest is one of the file's bytes, with enough digits to be evidence."""
    return digest.algorithm in LENGTHS and len(digest.hex) >= MIN_PREFIX


def is_whole(digest: Digest) -> bool:
    """Whether all digits of a digest are known: the first eight are a hint, which can be forged."""
    return len(digest.hex) == LENGTHS.get(digest.algorithm, 64)


def matches(digest: Digest, hashes: Hashes) -> bool:
    """Whether the digests of some bytes agree with a known digest, which may be a prefix."""
    return hashes.get(digest.algorithm).startswith(digest.hex.lower())


def first_mismatch(digests: Iterable[Digest], hashes: Hashes) -> Digest | None:
    """The first known digest that the bytes do not have, or None."""
    return next((d for d in digests if is_usable(d) and not matches(d, hashes)), None)


def fits(artifact: Artifact, hashes: Hashes) -> bool:
    """Whether bytes have the size and the digests that the registry knows."""
    sized = artifact.size_bytes in (None, hashes.size_bytes)
    return sized and first_mismatch(artifact.digests, hashes) is None


def strongest(digests: Iterable[Digest]) -> Digest | None:
    """The digest that proves most: SHA-256 before MD5, whole before prefix; None if there is none."""
    usable = [d for d in digests if is_usable(d)]
    return max(usable, key=lambda d: (is_whole(d), len(d.hex)), default=None)


_LINE = re.compile(r"^\\?(?P<hex>[0-9a-fA-F]{32}|[0-9a-fA-F]{64})(?:[ \t]+\*?(?P<name>.*\S))?\s*$")
_BSD = re.compile(
    r"^(?:MD5|SHA2?-?256)\s*\((?P<name>.*)\)\s*=\s*(?P<hex>[0-9a-f]{32}|[0-9a-f]{64})\s*$", re.IGNORECASE
)


def parse_digest_file(data: bytes, name: str) -> Digest | None:
    """Read a published digest file.

    Knows the output of `md5sum` and `sha256sum` (text, binary and escaped lines, lists of several
    files), a bare digest, the BSD style `MD5 (name) = digest`, upper case, Windows line ends and a
    byte-order mark.

    Args:
        data: The file's bytes.
        name: Name of the file that the digest should be of.

    Returns:
        The digest, or None if there is none for that name. A file with one single line speaks for
        the file next to it, whatever name the line gives.
    """
    found = []
    for line in data.decode("utf-8-sig", "replace").splitlines():
        match = _LINE.match(line.strip()) or _BSD.match(line.strip())
        if match is not None:
            base = re.split(r"[\\/]", match["name"] or "")[-1]
            found.append((base, match["hex"].lower()))
    named = [digits for base, digits in found if base == name]
    if not named and len(found) == 1:
        named = [found[0][1]]
    if not named or len(set(named)) > 1:
        return None
    algorithm: Algorithm = "md5" if len(named[0]) == LENGTHS["md5"] else "sha256"
    return Digest(algorithm=algorithm, hex=named[0], origin="published")


def tensors_known(artifact: Artifact) -> str | None:
    """The digest of the tensors that the registry knows, or None."""
    return next((d.hex for d in artifact.digests if d.algorithm == "tensors"), None)


def is_settled(artifact: Artifact) -> bool:
    """Whether the registry knows a whole digest of the file, so that no published one is needed."""
    known = strongest(artifact.digests)
    return known is not None and is_whole(known)
