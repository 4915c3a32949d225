"""Which hosts and files were alive when: a small history, compared with what a probe found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from bddzoo.errors import MissingError, UsageError
from bddzoo.registry.model import Model
from bddzoo.registry.structs import STORES

if TYPE_CHECKING:
    # Reading a history must not import what asks servers.
    from bddzoo.artifacts.probe import Probe


class FileSeen(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A file that was alive at least once."""

    state: str
    last_seen: str
    status: int | None = None
    size_bytes: int | None = None
    etag: str | None = None


class HostSeen(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A host: when it was asked, what it said, and when a file of it was last alive."""

    probed: str
    files: int
    alive: int
    note: str = ""
    last_seen: str | None = None


class History(msgspec.Struct, forbid_unknown_fields=True):
    """The history file; files that were never alive are counted with their host only."""

    schema: int = 1
    hosts: dict[str, HostSeen] = {}
    files: dict[str, FileSeen] = {}


def read_history(path: Path) -> History:
    """The history, empty where there is no file yet.

    Raises:
        UsageError: The file is not a history.
        MissingError: It cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=History)
    except FileNotFoundError:
        return History()
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a history of probes: {error}", hint="restore or remove it") from None


def history_text(history: History) -> str:
    """The history as JSON, sorted, one entry a line, so that a diff shows what changed."""
    builtins = msgspec.to_builtins(history)

    def entries(values: Mapping[str, Any]) -> str:
        rows = [f"    {json.dumps(k)}: {json.dumps(values[k], ensure_ascii=False)}" for k in sorted(values)]
        return "{\n" + ",\n".join(rows) + "\n  }" if rows else "{}"

    return (
        f'{{\n  "schema": {history.schema},\n  "hosts": {entries(builtins["hosts"])},\n'
        f'  "files": {entries(builtins["files"])}\n}}\n'
    )


def died(history: History, probes: Iterable[Probe]) -> list[Probe]:
    """Probes of files that were alive when last asked, and are not now."""
    return [
        p
        for p in probes
        if p.state != "alive" and (seen := history.files.get(p.url)) is not None and seen.state == "alive"
    ]


def offline(probes: Sequence[Probe]) -> bool:
    """Whether nothing answered in a way that a machine without a network would not see, too.

    A connection that was refused, or a certificate that was not good, came from somebody.
    """
    return all(p.state == "unreachable" and not p.answered for p in probes)


def updated(history: History, probes: Sequence[Probe], when: str) -> History:
    """The history with the probes of one run taken in.

    Args:
        history: What was known.
        probes: What the run found.
        when: UTC date of the run, ISO 8601.
    """
    hosts, files = dict(history.hosts), dict(history.files)
    for probe in probes:
        old = files.get(probe.url)
        if probe.state == "alive":
            files[probe.url] = FileSeen(probe.state, when, probe.status, probe.size_bytes, probe.etag)
        elif old is not None:
            files[probe.url] = FileSeen(probe.state, old.last_seen, probe.status, old.size_bytes, old.etag)
    by_host: dict[str, list[Probe]] = {}
    for probe in probes:
        by_host.setdefault(urlsplit(probe.url).netloc, []).append(probe)
    for host, found in by_host.items():
        alive = sum(p.state == "alive" for p in found)
        before = hosts.get(host)
        seen = when if alive else (before.last_seen if before else None)
        note = next((p.note for p in found if p.state != "alive"), "")
        hosts[host] = HostSeen(when, len(found), alive, note, seen)
    return History(history.schema, hosts, files)


def urls_of(models: Iterable[Model]) -> list[str]:
    """Every web URL of the models' files and digests, in published order, each once."""
    found: dict[str, None] = {}
    for model in models:
        for artifact in model.artifacts:
            for url in (*artifact.sources, artifact.digest_url):
                if url is not None and url.startswith(("https://", "http://")):
                    found[url] = None
        for other in model.elsewhere:
            if other.weights:
                found[other.weights] = None
    return list(found)


def stores_of(models: Iterable[Model]) -> list[str]:
    """Every address of the models' files in an object store or on a model hub, each once."""
    found = [url for model in models for artifact in model.artifacts for url in artifact.sources]
    return [u for u in dict.fromkeys(found) if u.startswith(STORES)]
