"""Where bytes are from: the address, without what is secret in it, and what proves a file to be the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bddzoo.words import as_text

# Parameters of signed links: `X-Amz-Signature`, `sig`, `access_token`, `X-Goog-Credential` ...
_SECRET = re.compile(
    r"([?&][^=&\s]*(?:token|sig|signature|secret|password|credential|key)=)[^&\s]*", re.IGNORECASE
)


@dataclass
class Origin:
    """Where the bytes of a partial are from.

    Attributes:
        url: The source, without a password that may be in it.
        etag: Strong entity tag, or None.
        last_modified: `Last-Modified` (HTTP) or the modification time (files), or None.
        total: Size of the whole file in bytes, or None.
    """

    url: str = ""
    etag: str | None = None
    last_modified: str | None = None
    total: int | None = None

    def __post_init__(self) -> None:
        self.url = without_password(self.url)

    def is_of(self, url: str) -> bool:
        """Whether the bytes are from that address."""
        return self.url == without_password(url)

    @property
    def validator(self) -> str | None:
        """What proves that the source still has the same file."""
        return self.etag or self.last_modified


def without_password(url: str) -> str:
    """A URL as it may be printed and kept: user, password, and keys in its query masked."""
    return _SECRET.sub(r"\1***", re.sub(r"(?<=://)[^/@\s]*@", "***@", as_text(url)))
