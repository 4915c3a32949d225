"""MD5 and SHA-256 of files and streams, and what they are compared with."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue, SimpleQueue
from threading import Lock, Thread
from typing import Any, Literal

from bddzoo.registry.model import Digest

Algorithm = Literal["md5", "sha256"]
LENGTHS = {"md5": 32, "sha256": 64}
CHUNK_BYTES = 1 << 20
# A prefix shorter than this is no evidence: one file in 65536 has the same four digits.
MIN_PREFIX = 8
_INLINE_BYTES = 64 << 10
# What a hash thread is woken for: enough to be worth it, and little enough to be in a near cache still.
_BATCH_BYTES = 256 << 10
_BATCHES = 32


@dataclass(frozen=True)
class Hashes:
    """Digests of some bytes: lower-case hexadecimal MD5 and SHA-256, and the size in bytes."""

    md5: str
    sha256: str
    size_bytes: int

    def get(self, algorithm: str) -> str:
        """The digest by the name of its algorithm."""
        return self.md5 if algorithm == "md5" else self.sha256


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def new_hash(algorithm: str) -> Any:
    """A hash object; MD5 is asked for as a checksum, so that FIPS builds of OpenSSL give it too."""
    return hashlib.new(algorithm, usedforsecurity=False)


class _HashThread(Thread):
    """Feeds one hash from a queue, so that hashing overlaps receiving (hashlib lets go of the GIL)."""

    def __init__(self, state: Any) -> None:
        super().__init__(name=f"hash-{state.name}", daemon=True)
        self.hash = state
        self.queue: Queue[Any] = Queue(maxsize=_BATCHES)
        self.failed: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Hash lists of bytes until the end mark; a callable in the queue is called in turn."""
        while (item := self.queue.get()) is not None:
            if self.failed is None:
                try:
                    if callable(item):
                        item(self.hash)
                    else:
                        for data in item:
                            self.hash.update(data)
                except BaseException as error:
                    self.failed = error


class StreamHasher:
    """MD5 and SHA-256 of a stream in one pass.

    The first bytes are hashed in place. When the stream turns out to be long, threads take over as far
    as other streams leave processors idle: MD5 first, which takes more than twice as long as SHA-256
    where the processor knows SHA. What gets no thread is hashed where it is received, while its bytes
    are in that processor's cache.
    """

    _streams = 0
    _lock = Lock()

    def __init__(self) -> None:
        self.size_bytes = 0
        self._counted = False
        self._hashes: list[Any] = [new_hash("md5"), new_hash("sha256")]
        self._inline = self._hashes
        self._threads: list[_HashThread] = []
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._closed = False

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size_bytes += len(data)
        if not self._counted and self.size_bytes > _INLINE_BYTES:
            idle = max(0, _processors() - 1 - self._count(1))
            self._threads = [_HashThread(state) for state in self._hashes[:idle]]
            self._inline = self._hashes[idle:]
        for state in self._inline:
            state.update(data)
        if not self._threads:
            return
        self._batch.append(data)
        self._batch_bytes += len(data)
        if self._batch_bytes >= _BATCH_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the threads what has gathered: in large pieces, because each wakes them up."""
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        for thread in self._threads:
            thread.queue.put(batch)

    def mark(self, done: Callable[[int, str], None]) -> None:
        """Call `done(size_bytes, sha256)` once everything so far has been hashed, maybe in a thread."""
        size = self.size_bytes

        def tell(state: Any) -> None:
            done(size, state.copy().hexdigest())

        if len(self._threads) == len(self._hashes):
            self._hand_over()
            self._threads[1].queue.put(tell)
        else:
            tell(self._hashes[1])

    def sha256_so_far(self) -> str:
        """SHA-256 of the bytes up to now."""
        done: SimpleQueue[str] = SimpleQueue()
        self.mark(lambda _, digest: done.put(digest))
        return done.get()

    def _count(self, change: int) -> int:
        """Count this stream in or out; returns how many there were before."""
        self._counted = change > 0
        with StreamHasher._lock:
            before = StreamHasher._streams
            StreamHasher._streams += change
        return before

    def finish(self) -> Hashes:
        """Wait for the rest and return the digests; further calls return the same."""
        self.close()
        return Hashes(self._hashes[0].hexdigest(), self._hashes[1].hexdigest(), self.size_bytes)

    def close(self) -> None:
        """End the threads after what they were given."""
        if not self._closed:
            self._closed = True
            if self._counted:
                self._count(-1)
            self._hand_over()
            for thread in self._threads:
                thread.queue.put(None)
            for thread in self._threads:
                thread.join()
                if thread.failed is not None:
                    raise thread.failed


def hash_file(
    path: Path,
    algorithms: Sequence[Algorithm] = ("md5", "sha256"),
    *,
    limit_bytes: int | None = None,
    each: Callable[[int], None] | None = None,
) -> dict[str, str]:
    """Digests of a file.

    Args:
        path: The file.
        algorithms: Which digests.
        limit_bytes: Hash only that many bytes from the start.
        each: Called with the number of bytes of every piece hashed; may raise to stop.

    Returns:
        Lower-case hexadecimal digests by algorithm.

    Raises:
        OSError: The file cannot be read.
    """
    states = {name: new_hash(name) for name in algorithms}
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    left = limit_bytes
    with path.open("rb", buffering=0) as file:
        while left is None or left > 0:
            count = file.readinto(view if left is None else view[: min(left, CHUNK_BYTES)])
            if not count:
                break
            for state in states.values():
                state.update(view[:count])
            if left is not None:
                left -= count
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


def matches(digest: Digest, hashes: Hashes) -> bool:
    """Whether the digests of some bytes agree with a known digest, which may be a prefix."""
    return hashes.get(digest.algorithm).startswith(digest.hex.lower())


def first_mismatch(digests: Iterable[Digest], hashes: Hashes) -> Digest | None:
    """The first known digest that the bytes do not have, or None."""
    return next((d for d in digests if is_usable(d) and not matches(d, hashes)), None)


def strongest(digests: Iterable[Digest]) -> Digest | None:
    """The digest that proves most: SHA-256 before MD5, whole before prefix; None if there is none."""
    usable = [d for d in digests if is_usable(d)]
    return max(usable, key=lambda d: (len(d.hex) == LENGTHS[d.algorithm], len(d.hex)), default=None)


_LINE = re.compile(r"^\\?(?P<hex>[0-9a-fA-F]{32}|[0-9a-fA-F]{64})(?:[ \t]+\*?(?P<name>.*\S))?\s*$")
_BSD = re.compile(
    r"^(?:MD5|SHA2?-?256)\s*\((?P<name>.*)\)\s*=\s*(?P<hex>[0-9a-f]{32}|[0-9a-f]{64})\s*$", re.IGNORECASE
)


def parse_digest_file(data: bytes, name: str) -> Digest | None:
    """Read a published digest file.

    Knows the output of `md5sum` and `sha256sum` (text, binary and escaped lines, lists of several
    files), a bare digest, the BSD style `MD5 (name) = digest`, upper case, Windows line ends, a
    byte-order mark and UTF-16, which PowerShell writes.

    Args:
        data: The file's bytes.
        name: Name of the file that the digest should be of.

    Returns:
        The digest, or None if there is none for that name. A file with one single line speaks for
        the file beside it, whatever name the line gives.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8-sig", "replace")
    found = []
    for line in text.splitlines():
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
