"""A server on loopback that answers with bytes as they are written down, however little sense they make."""

from __future__ import annotations

import socket
import threading
from types import TracebackType


class RawServer:
    """Answers by path; a context manager.

    Attributes:
        answers: What is sent back for a path, as it is; the connection is closed after it.
        asked: First lines of the requests.
    """

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> RawServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            line = client.recv(1 << 16).split(b"\r\n")[0].decode("latin-1")
            self.asked.append(line)
            path = (line.split() or ["", ""])[1]
            try:
                client.sendall(self.answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
                # Until the client is done: closing at once would take unread bytes with it.
                client.shutdown(socket.SHUT_WR)
                client.settimeout(5)
                while client.recv(1 << 16):
                    pass
            except OSError:
                return
