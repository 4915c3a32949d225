"""Events of a download while it runs."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives events, from several threads; sizes in bytes."""

    def begin(self, key: str, name: str) -> None:
        """Work on a file starts; `key` names it in later events."""

    def update(self, key: str, done: int, total: int | None, source: str) -> None:
        """So much of the file has arrived; `done` may shrink when a source starts over."""

    def end(self, key: str, outcome: str) -> None:
        """Work on the file is over: `cached`, `done`, `failed` or `stopped`."""

    def note(self, key: str, text: str) -> None:
        """Something worth a line: a source failed, a wait before the next try."""


class Silent:
    """Drops all events."""

    def begin(self, key: str, name: str) -> None: ...

    def update(self, key: str, done: int, total: int | None, source: str) -> None: ...

    def end(self, key: str, outcome: str) -> None: ...

    def note(self, key: str, text: str) -> None: ...
