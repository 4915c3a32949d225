"""How one source can fail, in words for the user; never seen outside this room."""

from __future__ import annotations

from typing import Literal

FailureKind = Literal["missing", "network", "integrity"]


class SourceError(Exception):
    """One source did not give the file.

    Args:
        text: What happened, without the source's name.
        kind: `missing` if the source says it has no such file, `integrity` if it gave other bytes,
            `network` for everything between.
        retry: Whether asking the same source again may help.
        retry_after_s: How long the source asked us to wait, in seconds.
        unreachable: The host could not be connected to at all.
        stalled: Bytes came too slowly to be of use; these do not reset the retry counter.
        status: HTTP status, if the source gave one that says no.
        told: The user has been told already, for another file.
    """

    def __init__(
        self,
        text: str,
        *,
        kind: FailureKind = "network",
        retry: bool = False,
        retry_after_s: float | None = None,
        unreachable: bool = False,
        stalled: bool = False,
        status: int | None = None,
        told: bool = False,
    ) -> None:
        # Servers put words into it: nothing of them may steer the user's terminal.
        text = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
        super().__init__(text)
        self.text = text
        self.told = told
        self.kind = kind
        self.retry = retry
        self.retry_after_s = retry_after_s
        self.unreachable = unreachable
        self.stalled = stalled
        self.status = status


class Stopped(Exception):
    """The user asked to stop; what arrived is kept."""
