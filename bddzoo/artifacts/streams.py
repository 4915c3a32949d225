"""The stream that all kinds of sources give, how they fail, how long they are waited for.

And streams out of object stores and model hubs (`s3://`, `gs://`, `hf://`), through fsspec. The packages
behind each scheme are extras of this one; credentials are found as those packages find them. Addresses are
written as other URLs are, odd characters percent-encoded; the stores get the plain names.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, TypeVar
from urllib.parse import unquote

from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.text import as_text

FailureKind = Literal["missing", "network", "integrity"]
# Parameters of signed links: `X-Amz-Signature`, `sig`, `access_token`, `X-Goog-Credential` ...
_SECRET = re.compile(
    r"([?&][^=&\s]*(?:token|sig|signature|secret|password|credential|key)=)[^&\s]*", re.IGNORECASE
)
# How long a host that could not be reached is left alone: in a run over a hundred files a dead host
# costs its timeout once in a while, and a short outage does not cost the rest of the run.
DEAD_FOR_S = 120.0


class SourceError(Exception):
    """One source did not give the file; caught where the next source is asked.

    Args:
        text: What happened, without the source's name.
        kind: `missing` if the source says it has no such file, `integrity` if it gave other bytes,
            `network` for everything between.
        retry: Whether asking the same source again may help.
        retry_after_s: How long the source asked us to wait, in seconds.
        unreachable: The host could not be connected to at all.
        stalled: Bytes came too slowly to be of use; these do not reset the retry counter.
        status: HTTP status, if the source gave one that says no.
        reported: The user has been told already, for another file.
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
        reported: bool = False,
    ) -> None:
        # Servers put words into it: nothing of them may steer the user's terminal.
        text = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
        super().__init__(text)
        self.text = text
        self.kind = kind
        self.retry = retry
        self.retry_after_s = retry_after_s
        self.unreachable = unreachable
        self.stalled = stalled
        self.status = status
        self.reported = reported


class Stopped(Exception):
    """The user asked to stop; what arrived is kept."""


@dataclass
class Origin:
    """Where bytes are from, and what proves that the source still has the same file.

    Attributes:
        url: The source, without a password that may be in it.
        etag: Strong entity tag, or None.
        last_modified: `Last-Modified` (HTTP) or the modification time (files), or None.
        total: Number of bytes that the source sends for the whole file, or None.
        coding: `gzip` or `deflate` where the source calls these bytes a compressed form of the file.
    """

    url: str = ""
    etag: str | None = None
    last_modified: str | None = None
    total: int | None = None
    coding: str | None = None

    def __post_init__(self) -> None:
        self.url = without_password(self.url)

    def is_of(self, url: str) -> bool:
        """Whether the bytes are from that address."""
        return self.url == without_password(url)

    @property
    def validator(self) -> str | None:
        """What a source repeats as long as its file is the same."""
        return self.etag or self.last_modified


def without_password(url: str) -> str:
    """A URL as it may be printed and kept: user, password, and keys in its query masked."""
    return _SECRET.sub(r"\1***", re.sub(r"(?<=://)[^/@\s]*@", "***@", as_text(url)))


@dataclass
class Stream:
    """Bytes of a file from `offset` on.

    Attributes:
        origin: What the source says of the whole file now.
        offset: First byte that will come: what was asked for, or 0 where the source starts over.
        chunks: The bytes. Raises `SourceError` when they stop before the end.
        close: Lets go of the connection or file.
        content_type: As declared by the source, or None.
    """

    origin: Origin
    offset: int
    chunks: Iterator[bytes]
    close: Callable[[], None]
    content_type: str | None = None


# Opens an address from an offset on, given what is known of the bytes before it.
Opener = Callable[[str, int, Origin], Stream]


@dataclass(frozen=True)
class NetworkPolicy:
    """Timeouts, retries and limits; all times in seconds.

    Attributes:
        connect_s: To open a connection.
        read_s: Without a single byte.
        header_s: From a request to the end of the answer's header, bytes arriving or not.
        stall_s: Window in which at least `stall_bytes` of a file must arrive.
        stall_bytes: See `stall_s`.
        attempts: Tries in a row that bring no new bytes before a source is given up.
        connect_attempts: Tries to connect to a host; one that fails them all is left alone for a while.
        backoff_s: First wait between tries; doubles, with jitter.
        backoff_max_s: Longest wait of our own choice.
        retry_after_max_s: Longest wait that a server may ask for; a longer one fails the source.
        connections_per_host: At the same time.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    header_s: float = 60.0
    stall_s: float = 60.0
    stall_bytes: int = 64 << 10
    attempts: int = 5
    connect_attempts: int = 2
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    retry_after_max_s: float = 120.0
    connections_per_host: int = 4

    def wait_s(self, failures: int) -> float:
        """How long to wait after that many failures in a row: full jitter over a doubling bound."""
        bound = min(self.backoff_max_s, self.backoff_s * 2 ** max(0, failures - 1))
        return random.uniform(bound / 2, bound)


class Hosts:
    """Connection slots per host, and the hosts that could not be reached in this run."""

    def __init__(self, policy: NetworkPolicy, stop: threading.Event) -> None:
        self._stop = stop
        self._limit = policy.connect_attempts
        self._failed: dict[str, tuple[int, str, float]] = {}
        self._slots: dict[str, threading.Semaphore] = defaultdict(
            lambda: threading.Semaphore(policy.connections_per_host)
        )
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, host: str) -> Iterator[None]:
        """Hold one of the connections to a host.

        Raises:
            Stopped: The user asked to stop while all were in use.
        """
        with self._lock:
            slot = self._slots[host]
        while not slot.acquire(timeout=0.2):
            if self._stop.is_set():
                raise Stopped
        try:
            yield
        finally:
            slot.release()

    def why_dead(self, host: str) -> str | None:
        """How a host failed that is not worth asking at the moment, or None."""
        count, why, when = self._failed.get(host, (0, "", 0.0))
        return why if count >= self._limit and time.monotonic() - when < DEAD_FOR_S else None

    def need_alive(self, host: str) -> None:
        """Refuse a host that is not worth asking at the moment.

        Raises:
            SourceError: It could not be reached before; the user has been told why, for another file.
        """
        dead = self.why_dead(host)
        if dead is not None:
            raise SourceError(f"{dead} (not asked again in this run)", unreachable=True, reported=True)

    def count_failure(self, host: str, why: str) -> None:
        """Remember that a connection could not be opened."""
        with self._lock:
            count = self._failed.get(host, (0, "", 0.0))[0]
            self._failed[host] = (count + 1, why, time.monotonic())

    def count_success(self, host: str) -> None:
        """Remember that a host answers."""
        with self._lock:
            self._failed.pop(host, None)


def sleep(seconds: float, stop: threading.Event) -> None:
    """Wait, unless asked to stop.

    Raises:
        Stopped: The user asked to stop.
    """
    if stop.wait(seconds):
        raise Stopped


PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}
# Read ahead in pieces that are worth a request.
BLOCK_BYTES = 8 << 20
# A piece may come as slowly as a stalled download over HTTP does not, ten times over.
BLOCK_PATIENCE = 10
# Names of exceptions, because the packages have them from different libraries.
_UNREACHABLE = re.compile(
    r"(?:Endpoint|Proxy|Client|New)?Connect(?:ion|or|orDNS)?(?:Error|Timeout|TimeoutError)"
)
_HOPELESS = re.compile(r"ParamValidationError|HFValidationError|ValueError|TypeError")

T = TypeVar("T")


class RemoteClient:
    """Opens files of object stores; safe to use from several threads.

    What the packages wait for cannot be interrupted, and a byte now and then keeps them waiting. So
    they wait in threads of their own, which are left alone where it takes too long.
    """

    def __init__(self, policy: NetworkPolicy, stop: threading.Event) -> None:
        self.policy = policy
        self.hosts = Hosts(policy, stop)
        self._stop = stop

    def open(self, url: str, offset: int, known: Origin) -> Stream:
        """Open a file of an object store from `offset` on, from 0 if it changed since.

        Raises:
            SourceError: Anything that goes wrong.
            Stopped: The user asked to stop.
        """
        host = "/".join(url.split("/", 3)[:3])
        with ExitStack() as stack:
            stack.enter_context(self.hosts.slot(host))
            self.hosts.need_alive(host)
            system, path = _system_of(url)

            def find() -> tuple[dict[str, Any], Any]:
                # A stale listing would hide a file that was just uploaded.
                system.invalidate_cache()
                info = system.info(path)
                if info.get("type") == "directory":
                    raise SourceError("is a folder", kind="missing")
                return info, system.open(path, "rb", block_size=BLOCK_BYTES, cache_type="readahead")

            try:
                info, file = self._within(self.policy.header_s, find)
            except SourceError as error:
                if error.unreachable:
                    self.hosts.count_failure(host, error.text)
                raise
            self.hosts.count_success(host)
            stack.callback(file.close)
            origin = Origin(url=url, etag=_validator(info), total=info.get("size"))
            if offset and (origin.total != known.total or (known.is_of(url) and known.etag != origin.etag)):
                offset = 0
            file.seek(offset)
            return Stream(origin, offset, self._read(file), stack.pop_all().close)

    def _read(self, file: Any) -> Iterator[bytes]:
        while True:
            data: bytes = self._within(BLOCK_PATIENCE * self.policy.stall_s, lambda: file.read(CHUNK_BYTES))
            if not data:
                return
            yield data

    def _within(self, limit_s: float, ask: Callable[[], T]) -> T:
        """Wait for a package, but not for ever, and not when the user wants to stop."""
        answers: list[T] = []
        errors: list[Exception] = []
        ended = threading.Event()

        def work() -> None:
            try:
                answers.append(ask())
            except Exception as error:
                errors.append(error)
            finally:
                ended.set()

        threading.Thread(target=work, name="remote", daemon=True).start()
        end = time.monotonic() + limit_s
        while not ended.wait(min(0.2, limit_s)):
            if self._stop.is_set():
                raise Stopped
            if time.monotonic() > end:
                raise SourceError(f"stalled: no answer in {limit_s:g} s", retry=True, stalled=True)
        if errors:
            raise errors[0] if isinstance(errors[0], SourceError) else _explain(errors[0])
        return answers[0]


def _system_of(url: str) -> tuple[Any, str]:
    """The file system behind an address, and the path in it."""
    scheme, _, rest = url.partition("://")
    place, mark, query = rest.partition("?")
    if scheme == "hf" and "@" in place:
        # A revision may hold slashes, which the hub's package wants to see encoded.
        head, at, tail = place.partition("@")
        revision, slash, inside = tail.partition("/")
        place = f"{unquote(head)}{at}{revision}{slash}{unquote(inside)}"
    else:
        place = unquote(place)
    if "::" in place:
        raise SourceError("no way to open an address with '::' in it")
    try:
        system, path = import_module("fsspec.core").url_to_fs(f"{scheme}://{place}{mark}{query}")
    except ImportError:
        package = PACKAGES.get(scheme, "fsspec")
        raise SourceError(f"{scheme}:// needs the package {package}: pip install {package}") from None
    except Exception as error:
        raise SourceError(f"no way to open '{scheme}' addresses: {_words(error)}") from None
    return system, path


def _validator(info: dict[str, Any]) -> str | None:
    """What an object store says to tell versions of a file apart."""
    for key in ("ETag", "etag", "sha256", "md5Hash", "blob_id", "LastModified", "last_modified", "mtime"):
        if info.get(key):
            return f"{key}:{info[key]}"
    return None


def _words(error: Exception) -> str:
    words = re.sub(r"\[Errno -?\d+\]\s*", "", " ".join(str(error).split()))
    return words[:200] or type(error).__name__


def _explain(error: Exception) -> SourceError:
    """Name a fault of packages whose exceptions have nothing in common."""
    name, words = type(error).__name__, _words(error)
    if isinstance(error, FileNotFoundError):
        return SourceError("no such file", kind="missing")
    if isinstance(error, PermissionError) or name == "NoCredentialsError":
        return SourceError(f"no permission: {words}", status=403)
    if _UNREACHABLE.fullmatch(name):
        return SourceError(f"no connection: {words}", retry=True, unreachable=True)
    return SourceError(f"{name}: {words}", retry=_HOPELESS.fullmatch(name) is None)
