"""A real proxy on loopback that opens tunnels, and answers as slowly as it is told."""

from __future__ import annotations

import select
import socket
import threading
from types import TracebackType


class TunnelProxy:
    """Knows CONNECT and nothing else; a context manager.

    Attributes:
        delay: Seconds between two bytes of its own answers; 0 sends them at once.
        asked: Hosts with ports that were asked for.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.asked: list[str] = []
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> TunnelProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
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
