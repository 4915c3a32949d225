"""Files in object stores and model hubs (`s3://`, `gs://`, `hf://`), through fsspec.

The packages behind each scheme are extras of this one; credentials are found as those packages find them.
Addresses are written as other URLs are, odd characters percent-encoded; the stores get the plain names.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import Any, TypeVar
from urllib.parse import unquote

from bddzoo.artifacts.digests import CHUNK_BYTES
from bddzoo.artifacts.streams import Hosts, NetworkPolicy, Origin, SourceError, Stopped, Stream

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
