"""Whether a file is where the registry says, from the history that `bddzoo registry health` keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from bddzoo.registry.types import Artifact
from bddzoo.reports.hosts import History

State = Literal["here", "alive", "unknown", "dead", "none"]
# Best first: a file is as reachable as its best source.
ORDER: tuple[State, ...] = ("here", "alive", "unknown", "dead", "none")


@dataclass(frozen=True)
class Health:
    """What is known of one source.

    Attributes:
        state: `here`: in the package; `alive`; `unknown`: nobody asked; `dead`; `none`: no source.
        text: The same in words, with the date.
    """

    state: State
    text: str


NO_SOURCE = Health("none", "no source")


def health_of(history: History, url: str) -> Health:
    """The health of one source."""
    if url.startswith("package:"):
        return Health("here", "in the package")
    seen = history.files.get(url)
    if seen is not None:
        if seen.state == "alive":
            return Health("alive", f"alive {seen.last_seen}")
        return Health("dead", f"dead, last alive {seen.last_seen}")
    host = history.hosts.get(urlsplit(url).netloc)
    if host is not None:
        # The history counts files that were never alive with their host only.
        return Health("dead", f"not there {host.probed}")
    return Health("unknown", "not probed")


def best_health(history: History, artifact: Artifact | None) -> Health:
    """The health of a file: that of its best source."""
    if artifact is None or not artifact.sources:
        return NO_SOURCE
    found = [health_of(history, url) for url in artifact.sources]
    return min(found, key=lambda health: ORDER.index(health.state))
