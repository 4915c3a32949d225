"""HTTP connections for downloads and probes: who asks, and how long a server may take to answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from bddzoo import __version__
from bddzoo.artifacts.watchdog import Watchdog

MAX_REDIRECTS = 10
# A size as a header gives it, in a regular expression: no other digits, and no more than a disk could hold.
NUMBER = "[0-9]{1,18}"


class SlowHeader(TimeoutError):
    """A server took too long to say what it answers."""


class Sessions:
    """A session for each thread; proxies, netrc and certificate bundles are those of the environment.

    Args:
        header_s: Seconds from a request to the end of the answer's header, bytes arriving or not. Each
            redirect, and what a proxy says before, has as much again.
    """

    def __init__(self, header_s: float) -> None:
        self.dog = Watchdog()
        self._header_s = header_s
        self._local = threading.local()

    def get(self) -> requests.Session:
        """The session of this thread."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers.update({"User-Agent": f"bddzoo/{__version__}", "Accept-Encoding": "identity"})
            session.max_redirects = MAX_REDIRECTS
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(self.dog, self._header_s))
            self._local.session = session
        return session


def slow_header(error: BaseException | None) -> str | None:
    """What to say of a failed request if the header took too long, else None."""
    for _ in range(8):
        if isinstance(error, SlowHeader):
            return str(error)
        error = error and (error.__cause__ or error.__context__)
    return None


class _Adapter(HTTPAdapter):
    """An adapter whose connections are looked after, behind proxies too."""

    def __init__(self, dog: Watchdog, header_s: float) -> None:
        self._dog, self._header_s = dog, header_s
        super().__init__(pool_connections=4, pool_maxsize=4, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self._look_after(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if new:
            self._look_after(manager)
        return manager

    def send(self, *args: Any, **options: Any) -> requests.Response:
        response = super().send(*args, **options)
        if response.is_redirect and response.headers.get("Content-Length") != "0":
            # The page behind a redirect would be read, however long it is and takes.
            response.raw.close()
        return response

    def _look_after(self, manager: Any) -> None:
        """Give a manager pools whose connections have a watchdog."""
        pools = {}
        for scheme, pool in manager.pool_classes_by_scheme.items():
            connection = _watched(pool.ConnectionCls, self._dog, self._header_s)
            pools[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": connection})
        manager.pool_classes_by_scheme = pools


def _watched(base: Any, dog: Watchdog, header_s: float) -> Any:
    """A class of connections that end the wait for a header after `header_s` seconds."""

    class Watched(base):  # type: ignore[misc]
        def getresponse(self) -> Any:
            return self._within(super().getresponse, "its header")

        def _tunnel(self) -> None:
            self._within(super()._tunnel, "the proxy's answer")

        def _within(self, wait: Callable[[], Any], what: str) -> Any:
            with dog.watch(partial(_shut_down, self.sock)) as watch:
                watch.start(header_s)
                try:
                    answer = wait()
                except Exception:
                    if not watch.bitten:
                        raise
                if watch.bitten:
                    # Also without an exception: a header that is cut short looks like one that has ended.
                    raise SlowHeader(f"{what} was not complete after {header_s:g} s")
                return answer

    return Watched


def _shut_down(sock: Any) -> None:
    """Wake whoever waits for a socket, or for the one below it where TLS is spoken inside of TLS."""
    sock = sock if hasattr(sock, "shutdown") else sock.socket
    sock.shutdown(socket.SHUT_RDWR)
