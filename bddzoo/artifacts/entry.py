"""What the cache knows about one file: an entry, and how entries and files are named and read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from bddzoo.artifacts.digests import LENGTHS, Hashes
from bddzoo.errors import UsageError
from bddzoo.registry.types import Artifact, Digest, Model

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
        boot: The run of the machine in which the file was written; None once it has been hashed in
            another, or on another machine: a power cut cannot have taken anything of it any more.
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


def new_entry(model: Model, artifact: Artifact, hashes: Hashes, source: str) -> Entry:
    """The entry of a file of a model that has just come in.

    Args:
        model: The model.
        artifact: Which of its files.
        hashes: Of its content.
        source: Where the bytes came from.
    """
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
    """The entry in a file of the cache; None if it is none, or makes no sense there."""
    try:
        entry = msgspec.json.decode(path.read_bytes(), type=Entry)
        check_name(entry.name)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UsageError):
        return None
    lengths = (len(entry.sha256), len(entry.md5)) == (LENGTHS["sha256"], LENGTHS["md5"])
    plain = lengths and set(entry.sha256 + entry.md5) <= set("0123456789abcdef")
    here = (safe(entry.model), safe(entry.kind)) == (path.parent.name, path.stem)
    return entry if plain and here and entry.schema == ENTRY_SCHEMA else None


def check_name(name: str) -> str:
    """A file name that is no path.

    Raises:
        UsageError: It is empty, a path, or hidden.
    """
    if (
        not name
        or name.startswith(".")
        or not name.isprintable()
        or any(c in name for c in "/\\")
        or len(name.encode()) > 200
    ):
        shown = name if name.isprintable() else ascii(name)[1:-1]
        raise UsageError(f"artifact name '{shown}' is no plain file name", hint="correct it in the registry")
    return name


def safe(word: str) -> str:
    """A word as one folder name: ids may hold anything in a private registry."""
    quoted = quote(word, safe="+-_ ,=@")
    return quoted.replace(".", "%2E", 1) if quoted.startswith(".") else quoted


def unsafe(folder: str) -> str:
    """The inverse of `safe`."""
    return unquote(folder)


def explain_hashes(entry: Entry, hashes: Hashes) -> str:
    """One line that holds what was expected beside what is there."""
    return (
        f"expected {entry.size_bytes} bytes, md5:{entry.md5}, sha256:{entry.sha256}; "
        f"found {hashes.size_bytes} bytes, md5:{hashes.md5}, sha256:{hashes.sha256}"
    )
