"""Ask servers whether files are still there, without downloading them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import responses
from typing import Literal
from urllib.parse import urlsplit

import requests

from bddzoo.artifacts.http import NUMBER, Sessions, explain_fault
from bddzoo.artifacts.policy import Hosts, Manners
from bddzoo.artifacts.streams import SourceError, Stopped

State = Literal["alive", "gone", "refused", "failing", "unreachable"]
# Servers that do not answer HEAD as they answer GET.
_ASK_AGAIN = (400, 403, 405, 406, 501)
SILENCE = "no answer: timed out"


@dataclass(frozen=True)
class Probe:
    """What a server said about one URL.

    Attributes:
        url: The URL.
        state: `alive`; `gone` (404, 410); `refused` (401, 403); `failing` (any other status);
            `unreachable` (no answer at all).
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
        manners: Timeouts and connections per host; a host that failed `connect_attempts` times is not
            asked again in this run.
    """

    def __init__(self, jobs: int = 8, manners: Manners | None = None) -> None:
        self.jobs = max(1, jobs)
        self.manners = manners or Manners(connections_per_host=2)
        self.stop = threading.Event()
        self._hosts = Hosts(self.manners, self.stop)
        self._sessions = Sessions(self.manners.header_s)

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
                self._sessions.dog.end_all()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def probe(self, url: str) -> Probe:
        """Ask with HEAD, and where that is not understood with GET for the first byte."""
        host = urlsplit(url).netloc.rpartition("@")[2]
        with self._hosts.slot(host):
            dead = self._hosts.why_dead(host)
            if dead is not None:
                return Probe(url, "unreachable", note=f"{dead} (not asked again)", answered=_answered(dead))
            try:
                found = self._ask(url, "HEAD")
                if found.status in _ASK_AGAIN:
                    found = self._ask(url, "GET")
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

    def _ask(self, url: str, method: str) -> Probe:
        headers = {"Range": "bytes=0-0"} if method == "GET" else {}
        timeout = (self.manners.connect_s, self.manners.read_s)
        with self._sessions.get().request(
            method, url, headers=headers, stream=True, timeout=timeout, allow_redirects=True
        ) as response:
            status = response.status_code
            tag = response.headers.get("ETag")
            return Probe(url, _state(status), status, _size(response), tag, _text(status))


def _state(status: int) -> State:
    if 200 <= status < 300:
        return "alive"
    if status in (404, 410):
        return "gone"
    return "refused" if status in (401, 403) else "failing"


def _text(status: int) -> str:
    return f"{status} {responses.get(status, '')}".strip()


def _size(response: requests.Response) -> int | None:
    """Size of the whole file, from the range's total or the length."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if re.fullmatch(NUMBER, total):
        return int(total)
    length = response.headers.get("Content-Length", "")
    return int(length) if re.fullmatch(NUMBER, length) and response.status_code == 200 else None


def _answered(why: str) -> bool:
    return why in ("connection refused", "certificate verify failed")


def _why(fault: SourceError) -> str:
    """A fault in the few words that a table has room for."""
    text = fault.text.removeprefix("stalled: ")
    if "certificate verify failed" in text:
        return "certificate verify failed"
    short = text.removeprefix("no connection: ")
    return text if short == text else short[:1].lower() + short[1:]
