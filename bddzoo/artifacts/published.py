"""Digests that are published beside files: small `.md5` files on the same hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from bddzoo.artifacts.digests import parse_digest_file
from bddzoo.artifacts.entry import Entry
from bddzoo.artifacts.failures import SourceError
from bddzoo.artifacts.origin import Origin, without_password
from bddzoo.artifacts.sniff import HEAD_BYTES, name_impostor
from bddzoo.artifacts.streams import Opener
from bddzoo.registry.types import Digest

# A list of digests of a whole zoo fits; a web site does not.
MAX_BYTES = 1 << 20


def find_published(
    urls: Iterable[str], opener_of: Callable[[str], Opener | None], name: str
) -> tuple[Digest, str] | list[str]:
    """Look for a published digest.

    Args:
        urls: Where it may lie, best first.
        opener_of: Gives the opener of an address, or None where it must not be asked.
        name: Name of the file that the digest should be of.

    Returns:
        The digest and where it was found, or what happened at each address.
    """
    failures = []
    for url in urls:
        opener = opener_of(url)
        if opener is None:
            continue
        try:
            data = _read_small(url, opener)
        except SourceError as error:
            failures.append(f"{url}: {error.text}")
            continue
        digest = parse_digest_file(data, name)
        if digest is not None:
            return digest, url
        failures.append(f"{url}: holds no digest of {name}")
    return failures


def with_published(entry: Entry, urls: Iterable[str], opener_of: Callable[[str], Opener | None]) -> Entry:
    """The entry with the digest that is published for its file, if one is found at the addresses.

    Args:
        entry: What the cache knows about the file.
        urls: As for `find_published`.
        opener_of: As for `find_published`.
    """
    found = find_published(urls, opener_of, entry.name)
    if isinstance(found, list):
        return entry
    digest, where = found
    return replace(entry, published=f"{digest.algorithm}:{digest.hex}", published_at=without_password(where))


def _read_small(url: str, opener: Opener) -> bytes:
    stream = opener(url, 0, Origin())
    data = b""
    try:
        for chunk in stream.chunks:
            data += chunk
            if len(data) > MAX_BYTES:
                raise SourceError("too large to be a digest file", kind="integrity")
    finally:
        stream.close()
    if stream.origin.total is not None and len(data) != stream.origin.total:
        raise SourceError("cut off", retry=True)
    impostor = name_impostor(data[:HEAD_BYTES], "digest", stream.content_type)
    if impostor is not None:
        raise SourceError(f"gave {impostor}", kind="integrity")
    return data
