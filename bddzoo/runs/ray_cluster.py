"""A connection to a Ray cluster, or a cluster of this machine alone; quiet, and gone without a trace."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bddzoo.errors import MissingError, NetworkError, UsageError

CONNECT_S = 10.0
# Records and counts travel through it; Ray takes a third of the memory if it is not told.
OBJECT_STORE_BYTES = 256 * 1024**2
# Paths of sockets may have 107 characters, of which Ray needs some 60.
_SOCKET_PATH = 40


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, with what it has for models.

    Attributes:
        id: Id.
        cpus: Processors.
        gpus: GPUs.
    """

    id: str
    cpus: float
    gpus: float


def require_ray() -> None:
    """Import Ray.

    Raises:
        ImportError: It is not installed.
    """
    quieten()
    import ray  # noqa: F401


def list_nodes() -> list[Node]:
    """The nodes that are alive."""
    import ray

    found = []
    for node in ray.nodes():
        has = node.get("Resources", {})
        if node.get("Alive"):
            found.append(Node(node["NodeID"], float(has.get("CPU", 0)), float(has.get("GPU", 0))))
    return found


@contextlib.contextmanager
def connected(address: str | None, namespace: str) -> Iterator[bool]:
    """Connect; disconnect at the end, and end a cluster that was started for it.

    Args:
        address: `HOST:PORT` of the cluster, or `auto` for the one that this machine is of; None for
            `$RAY_ADDRESS`, and without it a cluster of this machine alone.
        namespace: Where the names of our actors are our own.

    Yields:
        Whether the cluster was started for this.

    Raises:
        ImportError: Ray is not installed.
        NetworkError: Nothing answers at the address.
        UsageError: The cluster runs another version of Ray or Python, or the address makes no sense.
        MissingError: No cluster could be started.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    ours = address == "local"
    quieten()
    import ray

    _knock(address)
    temporary = _short_folder() if ours else None
    try:
        options: dict[str, Any] = {"address": address, "namespace": namespace, "log_to_driver": False}
        options |= {"logging_level": logging.CRITICAL, "configure_logging": True}
        if ours:
            options |= {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
            options |= {"_temp_dir": temporary}
        try:
            ray.init(**options)
        except ConnectionError as error:
            raise NetworkError(
                f"no Ray cluster at '{address}': {_first_line(error)}",
                hint="start one with 'ray start --head', or leave --address away",
            ) from error
        except (RuntimeError, ValueError) as error:
            if ours:
                raise MissingError(f"Ray cannot be started here: {_first_line(error)}") from error
            raise UsageError(
                f"the Ray cluster at '{address}' cannot be used: {_first_line(error)}"
            ) from error
        yield ours
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def quieten() -> None:
    """Before Ray is imported: no reports home, and nothing of its own on our standard output."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What raylets tell every driver goes to standard output, which is for data.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")


def _knock(address: str) -> None:
    """Ray itself tries for minutes where nothing listens."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"'{address}' is no address of a Ray cluster", hint="write HOST:PORT, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        raise NetworkError(
            f"nothing answers at '{address}': {error.strerror or error}",
            hint="start the cluster with 'ray start --head', or leave --address away",
        ) from error


def _short_folder() -> str:
    folder = tempfile.mkdtemp(prefix="bddzoo-ray-")
    if len(folder) > _SOCKET_PATH:
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="bddzoo-ray-", dir="/tmp")
    return folder


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
