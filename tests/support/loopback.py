"""What the byte-speaking servers of the tests share: a port on loopback, and a thread for each client."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import TypeVar

Server = TypeVar("Server", bound="Loopback")


class Loopback:
    """Calls `serve` with each client that connects; a context manager."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self: Server) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._socket.close()

    def serve(self, client: socket.socket) -> None:
        """Answer one client, in a thread of its own."""
        raise AssertionError(f"{type(self).__name__} answers nobody")

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()
