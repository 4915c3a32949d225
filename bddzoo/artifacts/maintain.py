"""Maintain the cache: hash it again, find what does not belong, remove what is not needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bddzoo.artifacts.cache import Cache, Entry
from bddzoo.artifacts.digests import hash_file
from bddzoo.artifacts.partial import is_abandoned, note_path
from bddzoo.artifacts.streams import Stopped

State = Literal["ok", "changed", "missing", "unreadable", "extra"]
# An object gets its entry right after its name; one that is younger than this may still wait for it.
GRACE_S = 60.0
DAY_S = 86400.0
OWN = ("CACHEDIR.TAG",)


@dataclass(frozen=True)
class CacheCheck:
    """What a check of the cache says about one file.

    Attributes:
        state: `ok`; `changed` if its content is not what its address says; `missing` if an entry's
            content is gone; `unreadable` for a file or entry that cannot be read; `extra` for a file
            that no entry names.
        path: The file.
        size_bytes: Its size now.
        model: Id of the model, if an entry names it.
        kind: Kind of the artifact, if an entry names it.
        detail: What was expected and what is there.
    """

    state: State
    path: Path
    size_bytes: int
    model: str = ""
    kind: str = ""
    detail: str = ""


def check_cache(
    cache: Cache, jobs: int | None = None, each: Callable[[int], None] | None = None
) -> list[CacheCheck]:
    """Hash every file of the cache again, several at a time.

    Sizes and times are not trusted: content decides. Only SHA-256 is computed, the address.

    Args:
        cache: The cache.
        jobs: Files at the same time; the number of processors by default.
        each: Called with the number of bytes of every piece hashed, from several threads.

    Returns:
        Findings: entries in order, then files that belong to no entry.
    """
    stop = threading.Event()
    entries = list(cache.entries())
    paths = list(dict.fromkeys(cache.path_of(e) for e in entries))

    def tell(count: int) -> None:
        if stop.is_set():
            raise Stopped
        if each is not None:
            each(count)

    def hash_one(path: Path) -> str | OSError:
        try:
            return hash_file(path, ("sha256",), each=tell)["sha256"]
        except OSError as error:
            return error

    # The largest first, so that no processor is left with a large one at the end.
    order = sorted(paths, key=_size, reverse=True)
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        try:
            found = dict(zip(order, pool.map(hash_one, order), strict=True))
        except BaseException:
            stop.set()
            raise
    findings = [_judge(cache.path_of(entry), entry, found[cache.path_of(entry)]) for entry in entries]
    readable = {cache.entry_path(e.model, e.kind) for e in entries}
    for path in cache.entry_paths():
        if path not in readable:
            findings.append(
                CacheCheck("unreadable", path, _size(path), detail="an entry that makes no sense")
            )
    findings += [CacheCheck("extra", p, _size(p), detail=why) for p, why in _extras(cache, set(paths))]
    return findings


def _judge(path: Path, entry: Entry, found: str | OSError) -> CacheCheck:
    if isinstance(found, FileNotFoundError):
        return CacheCheck("missing", path, 0, entry.model, entry.kind, "its content is gone")
    if isinstance(found, OSError):
        return CacheCheck("unreadable", path, _size(path), entry.model, entry.kind, str(found.strerror))
    if found != entry.sha256:
        text = f"expected sha256:{entry.sha256}, found {found}"
        return CacheCheck("changed", path, _size(path), entry.model, entry.kind, text)
    return CacheCheck("ok", path, _size(path), entry.model, entry.kind)


def _extras(cache: Cache, named: set[Path]) -> Iterator[tuple[Path, str]]:
    """Files that no entry names, and why each is there; downloads in progress are not extras."""
    for path in sorted(_walk(cache.root)):
        inside = path.relative_to(cache.root)
        top = inside.parts[0]
        if path in named or inside.name in OWN or top == "entries":
            if top == "entries" and path.suffix != ".json":
                yield path, "left over"
        elif top == "partial":
            data = path if path.suffix == ".part" else path.with_suffix(".part")
            if is_abandoned(data):
                yield path, "an unfinished download; the next fetch goes on there"
        elif top == "rejected":
            yield path, "bytes that were not what they should be"
        elif top == "objects":
            yield path, "no entry names it"
        else:
            yield path, "not from here"


def _walk(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            yield Path(folder) / name


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def remove_entries(cache: Cache, entries: Sequence[Entry]) -> int:
    """Remove files from the cache, content included where no other entry names it.

    Returns:
        Bytes freed.

    Raises:
        OSError: Something cannot be removed.
    """
    for entry in entries:
        cache.remove_entry(entry)
    named = {cache.path_of(e) for e in cache.entries()}
    freed = 0
    for path in {cache.path_of(e) for e in entries} - named:
        freed += _unlink(path)
    return freed


def collect_garbage(cache: Cache, older_than_s: float = DAY_S, *, dry_run: bool = False) -> list[CacheCheck]:
    """Remove what is not needed and was not touched for `older_than_s` seconds.

    That is: content without entry, entries without content, abandoned downloads, rejected bytes and
    left-over temporary files.

    Returns:
        What was removed, or would be with `dry_run`.

    Raises:
        OSError: Something cannot be removed; the rest was.
    """
    removed = []
    faults: list[OSError] = []
    entries = list(cache.entries())
    named = {cache.path_of(e) for e in entries}
    for path, why in list(_extras(cache, named)):
        try:
            # A link keeps its old modification time; the change time says when it came here.
            age = time.time() - path.stat().st_ctime
        except OSError:
            continue
        top = path.relative_to(cache.root).parts[0]
        if why == "not from here" or age < max(older_than_s, GRACE_S if top == "objects" else 0.0):
            continue
        found = CacheCheck("extra", path, _size(path), detail=why)
        if not dry_run:
            try:
                if top == "partial":
                    note_path(path).unlink(missing_ok=True)
                _unlink(path)
            except OSError as error:
                faults.append(error)
                continue
        removed.append(found)
    for entry in entries:
        path = cache.path_of(entry)
        if not path.exists():
            if not dry_run:
                try:
                    cache.remove_entry(entry)
                except OSError as error:
                    faults.append(error)
                    continue
            removed.append(CacheCheck("missing", path, 0, entry.model, entry.kind, "its content is gone"))
    if not dry_run:
        _remove_empty(cache.root)
    if faults:
        raise faults[0]
    return removed


def _unlink(path: Path) -> int:
    size = _size(path)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()
    return size


def _remove_empty(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        if Path(folder) != root:
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def remove_all(cache: Cache) -> None:
    """Remove everything that is the cache's own; the folder goes too if nothing else is in it.

    Raises:
        OSError: Something cannot be removed; the rest was.
    """
    faults: list[OSError] = []
    for name in ("entries", "objects", "partial", "rejected"):
        try:
            shutil.rmtree(cache.root / name)
        except FileNotFoundError:
            continue
        except OSError as error:
            faults.append(error)
            shutil.rmtree(cache.root / name, ignore_errors=True)
    if faults:
        raise faults[0]
    (cache.root / "CACHEDIR.TAG").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        cache.root.rmdir()
