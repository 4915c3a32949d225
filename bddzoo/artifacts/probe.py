"""Ask servers whether files are still there, without downloading them, and keep which were alive when."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from bddzoo.artifacts.download import Expected, look_at
from bddzoo.artifacts.streams import Hosts, NetworkPolicy, SourceError, Stopped
from bddzoo.artifacts.verification import HEAD_BYTES
from bddzoo.errors import MissingError, UsageError
from bddzoo.reading import json_errors, read_limited
from bddzoo.registry.model import Model
from bddzoo.registry.structs import STORES

if TYPE_CHECKING:
    # Reading a history must not import what asks servers.
    import requests

State = Literal["alive", "gone", "refused", "failing", "unreachable"]
# Servers that do not answer HEAD as they answer GET.
_ASK_AGAIN = (400, 403, 405, 406, 501)
# A size as a header gives it.
_NUMBER = "[0-9]{1,18}"
SILENCE = "no answer: timed out"


@dataclass(frozen=True)
class Probe:
    """What a server said about one URL.

    Attributes:
        url: The URL.
        state: `alive`; `gone` (404, 410); `refused` (401, 403); `failing` (any other status, or a page
            in place of the file); `unreachable` (no answer at all).
        status: HTTP status, or None without an answer.
        size_bytes: Size that the server gives, if any.
        etag: Entity tag, if any.
        note: What happened, in words.
        answered: Whether anything on the other side said so, be it that it refused the connection.
    """

    url: str
    state: State
    status: int | None = None
    size_bytes: int | None = None
    etag: str | None = None
    note: str = ""
    answered: bool = True


class Prober:
    """Probes many URLs at a time, and few per host.

    Args:
        jobs: Requests at the same time, over all hosts.
        policy: Timeouts and connections per host; a host that failed `connect_attempts` times is not
            asked again in this run.
    """

    def __init__(self, jobs: int = 8, policy: NetworkPolicy | None = None) -> None:
        self.jobs = max(1, jobs)
        self.policy = policy or NetworkPolicy(connections_per_host=2)
        self.stop = threading.Event()
        self._hosts = Hosts(self.policy, self.stop)
        from bddzoo.artifacts.http import Sessions

        self._sessions = Sessions(self.policy.header_s, self.stop)

    def probe_all(self, urls: Iterable[str], each: Callable[[Probe], None] | None = None) -> list[Probe]:
        """Probe every URL once; the order of the result is that of `urls`.

        Args:
            urls: `http` and `https` URLs.
            each: Called with every result as it comes, from several threads.
        """

        def one(url: str) -> Probe:
            found = self.probe(url)
            if each is not None:
                each(found)
            return found

        unique = list(dict.fromkeys(urls))
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                return list(pool.map(one, unique))
            except BaseException:
                self.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def probe(self, url: str) -> Probe:
        """Ask with HEAD, then look at the first bytes: a page that says sorry has status 200, too."""
        from bddzoo.artifacts.http import explain_fault

        host = urlsplit(url).netloc.rpartition("@")[2]
        with self._hosts.slot(host):
            dead = self._hosts.why_dead(host)
            if dead is not None:
                return Probe(url, "unreachable", note=f"{dead} (not asked again)", answered=_answered(dead))
            try:
                found = self._ask(url, "HEAD")
                if found.state == "alive":
                    found = self._look(url, found)
                elif found.status in _ASK_AGAIN:
                    found = self._ask(url, "GET", ranged=True)
            except Exception as error:
                fault = explain_fault(error, self.stop)
                if isinstance(fault, Stopped):
                    raise fault from None
                why = _why(fault)
                if fault.unreachable:
                    self._hosts.count_failure(host, why)
                # Silence may be that of a network that is not there.
                silent = fault.unreachable or why == SILENCE
                return Probe(url, "unreachable", note=why, answered=not silent or _answered(why))
            self._hosts.count_success(host)
            return found

    def _look(self, url: str, found: Probe) -> Probe:
        """What HEAD found, unless the first bytes are not those of the file."""
        for ranged in (True, False):
            looked = self._ask(url, "GET", ranged=ranged)
            if looked.state == "alive":
                return found
            if looked.status in (200, 206):
                break
        return looked

    def _ask(self, url: str, method: str, *, ranged: bool = False) -> Probe:
        headers = {"Range": f"bytes=0-{HEAD_BYTES - 1}"} if ranged else {}
        timeout = (self.policy.connect_s, self.policy.read_s)
        with self._sessions.get().request(
            method, url, headers=headers, stream=True, timeout=timeout, allow_redirects=True
        ) as response:
            status = response.status_code
            tag = response.headers.get("ETag")
            found = Probe(url, _state(status), status, _size(response), tag, _text(status))
            if method == "GET" and found.state == "alive":
                try:
                    self._check_head(url, response)
                except SourceError as error:
                    found = replace(found, state="failing", note=error.text)
            return found

    def _check_head(self, url: str, response: requests.Response) -> None:
        """Read the first bytes of an answer.

        Raises:
            SourceError: They are not those of the file.
        """
        from bddzoo.artifacts.http import Deadline, coding_of

        head = b""
        with Deadline(getattr(response.raw, "shutdown", response.raw.close), self.stop) as deadline:
            deadline.start(self.policy.header_s)
            while len(head) < HEAD_BYTES and not deadline.passed:
                data = response.raw.read(HEAD_BYTES - len(head), decode_content=False)
                if not data:
                    break
                head += data
        if self.stop.is_set():
            raise Stopped
        if not deadline.passed:
            name = unquote(urlsplit(url).path.rpartition("/")[2])
            look_at(head, coding_of(response), response.headers.get("Content-Type"), Expected(name))


def _state(status: int) -> State:
    if 200 <= status < 300:
        return "alive"
    if status in (404, 410):
        return "gone"
    return "refused" if status in (401, 403) else "failing"


def _text(status: int) -> str:
    phrases = {s.value: s.phrase for s in HTTPStatus}
    return f"{status} {phrases.get(status, '')}".strip()


def _size(response: requests.Response) -> int | None:
    """Size of the whole file, from the range's total or the length."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if re.fullmatch(_NUMBER, total):
        return int(total)
    length = response.headers.get("Content-Length", "")
    return int(length) if re.fullmatch(_NUMBER, length) and response.status_code == 200 else None


def _answered(why: str) -> bool:
    return why in ("connection refused", "certificate verify failed")


def _why(fault: SourceError) -> str:
    """A fault in the few words that a table has room for."""
    text = fault.text.removeprefix("stalled: ")
    if "certificate verify failed" in text:
        return "certificate verify failed"
    short = text.removeprefix("no connection: ")
    return text if short == text else short[:1].lower() + short[1:]


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
        return msgspec.json.decode(read_limited(path), type=History)
    except FileNotFoundError:
        return History()
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror or error}") from None
    except json_errors() as error:
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
