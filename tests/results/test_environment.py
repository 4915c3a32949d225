from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bddzoo.datasets.identity import digest_files, digest_names
from bddzoo.errors import MissingError
from bddzoo.results.environment import collect_environment, peak_memory_bytes


def test_environment_says_what_is_installed() -> None:
    environment = collect_environment({"nms": "torchvision"})
    assert environment.python.startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert environment.packages["msgspec"]
    assert environment.cores >= 1
    assert environment.cpu
    assert environment.ops == {"nms": "torchvision"}


def test_environment_does_not_import_torch_or_numpy() -> None:
    code = (
        "import sys, json; from bddzoo.results import environment as e; e.collect_environment();"
        "print(json.dumps([m for m in ('torch', 'numpy', 'cv2') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_git_state_is_none_outside_a_checkout(tmp_path: Path) -> None:
    from bddzoo.results.environment import project_checkout

    assert project_checkout(tmp_path) is None


def test_peak_memory_grows_with_use() -> None:
    before = peak_memory_bytes()
    assert before is not None
    assert before > 2**20
    held = bytearray(os.urandom(1024)) * (64 * 1024)
    after = peak_memory_bytes()
    assert after is not None
    assert after >= before
    assert len(held) == 2**26


def test_digests_do_not_depend_on_order_but_on_everything_else(tmp_path: Path) -> None:
    assert digest_names(["b", "a"]) == digest_names(["a", "b"]) != digest_names(["a"])
    one, two = tmp_path / "1.png", tmp_path / "2.png"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    base = digest_files([("a", one), ("b", two)])
    assert base == digest_files([("b", two), ("a", one)])
    assert base != digest_files([("a", two), ("b", one)])
    assert base != digest_files([("a", one), ("b", None)])
    with pytest.raises(MissingError, match=r"absent\.png"):
        digest_files([("a", tmp_path / "absent.png")])
