"""Where a file may be found, best first: users' sources, the registry's URLs, and what opens each."""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from bddzoo.artifacts.digests import CHUNK_BYTES, tensors_known
from bddzoo.artifacts.streams import NetworkPolicy, Opener, Origin, RemoteClient, SourceError, Stream
from bddzoo.config import read_config
from bddzoo.errors import UsageError
from bddzoo.registry.model import Artifact, Model

if TYPE_CHECKING:
    from bddzoo.artifacts.bundle import Bundle, BundleFile
    from bddzoo.artifacts.http import HttpClient

SCHEMES = ("http", "https", "file", "s3", "gs", "hf")


def split_sources(text: str) -> list[str]:
    """Split a list of sources at spaces and commas, as in `BDDZOO_MIRRORS`."""
    return [part for part in re.split(r"[\s,]+", text) if part]


def configured_mirrors() -> list[str]:
    """Mirrors of `BDDZOO_MIRRORS`, then those of the user's config file.

    Raises:
        UsageError: The config file is not what it should be.
    """
    return [*split_sources(os.environ.get("BDDZOO_MIRRORS", "")), *read_config().mirrors]


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
    except ValueError:  # brackets that are not an address
        return ""


@dataclass(frozen=True)
class FileSource:
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
        for given in extra:
            check_source(given)
        for given in mirrors:
            check_source(given, setting=True)
        self.extra = tuple(dict.fromkeys(plain_scheme(s) for s in [*extra, *mirrors]))
        self._known: dict[str, str] = {}

    def sources(self, model: Model, artifact: Artifact) -> Iterator[FileSource]:
        """The sources of a file, best first, without the cache."""
        for given in self.extra:
            yield self._source(given, model, artifact)
        for url in artifact.sources:
            yield FileSource(url, (url,), ("registry",))

    def remember(self, source: FileSource, url: str) -> None:
        """Note which address a source answered at, to ask there first for the next file."""
        if url in source.urls:
            self._known[source.name] = source.layouts[source.urls.index(url)]

    def _source(self, given: str, model: Model, artifact: Artifact) -> FileSource:
        remote = "://" in given
        if not remote and not given.startswith("file:"):
            path = Path(given).expanduser()
            if path.is_file():
                if path.name == artifact.name:
                    return FileSource(given, (str(path),), ("file",))
                return FileSource(given, bundle=path)
            named = relative_paths(model, artifact)
            urls = [(layout, str(path / relative)) for layout, relative in named]
        elif given.partition("?")[0].rpartition("/")[2] in (artifact.name, quote(artifact.name)):
            urls = [("file", given)]
        else:
            urls = [(layout, _below(given, path)) for layout, path in relative_paths(model, artifact)]
        first = self._known.get(given)
        urls.sort(key=lambda pair: pair[0] != first)
        return FileSource(given, tuple(u for _, u in urls), tuple(k for k, _ in urls))


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
    if tensors_known(artifact) is not None and name.endswith(".pth"):
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


def digest_urls(model: Model, artifact: Artifact, source: FileSource | None, url: str | None) -> list[str]:
    """Where a published digest of a file may lie: the zoo's own address, then next to the file.

    Args:
        model: The model.
        artifact: The file.
        source: The source that gave the file, or None.
        url: The address that it was given at, or None.
    """
    found = [artifact.digest_url] if artifact.digest_url else []
    if url is not None and not url.startswith("package:"):
        plain, sep, query = url.partition("?")
        stem, dot, suffix = plain.rpartition(".")
        found += [f"{plain}.md5{sep}{query}"]
        if dot and "/" not in suffix:
            found += [f"{stem}.md5{sep}{query}"]
    if source is not None and artifact.digest_url and "://" in artifact.digest_url:
        name = artifact.digest_url.rpartition("/")[2]
        twin = Artifact(artifact.kind, name, sources=(artifact.digest_url,))
        if source.bundle is None and source.layouts not in (("registry",), ("file",)):
            base, paths = source.name, [path for _, path in relative_paths(model, twin)]
            found += [_below(base, p) if "://" in base else f"{base.rstrip('/')}/{p}" for p in paths]
    return list(dict.fromkeys(found))


class Openers:
    """Opens addresses of all schemes; network code is imported when the first one is asked for.

    Args:
        policy: Timeouts, retries, limits.
        stop: Set when the user wants to stop.
        offline: Give no opener for addresses outside this machine.
    """

    def __init__(self, policy: NetworkPolicy, stop: threading.Event, offline: bool) -> None:
        self._policy = policy
        self._stop = stop
        self._offline = offline
        self._http: HttpClient | None = None
        self._remote = RemoteClient(policy, stop)
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
        return self._remote.open

    def expand(self, source: FileSource, model: Model, artifact: Artifact) -> tuple[str, ...]:
        """The addresses of a source in turn; none if it is a bundle without the file.

        Raises:
            BddzooError: A bundle that cannot be used.
        """
        if source.bundle is None:
            return source.urls
        file = self.bundle(source.bundle).find(model.id, artifact.kind, artifact.name)
        return () if file is None else (f"bundle:{source.bundle}!{file.member}",)

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

    def bundled_file(self, url: str) -> BundleFile | None:
        """What a bundle says about the file at an address; None for other sources."""
        if not url.startswith("bundle:"):
            return None
        path, member = _split_bundled(url)
        return self.bundle(path).by_member(member)

    def _open_bundled(self, url: str, offset: int, known: Origin) -> Stream:
        path, member = _split_bundled(url)
        return self.bundle(path).open(member, offset, known)

    def _client(self) -> HttpClient:
        with self._lock:
            if self._http is None:
                from bddzoo.artifacts.http import HttpClient

                self._http = HttpClient(self._policy, self._stop)
            return self._http


def _open_file(url: str, offset: int, known: Origin) -> Stream:
    path = local_path(url)
    if path is None:
        raise SourceError("not a path on this machine")
    return open_local(path, offset, known, url)


def _split_bundled(url: str) -> tuple[Path, str]:
    path, _, member = url.removeprefix("bundle:").partition("!")
    return Path(path), member


def local_path(url: str) -> Path | None:
    """The file behind a `file://` URL, a `package:` source or a plain path; None for others."""
    if url.startswith("package:"):
        inside = Path(url.removeprefix("package:"))
        if inside.is_absolute() or ".." in inside.parts:
            return None
        return Path(__file__).parents[1] / inside
    if url.startswith("bundle:"):
        return None
    if url.startswith("file:"):
        parts = urlsplit(url)
        return Path(unquote(parts.path)) if parts.netloc in ("", "localhost") else None
    return None if "://" in url else Path(url)


def open_local(path: Path, offset: int, known: Origin, url: str) -> Stream:
    """Read a file of this machine from `offset` on, from 0 if it changed since.

    Raises:
        SourceError: It is not there or cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise SourceError("is a device or a pipe, not a file", kind="missing")  # may never end
        file = path.open("rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError("no such file", kind="missing") from None
    except IsADirectoryError:
        raise SourceError("is a folder", kind="missing") from None
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}") from None
    origin = Origin(url=url, last_modified=str(status.st_mtime_ns), total=status.st_size)
    if offset and (known.total != origin.total or (known.is_of(url) and known.validator != origin.validator)):
        offset = 0
    file.seek(offset)
    return Stream(origin, offset, read_chunks(file), file.close)


def read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Bytes of an open file until its end, with read errors as `SourceError`."""
    while True:
        try:
            data = file.read(CHUNK_BYTES)
        except OSError as error:
            # ESTALE: the file went away on the server of a network file system; worth one more try.
            again = error.errno in (errno.ESTALE, errno.EIO, errno.ETIMEDOUT)
            raise SourceError(f"reading failed: {error.strerror or error}", retry=again) from None
        if not data:
            return
        yield data
