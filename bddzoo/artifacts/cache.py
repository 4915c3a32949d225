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
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from urllib.parse import quote

import msgspec

from bddzoo.artifacts.digests import (
    LENGTHS,
    MIN_PREFIX,
    Hashes,
    first_mismatch,
    fits,
    hashes_of,
    is_whole,
    strongest,
    tensors_known,
)
from bddzoo.errors import UsageError
from bddzoo.files import is_inside, link_or_copy, user_folder, write_whole
from bddzoo.reading import json_errors, read_limited
from bddzoo.registry.model import Artifact, Digest, DigestState, Model
from bddzoo.text import as_text, printable

ENTRY_SCHEMA = 1


@dataclass(frozen=True)
class Entry:
    """What the cache knows about one file.

    Attributes:
        model: Id of the model.
        kind: Kind of the artifact.
        name: File name.
        size_bytes: Size.
        md5: Of the content.
        sha256: Of the content; also its address.
        mtime_ns: Modification time of the object when it was last hashed.
        source: Where the bytes came from.
        fetched: When, ISO 8601 in UTC.
        zoo: Id of the zoo.
        task: Task of the model.
        published: A digest that a source published for the file, as `algorithm:hex`, and where.
        tensors: Digest of the tensors, if it was computed.
        boot: Set by versions that did not wait for the disk: a power cut may have taken some of the content,
            which is hashed again once.
    """

    model: str
    kind: str
    name: str
    size_bytes: int
    md5: str
    sha256: str
    mtime_ns: int
    source: str
    fetched: str
    zoo: str = ""
    task: str = ""
    published: str | None = None
    published_at: str | None = None
    tensors: str | None = None
    boot: str | None = None
    schema: int = ENTRY_SCHEMA

    @property
    def hashes(self) -> Hashes:
        """The digests as a value."""
        return Hashes(self.md5, self.sha256, self.size_bytes)

    @property
    def published_digest(self) -> Digest | None:
        """The digest that a source published, or None."""
        algorithm, _, digits = (self.published or "").partition(":")
        if not digits:
            return None
        return Digest("md5" if algorithm == "md5" else "sha256", digits, "published")

    def has_tensors_of(self, artifact: Artifact) -> bool:
        """Whether it is known to hold the very weights of the registry, in whatever container."""
        return self.tensors is not None and self.tensors == tensors_known(artifact)

    def wrong_digest(self, artifact: Artifact) -> Digest | None:
        """The first known digest, of the registry or published, that the content does not have."""
        published = self.published_digest
        return first_mismatch([*artifact.digests, *([published] if published else [])], self.hashes)

    def fits(self, artifact: Artifact) -> bool:
        """Whether it is the file that the registry means, as far as anybody knows."""
        return self.has_tensors_of(artifact) or fits(artifact, self.hashes)

    def evidence(self, artifact: Artifact) -> tuple[DigestState, str]:
        """What is known of the content, if it fits.

        Returns:
            `verified` by a whole digest, `prefix` by the first digits of one, or `observed`; and by which
            digest, in words.
        """
        known = strongest(artifact.digests)
        if known is not None and first_mismatch(artifact.digests, self.hashes) is not None:
            known = None
        if known is not None and is_whole(known):
            return "verified", f"registry {known.algorithm} ({known.origin})"
        if self.has_tensors_of(artifact):
            return "verified", "registry digest of the tensors, in another container"
        published = self.published_digest
        if published is not None and is_whole(published) and self.published_at:
            return "verified", f"{published.algorithm} published at {self.published_at}"
        if known is not None:
            return "prefix", f"first {len(known.hex)} digits of the {known.algorithm} ({known.origin})"
        return "observed", ""


def new_entry(model: Model, artifact: Artifact, hashes: Hashes, source: str) -> Entry:
    """The entry of a file of a model that has just come in."""
    return Entry(
        model=model.id,
        kind=artifact.kind,
        name=check_name(artifact.name),
        size_bytes=hashes.size_bytes,
        md5=hashes.md5,
        sha256=hashes.sha256,
        mtime_ns=0,
        source=source,
        fetched=now(),
        zoo=model.zoo.id,
        task=model.task,
    )


def now() -> str:
    """The time, ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_entry(path: Path) -> Entry | None:
    """The entry in a file of the cache; None if it is not one, or makes no sense there."""
    try:
        entry = msgspec.json.decode(read_limited(path, 1 << 20), type=Entry)
        check_name(entry.name)
    except json_errors(OSError, UsageError):
        return None
    lengths = (len(entry.sha256), len(entry.md5)) == (LENGTHS["sha256"], LENGTHS["md5"])
    plain = lengths and set(entry.sha256 + entry.md5) <= set("0123456789abcdef")
    here = (safe(entry.model), safe(entry.kind)) == (path.parent.name, path.stem)
    return entry if plain and here and entry.schema == ENTRY_SCHEMA else None


def check_name(name: str) -> str:
    """A file name that is not a path.

    Raises:
        UsageError: It is empty, a path, or hidden.
    """
    if not is_inside(name) or "/" in name or name.startswith("."):
        shown = printable(name, 80)
        raise UsageError(
            f"artifact name '{shown}' is not a plain file name", hint="correct it in the registry"
        )
    return name


def safe(word: str) -> str:
    """A word as one folder name: ids may hold anything in a private registry."""
    quoted = quote(word, safe="+-_ ,=@")
    return quoted.replace(".", "%2E", 1) if quoted.startswith(".") else quoted


TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by bddzoo; see https://bford.info/cachedir/
"""


class Cache:
    """The store of downloaded files.

    Args:
        root: Its folder; None for the one of `default_root`.
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

    def path_of(self, entry: Entry) -> Path:
        """Where the content of an entry lies, whether it does or not."""
        return self.root / "objects" / entry.sha256[:2] / entry.sha256 / entry.name

    def partial_folder(self, model: Model, artifact: Artifact) -> Path:
        """Where unfinished downloads of a file lie."""
        return self.root / "partial" / safe(model.id) / safe(artifact.kind)

    def entry(self, model_id: str, kind: str) -> Entry | None:
        """The entry of a file, or None if there is none that can be read."""
        return read_entry(self.entry_path(model_id, kind))

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
        write_whole(self.entry_path(entry.model, entry.kind), data)
        with self._lock:
            if self._index is not None:
                _index(self._index, entry)

    def remove_entry(self, entry: Entry) -> None:
        """Forget what a file is; its content stays until the next `gc`."""
        path = self.entry_path(entry.model, entry.kind)
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
        entry = replace(entry, mtime_ns=target.stat().st_mtime_ns)
        self.write_entry(entry)
        return entry

    def find(self, model: Model, artifact: Artifact) -> Entry | None:
        """The entry of a file whose content fits what the registry says, untouched since it was hashed.

        Content is found by its digest too, if it came in under another name. An object whose size or
        time changed is hashed again; one that was changed is moved aside.
        """
        entry = self.entry(model.id, artifact.kind)
        if entry is not None and not entry.fits(artifact):
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
        if entry.boot is None and (status.st_size, status.st_mtime_ns) == (entry.size_bytes, entry.mtime_ns):
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
            if (mtime_ns, None) != (entry.mtime_ns, entry.boot):
                with contextlib.suppress(OSError):
                    self.write_entry(replace(entry, mtime_ns=mtime_ns, boot=None))
            return True
        why = (
            f"changed since it was fetched: expected {entry.size_bytes} bytes, md5:{entry.md5}, "
            f"sha256:{entry.sha256}; found {hashes.size_bytes} bytes, md5:{hashes.md5}, "
            f"sha256:{hashes.sha256}"
        )
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
            if other.fits(artifact) and other.hashes.get(known.algorithm).startswith(known.hex.lower()):
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

    def entry_path(self, model_id: str, kind: str) -> Path:
        """The file that holds an entry, whether it is there or not."""
        return self.root / "entries" / safe(model_id) / f"{safe(kind)}.json"


def _index(index: dict[str, list[Entry]], entry: Entry) -> None:
    for digits in {entry.md5[:MIN_PREFIX], entry.sha256[:MIN_PREFIX]}:
        index.setdefault(digits, []).append(entry)


def default_root() -> Path:
    """The cache folder where none is given: `BDDZOO_CACHE`, otherwise the user's."""
    given = os.environ.get("BDDZOO_CACHE")
    return Path(given) if given else user_folder("cache")
