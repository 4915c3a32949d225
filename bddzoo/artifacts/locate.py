"""Where a file may be found: the sources of an artifact, best first."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from bddzoo.errors import UsageError
from bddzoo.registry.types import Artifact, Model

SCHEMES = ("http", "https", "file", "s3", "gs", "hf")


@dataclass(frozen=True)
class Place:
    """One source, with the addresses at which it may have the file.

    Attributes:
        name: As the user wrote it.
        urls: Addresses to try in turn; a later one only if the ones before have no such file.
        layouts: Names of the addresses' forms, parallel to `urls`.
        bundle: A bundle file to look into, instead of `urls`.
    """

    name: str
    urls: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ()
    bundle: Path | None = None


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
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    path = Path(base) / "bddzoo" / "config.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return found
    import yaml

    hint = "write e.g. 'mirrors: [https://host/zoo]'"
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {error}", hint=hint) from None
    mirrors = raw.get("mirrors", []) if isinstance(raw, dict) else raw
    if mirrors is None:
        return found
    if not isinstance(mirrors, list) or not all(isinstance(m, str) for m in mirrors):
        raise UsageError(f"{path}: 'mirrors' must be a list of URLs", hint=hint)
    return found + mirrors


def check_source(source: str) -> None:
    """Refuse a source that can never work.

    Raises:
        UsageError: Neither an existing folder or file nor a URL of a known scheme.
    """
    if "://" in source or source.startswith("file:"):
        scheme = source.partition(":")[0].lower()
        if scheme not in SCHEMES:
            known = f"known: {', '.join(SCHEMES)}"
            raise UsageError(f"source '{source}': unknown scheme '{scheme}'", hint=known)
        if scheme in ("http", "https") and not urlsplit(source).netloc:
            raise UsageError(f"source '{source}': no host in it", hint="write https://HOST/PATH")
    elif not Path(source).expanduser().exists():
        hint = "give a folder, a bundle, or a URL"
        raise UsageError(f"source '{source}': no such folder or file", hint=hint)


class Locator:
    """Turns sources into addresses, and remembers which layout a mirror turned out to have.

    Args:
        extra: Folders, bundles or base URLs that come before the registry's URLs.
    """

    def __init__(self, extra: Sequence[str]) -> None:
        for source in extra:
            check_source(source)
        self.extra = tuple(dict.fromkeys(extra))
        self._known: dict[str, str] = {}

    def places(self, model: Model, artifact: Artifact) -> Iterator[Place]:
        """The sources of a file, best first, without the cache."""
        for source in self.extra:
            yield self._place(source, model, artifact)
        for url in artifact.sources:
            yield Place(url, (url,), ("registry",))

    def remember(self, place: Place, url: str) -> None:
        """Note which address a source answered at, to ask there first for the next file."""
        if url in place.urls:
            self._known[place.name] = place.layouts[place.urls.index(url)]

    def _place(self, source: str, model: Model, artifact: Artifact) -> Place:
        remote = "://" in source
        if not remote and not source.startswith("file:"):
            path = Path(source).expanduser()
            if path.is_file():
                if path.name == artifact.name:
                    return Place(source, (str(path),), ("file",))
                return Place(source, bundle=path)
            named = relative_paths(model, artifact)
            urls = [(layout, str(path / relative)) for layout, relative in named]
        elif source.rstrip("/").rpartition("/")[2] in (artifact.name, quote(artifact.name)):
            urls = [("file", source)]
        else:
            base = source.rstrip("/")
            # '+' would be read as a space by some object stores.
            named = relative_paths(model, artifact)
            urls = [(layout, f"{base}/{quote(relative, safe='/')}") for layout, relative in named]
        first = self._known.get(source)
        urls.sort(key=lambda pair: pair[0] != first)
        return Place(source, tuple(u for _, u in urls), tuple(k for k, _ in urls))


def relative_paths(model: Model, artifact: Artifact) -> list[tuple[str, str]]:
    """Paths under which a mirror may hold a file, with the name of each layout.

    The bare name comes in only where no other file of the model has the same name.
    """
    zoo, task, name = model.zoo.id, model.task, artifact.name
    unique = sum(a.name == name for a in model.artifacts) <= 1
    found: dict[str, str] = {}
    if unique:
        found.setdefault(name, "name")
        found.setdefault(f"{zoo}/{task}/{name}", "zoo/task/name")
    found.setdefault(f"{zoo}/{task}/{artifact.kind}/{name}", "zoo/task/kind/name")
    if unique or artifact.kind != "weights":
        found.setdefault(f"{artifact.kind}/{name}", "kind/name")
    if any(d.algorithm == "tensors" for d in artifact.digests) and name.endswith(".pth"):
        twin = name.removesuffix(".pth") + ".safetensors"
        found.setdefault(twin, "safetensors")
        found.setdefault(f"{zoo}/{task}/{twin}", "zoo/task/safetensors")
    for source in artifact.sources:
        if "://" in source:
            for depth, tail in enumerate(url_tails(source)):
                found.setdefault(tail, f"tail{depth}")
    return [(layout, path) for path, layout in found.items()]


def url_tails(url: str) -> Iterable[str]:
    """The path of a URL without its first 0, 1, 2 ... folders, the bare name left out."""
    parts = [unquote(p) for p in urlsplit(url).path.split("/") if p]
    if any(p in (".", "..") or "/" in p for p in parts):
        return []
    return ["/".join(parts[i:]) for i in range(len(parts) - 1)]


def digest_urls(model: Model, artifact: Artifact, place: Place | None, url: str | None) -> list[str]:
    """Where a published digest of a file may lie: the zoo's own address, then beside the file.

    Args:
        model: The model.
        artifact: The file.
        place: The source that gave the file, or None.
        url: The address that it was given at, or None.
    """
    found = [artifact.digest_url] if artifact.digest_url else []
    if url is not None and not url.startswith("package:"):
        plain, sep, query = url.partition("?")
        stem, dot, suffix = plain.rpartition(".")
        found += [f"{plain}.md5{sep}{query}"]
        if dot and "/" not in suffix:
            found += [f"{stem}.md5{sep}{query}"]
    if place is not None and artifact.digest_url and "://" in artifact.digest_url:
        name = artifact.digest_url.rpartition("/")[2]
        twin = Artifact(artifact.kind, name, sources=(artifact.digest_url,))
        if place.bundle is None and place.layouts not in (("registry",), ("file",)):
            base = place.name.rstrip("/")
            paths = [relative for _, relative in relative_paths(model, twin)]
            found += [f"{base}/{quote(p, safe='/') if '://' in base else p}" for p in paths]
    return list(dict.fromkeys(found))
