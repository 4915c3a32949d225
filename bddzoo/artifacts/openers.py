"""Which code opens which kind of address."""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.artifacts.failures import SourceError
from bddzoo.artifacts.locate import Place
from bddzoo.artifacts.manners import Manners
from bddzoo.artifacts.origin import Origin
from bddzoo.artifacts.streams import Opener, Stream, local_path, open_local, read_chunks
from bddzoo.registry.types import Artifact, Model

if TYPE_CHECKING:
    from bddzoo.artifacts.bundle import Bundle, BundleFile
    from bddzoo.artifacts.filesystems import RemoteClient
    from bddzoo.artifacts.http import HttpClient


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
                from bddzoo.artifacts.filesystems import RemoteClient

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
