"""The cache: files by the SHA-256 of their content, and entries that say what they are.

    CACHEDIR.TAG
    objects/ab/abcd.../NAME             the content; its folder is its SHA-256
    entries/MODEL/KIND.json             which object is which file of which model, and how we know
    partial/MODEL/KIND/*.part, *.json   unfinished downloads
    rejected/MODEL/NAME.rejected        bytes that were not what they should be, and why (.txt)

Objects are renamed into place when they are whole, and entries after them, so that a process can be
killed at any moment: a file is absent or whole.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from threading import Lock

from bddzoo.artifacts.digests import MIN_PREFIX, hashes_of, strongest
from bddzoo.artifacts.disk import boot_id, link_or_copy, write_whole
from bddzoo.artifacts.entry import Entry, explain_hashes, read_entry, safe
from bddzoo.artifacts.proof import fits
from bddzoo.files import home_folder
from bddzoo.registry.types import Artifact, Model
from bddzoo.words import as_text

TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by bddzoo; see https://bford.info/cachedir/
"""


class Cache:
    """The store of downloaded files.

    Args:
        root: Its folder; None for `BDDZOO_CACHE`, else `bddzoo` in `XDG_CACHE_HOME` (`~/.cache`).
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).expanduser().absolute()
        self._index: dict[str, list[Entry]] | None = None
        self._lock = Lock()

    def prepare(self) -> None:
        """Make the folder and its tag.

        Raises:
            OSError: It cannot be written.
        """
        tag = self.root / "CACHEDIR.TAG"
        if not tag.exists():
            write_whole(tag, TAG)

    def object_path(self, sha256: str, name: str) -> Path:
        """Where content lies, whether it does or not."""
        return self.root / "objects" / sha256[:2] / sha256 / name

    def path_of(self, entry: Entry) -> Path:
        """Where the content of an entry lies."""
        return self.object_path(entry.sha256, entry.name)

    def partial_folder(self, model: Model, artifact: Artifact) -> Path:
        """Where unfinished downloads of a file lie."""
        return self.root / "partial" / safe(model.id) / safe(artifact.kind)

    def entry(self, model_id: str, kind: str) -> Entry | None:
        """The entry of a file, or None if there is none that can be read."""
        return read_entry(self._entry_path(model_id, kind))

    def entries(self) -> Iterator[Entry]:
        """All entries, by model and kind; damaged ones are left out."""
        for path in self.entry_paths():
            entry = read_entry(path)
            if entry is not None:
                yield entry

    def entry_paths(self) -> list[Path]:
        """Files that hold entries, sorted."""
        return sorted((self.root / "entries").glob("*/*.json"))

    def write_entry(self, entry: Entry) -> None:
        """Write an entry; it appears whole."""
        fields = {k: as_text(v) if isinstance(v, str) else v for k, v in asdict(entry).items()}
        data = json.dumps(fields, indent=1, ensure_ascii=False).encode() + b"\n"
        write_whole(self._entry_path(entry.model, entry.kind), data)
        with self._lock:
            if self._index is not None:
                _index(self._index, entry)

    def remove_entry(self, entry: Entry) -> None:
        """Forget what a file is; its content stays until the next `gc`."""
        path = self._entry_path(entry.model, entry.kind)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def admit(self, entry: Entry, place: Callable[[Path], object]) -> Entry:
        """Take verified content in.

        Args:
            entry: What it is; its `mtime_ns` is set here.
            place: Puts the content at the path it is given, in one step.

        Returns:
            The entry as it was written.
        """
        self.prepare()
        target = self.path_of(entry)
        target.parent.mkdir(parents=True, exist_ok=True)
        place(target)
        entry = replace(entry, mtime_ns=target.stat().st_mtime_ns, boot=boot_id())
        self.write_entry(entry)
        return entry

    def find(self, model: Model, artifact: Artifact) -> Entry | None:
        """The entry of a file whose content fits what the registry says, untouched since it was hashed.

        Content is found by its digest too, if it came in under another name. An object whose size or
        time changed, or that was written before the machine was last started, is hashed again; one
        that was changed is moved aside.
        """
        entry = self.entry(model.id, artifact.kind)
        if entry is not None and not fits(entry, artifact):
            entry = None
        if entry is None:
            entry = self._find_by_digest(model, artifact)
        if entry is None:
            return None
        path = self.path_of(entry)
        try:
            status = path.stat()
        except OSError:
            return None
        settled = entry.boot is None or entry.boot == boot_id()
        if settled and (status.st_size, status.st_mtime_ns) == (entry.size_bytes, entry.mtime_ns):
            return entry
        return entry if self.recheck(entry) else None

    def recheck(self, entry: Entry) -> bool:
        """Hash the content of an entry again; changed content is moved aside, and False returned."""
        path = self.path_of(entry)
        try:
            mtime_ns = path.stat().st_mtime_ns
            hashes = hashes_of(path)
        except OSError:
            return False
        if hashes == entry.hashes:
            boot = entry.boot if entry.boot == boot_id() else None
            if (mtime_ns, boot) != (entry.mtime_ns, entry.boot):
                with contextlib.suppress(OSError):
                    self.write_entry(replace(entry, mtime_ns=mtime_ns, boot=boot))
            return True
        why = f"changed since it was fetched: {explain_hashes(entry, hashes)}"
        self.reject(path, entry.model, entry.name, why)
        return False

    def reject(self, path: Path, model_id: str, name: str, why: str) -> Path:
        """Move bytes aside that are not what they should be, with a line saying so.

        Returns:
            Where they lie now. Only the last rejected copy of a file is kept.
        """
        target = self.root / "rejected" / safe(model_id) / f"{name}.rejected"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        with contextlib.suppress(OSError):
            write_whole(target.with_name(f"{name}.rejected.txt"), f"{as_text(why)}\n".encode())
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        return target

    def _find_by_digest(self, model: Model, artifact: Artifact) -> Entry | None:
        known = strongest(artifact.digests)
        if known is None:
            return None
        for other in self._with_prefix(known.hex[:MIN_PREFIX].lower()):
            if fits(other, artifact) and other.hashes.get(known.algorithm).startswith(known.hex.lower()):
                source = self.path_of(other)
                entry = replace(other, model=model.id, kind=artifact.kind, name=artifact.name)
                entry = replace(entry, zoo=model.zoo.id, task=model.task)
                with contextlib.suppress(OSError):
                    target = self.path_of(entry)
                    if not target.exists():
                        link_or_copy(source, target)
                    self.write_entry(entry)
                    return entry
        return None

    def _with_prefix(self, digits: str) -> list[Entry]:
        """Entries with a digest that begins so.

        They are read once: looking through all of them for every file of a large zoo would take longer
        with each. What another process adds meanwhile is not seen here, which costs a download at most.
        """
        with self._lock:
            if self._index is None:
                self._index = {}
                for entry in self.entries():
                    _index(self._index, entry)
            return list(self._index.get(digits, ()))

    def _entry_path(self, model_id: str, kind: str) -> Path:
        return self.root / "entries" / safe(model_id) / f"{safe(kind)}.json"


def _index(index: dict[str, list[Entry]], entry: Entry) -> None:
    for digits in {entry.md5[:MIN_PREFIX], entry.sha256[:MIN_PREFIX]}:
        index.setdefault(digits, []).append(entry)


def default_root() -> Path:
    """The cache folder where none is given."""
    given = os.environ.get("BDDZOO_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else home_folder() / ".cache") / "bddzoo"
