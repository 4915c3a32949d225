"""Whether cached content is the file that the registry means, and how we know.

Recognise what servers give in place of a file, and files that were cut short.

Say whether a file on disk is the one that the registry means.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bddzoo.artifacts.digests import LENGTHS, first_mismatch, hashes_of, strongest
from bddzoo.errors import IntegrityError, MissingError
from bddzoo.registry.model import Artifact, Digest

if TYPE_CHECKING:
    from bddzoo.artifacts.cache import Entry


def tensors_known(artifact: Artifact) -> str | None:
    """The digest of the tensors that the registry knows, or None."""
    return next((d.hex for d in artifact.digests if d.algorithm == "tensors"), None)


def same_tensors(entry: Entry, artifact: Artifact) -> bool:
    """Whether the content is known to hold the very weights of the registry, in whatever container."""
    return entry.tensors is not None and entry.tensors == tensors_known(artifact)


def wrong_digest(entry: Entry, artifact: Artifact) -> Digest | None:
    """The first known digest, of the registry or published, that the content does not have."""
    published = entry.published_digest
    return first_mismatch([*artifact.digests, *([published] if published else [])], entry.hashes)


def fits(entry: Entry, artifact: Artifact) -> bool:
    """Whether an entry is the file that the registry means, as far as anybody knows."""
    if same_tensors(entry, artifact):
        return True
    if artifact.size_bytes is not None and entry.size_bytes != artifact.size_bytes:
        return False
    return first_mismatch(artifact.digests, entry.hashes) is None


def proof_of(entry: Entry, artifact: Artifact) -> str | None:
    """What the content of a fitting entry is verified by, in words, or None."""
    known = strongest(artifact.digests)
    if known is not None and first_mismatch(artifact.digests, entry.hashes) is None:
        return f"registry {known.algorithm} ({known.origin})"
    if same_tensors(entry, artifact):
        return "registry digest of the tensors, in another container"
    if entry.published_digest is not None and entry.published_at:
        return f"{entry.published_digest.algorithm} published at {entry.published_at}"
    return None


def is_settled(artifact: Artifact) -> bool:
    """Whether the registry knows a whole digest of the file, so that no published one is needed."""
    known = strongest(artifact.digests)
    return known is not None and len(known.hex) == LENGTHS[known.algorithm]


HEAD_BYTES = 2048
_TEXT_SUFFIXES = (".html", ".htm", ".xhtml", ".svg", ".xml")
_LFS = b"version https://git-lfs.github.com/spec/"


def name_impostor(head: bytes, file_name: str, content_type: str | None = None) -> str | None:
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


def name_cut(path: Path, file_name: str) -> str | None:
    """Say what is missing at the end of a file, where its format shows the end.

    Zip archives (which `.pth` files are, unless they are older than PyTorch 1.6) end in a directory,
    JSON in a bracket. Files of other formats are not judged.

    Returns:
        A few words, or None if nothing speaks against the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4)
        # The end record is 22 bytes plus a comment of at most 65535 bytes.
        file.seek(max(0, size - (1 << 16) - 22))
        end = file.read()
    if start == b"PK\x03\x04" and b"PK\x05\x06" not in end:
        return "a zip archive cut short (its directory is missing)"
    if file_name.lower().endswith(".json"):
        stripped = end.rstrip()
        if start.lstrip()[:1] in (b"{", b"[") and stripped[-1:] not in (b"}", b"]"):
            return "a JSON file cut short (its last bracket is missing)"
    return None


def verify_file(path: Path, artifact: Artifact) -> Literal["verified", "unknown"]:
    """Compare a file with what the registry knows of it: size first, then the digests.

    Returns:
        `verified` if a known digest agrees, `unknown` if none is known.

    Raises:
        MissingError: There is no such file, or it cannot be read.
        IntegrityError: Size or digest differ.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            impostor = name_impostor(file.read(HEAD_BYTES), path.name)
        if impostor is not None:
            raise IntegrityError(f"{path}: is {impostor}", hint="fetch it again")
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
    return "verified"
