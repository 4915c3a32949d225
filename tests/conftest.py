"""Settings of the whole suite."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Workers of pytest-xdist share the cores, and so do the processes that their tests start. Set before anything
# imports torch; threads that spin while they wait would starve the other worker.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _WORKERS)))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Set in some containers; hundreds of processes would compile bddzoo again, and each worker its tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Wide enough for whole paths in tables; tests of the width set their own.
os.environ.setdefault("COLUMNS", "200")

ALL = os.environ.get("BDDZOO_TEST_ALL") == "1"


def pytest_configure() -> None:
    """Let the commands that tests start be interrupted.

    A shell's background job ignores Ctrl-C, and so would every process that it starts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()


def pytest_report_header() -> str:
    """Say which of the long lists run."""
    return "all networks" if ALL else "a sample of the networks; all with BDDZOO_TEST_ALL=1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is one of many alike, unless all are asked for, or tests are named one by one.

    The long files of `surface` come first: at the end one worker would run them, and the others nothing.
    """
    items.sort(key=lambda item: "surface" not in item.path.parts)
    if ALL or any("::" in argument for argument in config.args):
        return
    left = [item for item in items if item.get_closest_marker("exhaustive")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


def made_once(name: str, make: Callable[[Path], object], factory: pytest.TempPathFactory) -> Path:
    """A folder that the first worker that needs it makes, for all workers; to be read only, or copied."""
    own = factory.getbasetemp()
    folder = (own.parent if _WORKERS > 1 else own) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.with_suffix(".made").exists():
            make(folder)
            folder.with_suffix(".made").touch()
    return folder


@pytest.fixture(scope="session")
def mini_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole mini set."""
    from bddzoo.datasets.mini import make_mini

    return made_once("mini", make_mini, tmp_path_factory)


def pytest_collection_finish() -> None:
    """Thousands of tests and what they import stay to the end: collections need not go through them."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def give_memory_back() -> Iterator[None]:
    """After each file: a process that was tuned for networks keeps what it was once given, gigabytes here."""
    yield
    gc.collect()
    gc.freeze()
    if "torch" in sys.modules:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
        if trim is not None:
            trim(0)
