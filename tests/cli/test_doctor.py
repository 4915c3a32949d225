from __future__ import annotations

import json
from pathlib import Path

import pytest

from bddzoo.cli.installed import _within, extras
from bddzoo.files import not_writable
from tests.cli.command import assert_one_line, bddzoo


def checks(done) -> dict[str, dict]:
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_doctor_reports_everything_and_exits_0(tmp_path: Path) -> None:
    done = bddzoo("doctor", "--cache", tmp_path / "cache", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = checks(done)
    assert {"python", "registry", "cache", "results", "torch", "gpu", "operators", "opencv", "data"} <= set(
        found
    )
    assert found["registry"]["state"] == found["cache"]["state"] == found["torch"]["state"] == "ok"
    assert "roi_align" in found["operators"]["found"]
    assert not (tmp_path / "cache").exists(), "doctor only looks"
    assert all(check["advice"] for check in found.values() if check["state"] != "ok")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise OSError('libtorch_cpu.so: cannot open shared object file')", "libtorch_cpu.so"),
        ("import os; os._exit(139)", "died with status 139"),
        ("raise ImportError('no torch today')", "no torch today"),
    ],
)
def test_a_broken_torch_is_reported_not_raised(tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(body)
    done = bddzoo("doctor", "--format", "json", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    torch = checks(done)["torch"]
    assert torch["state"] == "broken"
    assert said in torch["found"]


NOT_HERE = "raise ImportError('not here')", "not here"


@pytest.mark.parametrize(
    ("command", "body", "said"),
    [
        ("registry count --check MODEL", *NOT_HERE),
        ("export MODEL --to onnx --size 64x96 --weights random", *NOT_HERE),
        ("predict MODEL -i IMAGES -o drawn -q", *NOT_HERE),
        ("bench MODEL", *NOT_HERE),
        ("selftest openseg", *NOT_HERE),
        ("selftest openseg", "raise OSError('libcublas.so.12: cannot open')", "libcublas.so.12: cannot open"),
        ("bench MODEL", "import package_of_torch", "No module named 'package_of_torch'"),
    ],
)
def test_networks_need_a_torch_that_works(tmp_path: Path, command: str, body: str, said: str) -> None:
    (tmp_path / "torch.py").write_text(body)
    (tmp_path / "image.jpg").touch()
    for word, value in (("MODEL", "demo_semfpn_r18n_sem_seg"), ("IMAGES", str(tmp_path))):
        command = command.replace(word, value)
    done = bddzoo(*command.split(), env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert_one_line(done, 5, "torch", said, "pip install")


def test_a_registry_with_a_typo_fails_with_its_location(tmp_path: Path, no_torch: dict[str, str]) -> None:
    registry = tmp_path / "registry.yaml"
    registry.write_text("zooss: {}\n")
    done = bddzoo("doctor", "--registry", registry, "--format", "json", env=no_torch)
    assert done.returncode == 2
    check = checks(done)["registry"]
    assert check["state"] == "broken"
    assert str(registry) in check["found"]


def test_a_cache_that_cannot_be_written_fails(no_torch: dict[str, str]) -> None:
    done = bddzoo("doctor", "--cache", "/proc/nowhere/cache", "--format", "json", env=no_torch)
    assert done.returncode == 2
    assert checks(done)["cache"]["state"] == "broken"


def test_a_data_root_that_was_asked_for_and_is_not_there_fails(
    tmp_path: Path, no_torch: dict[str, str]
) -> None:
    done = bddzoo("doctor", "--data", tmp_path / "absent", "--format", "json", env=no_torch)
    assert done.returncode == 5
    assert "does not exist" in checks(done)["data"]["found"]
    (tmp_path / "empty").mkdir()
    assert bddzoo("doctor", "--data", tmp_path / "empty", env=no_torch).returncode == 5


def test_extras_come_from_the_metadata() -> None:
    found = extras()
    assert found["run"]["mmdet"] == "==3.3.0"
    assert "numpy" in found["run"], "what an extra includes belongs to it"
    assert "torch" not in found["score"]


def test_versions_are_compared_as_versions() -> None:
    assert _within("0.10.7", "<0.11,>=0.10.7")
    assert not _within("0.9.0", ">=0.10.7")
    assert _within("anything", "")


def test_not_writable(tmp_path: Path) -> None:
    assert not_writable(tmp_path / "a" / "b") is None
    (tmp_path / "file").touch()
    assert "not a folder" in str(not_writable(tmp_path / "file" / "b"))
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
