"""Which code opens which kind of address."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bddzoo.artifacts.failures import SourceError
from bddzoo.artifacts.locate import Place
from bddzoo.artifacts.manners import Manners
from bddzoo.artifacts.partial import Origin
from bddzoo.artifacts.streams import Opener, Stream, local_path, open_local
from bddzoo.registry.types import Artifact, Model

if TYPE_CHECKING:
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
        self._lock = threading.Lock()

    def get(self, url: str) -> Opener | None:
        """The opener of an address; None if it must not be asked."""
        if url.startswith(("http://", "https://")):
            return None if self._offline else self._client().open
        if local_path(url) is not None:
            return _open_file
        return None if self._offline else _open_unknown

    def expand(self, place: Place, model: Model, artifact: Artifact) -> Iterator[str]:
        """The addresses of a source in turn."""
        yield from place.urls

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


def _open_file(url: str, offset: int, known: Origin) -> Stream:
    path = local_path(url)
    if path is None:
        raise SourceError("not a path on this machine")
    return open_local(path, offset, known, url)


def _open_unknown(url: str, offset: int, known: Origin) -> Stream:
    raise SourceError(f"no way to open '{url.partition(':')[0]}' addresses")
