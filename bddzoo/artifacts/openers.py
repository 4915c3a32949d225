"""Which code opens which kind of address.

Where a file may be found: the sources of an artifact, best first.
"""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from bddzoo.artifacts.policy import Manners
from bddzoo.artifacts.sources import Origin, check_source, plain_scheme
from bddzoo.artifacts.streams import Opener, SourceError, Stream, local_path, open_local, read_chunks
from bddzoo.registry.model import Artifact, Model

if TYPE_CHECKING:
    from bddzoo.artifacts.bundle import Bundle, BundleFile
    from bddzoo.artifacts.http import HttpClient
    from bddzoo.artifacts.remote import RemoteClient


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


class Locator:
    """Turns sources into addresses, and remembers which layout a mirror turned out to have.

    Args:
        extra: Folders, bundles or base URLs that come before the registry's URLs.
        mirrors: The same from the user's settings, asked after them. One that is not there at the
            moment, as a share that is not mounted, is a source that fails, and no mistake.

    Raises:
        UsageError: A source that can never work.
    """

    def __init__(self, extra: Sequence[str], mirrors: Sequence[str] = ()) -> None:
        for source in extra:
            check_source(source)
        for source in mirrors:
            check_source(source, setting=True)
        self.extra = tuple(dict.fromkeys(plain_scheme(s) for s in [*extra, *mirrors]))
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
        elif source.partition("?")[0].rpartition("/")[2] in (artifact.name, quote(artifact.name)):
            urls = [("file", source)]
        else:
            urls = [(layout, _below(source, path)) for layout, path in relative_paths(model, artifact)]
        first = self._known.get(source)
        urls.sort(key=lambda pair: pair[0] != first)
        return Place(source, tuple(u for _, u in urls), tuple(k for k, _ in urls))


def _below(base: str, path: str) -> str:
    """A path below a base URL, before its query, which may hold a key that all its files need."""
    plain, mark, query = base.partition("?")
    # '+' in a web address would be read as a space by some object stores.
    safe = "/" if plain.startswith(("http://", "https://")) else "/+"
    return f"{plain.rstrip('/')}/{quote(path, safe=safe)}{mark}{query}"


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
            base, paths = place.name, [path for _, path in relative_paths(model, twin)]
            found += [_below(base, p) if "://" in base else f"{base.rstrip('/')}/{p}" for p in paths]
    return list(dict.fromkeys(found))


class Openers:
    """Opens addresses of all schemes; network code is imported when the first one is asked for.

    Args:
        manners: Timeouts, retries, limits.
        stop: Set when the user wants to stop.
        offline: Give no opener for addresses outside this machine.
    """

    def __init__(self, manners: Manners, stop: threading.Event, offline: bool) -> None:
        self._manners = manners
        self._stop = stop
        self._offline = offline
        self._http: HttpClient | None = None
        self._remote: RemoteClient | None = None
        self._bundles: dict[Path, Bundle] = {}
        self._lock = threading.Lock()

    def get(self, url: str) -> Opener | None:
        """The opener of an address; None if it must not be asked."""
        if url.startswith(("http://", "https://")):
            return None if self._offline else self._client().open
        if url.startswith("bundle:"):
            return self._open_bundled
        if local_path(url) is not None:
            return _open_file
        if self._offline:
            return None
        return self._remote_client().open

    def expand(self, place: Place, model: Model, artifact: Artifact) -> tuple[str, ...]:
        """The addresses of a source in turn; none if it is a bundle without the file.

        Raises:
            BddzooError: A bundle that cannot be used.
        """
        if place.bundle is None:
            return place.urls
        file = self.bundle(place.bundle).find(model.id, artifact.kind, artifact.name)
        return () if file is None else (f"bundle:{place.bundle}!{file.member}",)

    def bundle(self, path: Path) -> Bundle:
        """An opened bundle, read once.

        Raises:
            BddzooError: It cannot be used.
        """
        with self._lock:
            if path not in self._bundles:
                from bddzoo.artifacts.bundle import Bundle

                self._bundles[path] = Bundle(path)
            return self._bundles[path]

    def testimony(self, url: str) -> BundleFile | None:
        """What a bundle says about the file at an address; None for other sources."""
        if not url.startswith("bundle:"):
            return None
        path, member = _split_bundled(url)
        return self.bundle(path).by_member(member)

    def _open_bundled(self, url: str, offset: int, known: Origin) -> Stream:
        path, member = _split_bundled(url)
        file = self.bundle(path).by_member(member)
        if file is None:
            raise SourceError(f"has no '{member}'", kind="missing")
        origin = Origin(url=url, etag=file.sha256, total=file.size_bytes)
        offset = offset if known.is_of(url) and known.etag == file.sha256 else 0
        archive = zipfile.ZipFile(path)
        try:
            data = archive.open(member)
            data.seek(offset)
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            archive.close()
            raise SourceError(f"damaged: {error}", kind="integrity") from None

        def close() -> None:
            data.close()
            archive.close()

        return Stream(origin, offset, _read_bundled(data), close)

    def abort(self) -> None:
        """Wake threads that wait for bytes."""
        if self._http is not None:
            self._http.abort()

    def _client(self) -> HttpClient:
        with self._lock:
            if self._http is None:
                from bddzoo.artifacts.http import HttpClient

                self._http = HttpClient(self._manners, self._stop)
            return self._http

    def _remote_client(self) -> RemoteClient:
        with self._lock:
            if self._remote is None:
                from bddzoo.artifacts.remote import RemoteClient

                self._remote = RemoteClient(self._manners, self._stop)
            return self._remote


def _open_file(url: str, offset: int, known: Origin) -> Stream:
    path = local_path(url)
    if path is None:
        raise SourceError("not a path on this machine")
    return open_local(path, offset, known, url)


def _split_bundled(url: str) -> tuple[Path, str]:
    path, _, member = url.removeprefix("bundle:").partition("!")
    return Path(path), member


def _read_bundled(data: Any) -> Iterator[bytes]:
    try:
        yield from read_chunks(data)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceError(f"damaged: {error}", kind="integrity") from None
