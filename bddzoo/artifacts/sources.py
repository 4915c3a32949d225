"""Where bytes are from: the address, without what is secret in it, and what proves a file to be the same.

What users write as sources: on the command line, in `BDDZOO_MIRRORS`, in their config file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bddzoo.errors import UsageError
from bddzoo.text import as_text

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


SCHEMES = ("http", "https", "file", "s3", "gs", "hf")


def split_sources(text: str) -> list[str]:
    """Split a list of sources at spaces and commas, as in `BDDZOO_MIRRORS`."""
    return [part for part in re.split(r"[\s,]+", text) if part]


def configured_mirrors() -> list[str]:
    """Mirrors of `BDDZOO_MIRRORS`, then those of the user's config file.

    The file is `bddzoo/config.yaml` in `XDG_CONFIG_HOME` (`~/.config`), with a list `mirrors`.

    Raises:
        UsageError: The config file is not what it should be.
    """
    found = split_sources(os.environ.get("BDDZOO_MIRRORS", ""))
    path = _config_path()
    if path is None:
        return found
    hint = "write e.g. 'mirrors: [https://host/zoo]'"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return found
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file in UTF-8", hint=hint) from None
    import yaml

    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}", hint=hint) from None
    mirrors = raw.get("mirrors") if isinstance(raw, dict) else raw
    if mirrors is None:
        return found
    if not isinstance(mirrors, list) or not all(isinstance(m, str) and m.strip() for m in mirrors):
        raise UsageError(f"{path}: 'mirrors' must be a list of URLs or folders", hint=hint)
    return found + [m.strip() for m in mirrors]


def _config_path() -> Path | None:
    base = os.environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(base) if base else Path.home() / ".config") / "bddzoo" / "config.yaml"
    except RuntimeError:  # a user without a home
        return None


def check_source(source: str, *, setting: bool = False) -> None:
    """Refuse a source that can never work.

    Args:
        source: As the user wrote it.
        setting: It is from the user's settings, where a folder may come and go.

    Raises:
        UsageError: Neither a folder or file that is there nor a URL of a known scheme.
    """
    what = f"mirror '{source}' (in BDDZOO_MIRRORS or the config file)" if setting else f"source '{source}'"
    if not source.strip():
        raise UsageError(f"{what} is empty", hint="give a folder, a bundle, or a URL")
    if "://" in source or source.startswith("file:"):
        scheme = source.partition(":")[0].lower()
        if scheme not in SCHEMES:
            known = f"known: {', '.join(SCHEMES)}"
            raise UsageError(f"{what}: unknown scheme '{scheme}'", hint=known)
        if scheme != "file" and not _host(source):
            web = scheme in ("http", "https")
            place, form = ("host", "HOST") if web else ("bucket or repository", "BUCKET")
            raise UsageError(f"{what}: no {place} in it", hint=f"write {scheme}://{form}/PATH")
    elif not setting and not Path(source).expanduser().exists():
        hint = "give a folder, a bundle, or a URL"
        raise UsageError(f"{what}: no such folder or file", hint=hint)


def plain_scheme(source: str) -> str:
    """A source with the scheme of its URL in lower case, as everything else here expects it."""
    scheme, mark, rest = source.partition("://")
    return f"{scheme.lower()}{mark}{rest}" if mark and scheme.isalnum() else source


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:  # brackets that are no address
        return ""
