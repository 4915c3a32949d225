"""A server on loopback that answers with bytes as they are written down, however little sense they make."""

from __future__ import annotations

import socket

from tests.support.loopback import Loopback


class RawServer(Loopback):
    """Answers by path; a context manager.

    Attributes:
        answers: What is sent back for a path, as it is; the connection is closed after it.
        asked: First lines of the requests.
    """

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        """Answer one request."""
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
