"""A real proxy on loopback that opens tunnels, and answers as slowly as it is told."""

from __future__ import annotations

import select
import socket

from tests.support.loopback import Loopback


class TunnelProxy(Loopback):
    """Knows CONNECT and nothing else; a context manager.

    Attributes:
        delay: Seconds between two bytes of its own answers; 0 sends them at once.
        asked: Hosts with ports that were asked for.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.asked: list[str] = []
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        """Open a tunnel."""
        with client:
            asked = b""
            while not asked.endswith(b"\r\n\r\n"):
                piece = client.recv(1)
                if not piece:
                    return
                asked += piece
            target = asked.split()[1].decode()
            self.asked.append(target)
            host, _, port = target.rpartition(":")
            answer = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n"
            with socket.create_connection((host, int(port))) as server:
                try:
                    for at in range(len(answer)):
                        client.sendall(answer[at : at + 1])
                        if self.delay and self._over.wait(self.delay):
                            return
                    self._relay(client, server)
                except OSError:
                    return

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        while not self._over.is_set():
            ready, _, _ = select.select(list(other), [], [], 0.1)
            for end in ready:
                data = end.recv(1 << 16)
                if not data:
                    return
                other[end].sendall(data)
