"""A server, a registry of two models and a way to run commands, for all tests of this room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.artifacts.registry import weights, write_registry
from tests.artifacts.zoo import DATA, OTHER
from tests.cli.command import bddzoo, run_here
from tests.support.server import Server


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run a command with the test's registry and cache; in this process, unless another one is asked for."""
    for name in [name for name in os.environ if name.startswith("BDDZOO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")

    def run(command, *arguments, **options):
        names = [*command.split(), *arguments]
        where = ["--registry", tmp_path / "registry.yaml", "--cache", tmp_path / "cache"]
        return bddzoo(*names, *where, **options) if options else run_here(capsys, *names, *where)

    return run


@pytest.fixture
def zoo(server, tmp_path):
    """Two models: one with a known digest, one without."""
    write_registry(
        tmp_path / "registry.yaml",
        {
            "net_a": weights("net_a.pth", server.put("net_a.pth", DATA), data=DATA),
            "net_b": weights("net_b.pth", server.put("net_b.pth", OTHER)),
        },
    )
    return server


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size, mounted at a folder that is made for it."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
