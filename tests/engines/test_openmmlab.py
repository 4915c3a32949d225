"""Both lines of OpenMMLab's libraries: told apart by their distributions, and never mixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from bddzoo.engines.openmmlab import LINES, ONEDL, installed_packages, line_in_use
from tests.cli.command import ROOT, bddzoo, environment
from tests.support.installed import write_metadata

VERSIONS = {"mmsegmentation": "1.2.2", "mmdet": "3.3.0", "mmcv-lite": "2.1.0", "mmengine": "0.10.7"} | {
    "onedl-mmcv": "2.3.6",
    "onedl-mmdetection": "3.5.1",
    "onedl-mmsegmentation": "1.4.2",
    "onedl-mmengine": "0.10.12",
    "onedl-mmpretrain": "1.3.6",
}
WHICH = """
import sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p] + sys.argv[1:]
from bddzoo.engines.openmmlab import check_one_line, install_engines_hint, line_in_use
from bddzoo.errors import BddzooError
line = line_in_use()
print(line.extra if line else None)
print(install_engines_hint())
try:
    check_one_line()
except BddzooError as error:
    print(int(error.exit_code), error.message, error.hint, sep="\\n")
"""


def distribution(folder: Path, name: str) -> None:
    """The metadata of an installed distribution."""
    write_metadata(folder, name, VERSIONS[name])


def which(folder: Path) -> list[str]:
    """What is said of an environment that has nothing but that folder."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", WHICH, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_neither_line(tmp_path: Path) -> None:
    extra, hint = which(tmp_path)
    assert extra == "None"
    assert any(f"[{line.extra}]" in hint for line in LINES)


@pytest.mark.parametrize(
    ("names", "extra"),
    [
        (["mmcv-lite", "mmdet", "mmengine", "mmsegmentation"], "run"),
        (["onedl-mmcv", "onedl-mmdetection", "onedl-mmengine"], "run-onedl"),
    ],
)
def test_one_line_is_known_by_its_distributions(tmp_path: Path, names: list[str], extra: str) -> None:
    for name in names:
        distribution(tmp_path, name)
    found, hint = which(tmp_path)
    assert found == extra
    assert f"[{extra}]" in hint


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["mmcv-lite", "onedl-mmcv"], "mmcv-lite 2.1.0 and onedl-mmcv 2.3.6 both fill mmcv/"),
        (
            ["mmsegmentation", "onedl-mmdetection"],
            "mmsegmentation 1.2.2 of one, onedl-mmdetection 3.5.1 of the other",
        ),
    ],
)
def test_a_mixture_is_named_and_mended(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        distribution(tmp_path, name)
    _, _, code, message, hint = which(tmp_path)
    assert code == "5"
    assert said in message
    assert f"pip uninstall -y {' '.join(names)}; then " in hint


@pytest.fixture
def mixed(tmp_path: Path) -> dict[str, str]:
    """Settings of an environment that has the tests' own line, and a package of the other one."""
    distribution(tmp_path / "other", "mmdet" if line_in_use() is ONEDL else "onedl-mmdetection")
    return {
        "PYTHONPATH": os.pathsep.join(
            [str(tmp_path / "other"), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    }


def test_doctor_says_which_line_and_that_it_is_whole() -> None:
    line = line_in_use()
    assert line is not None
    rows = {row["name"]: row for row in json.loads(bddzoo("doctor", "--format", "json").stdout)["checks"]}
    assert rows["libraries"]["state"] == "ok"
    assert rows["libraries"]["found"].startswith(line.name)
    for versions in installed_packages(line).values():
        for name, version in versions.items():
            assert rows[name]["found"] == version


def test_doctor_tells_a_mixture_and_how_to_mend_it(mixed: dict[str, str]) -> None:
    done = bddzoo("doctor", "--format", "json", env=mixed)
    assert done.returncode == 0, "list and fetch work all the same"
    rows = {row["name"]: row for row in json.loads(done.stdout)["checks"]}
    assert rows["libraries"]["state"] == rows["operators"]["state"] == "broken"
    assert "both fill mmdet/" in rows["libraries"]["found"]
    assert "pip uninstall -y" in rows["libraries"]["advice"]
    assert rows["onedl-mmdetection"]["found"] == "3.5.1"


@pytest.mark.parametrize(
    "command",
    [["demo"], ["selftest"], ["predict", "demo_semfpn_r18n_sem_seg", "-i", "IMAGES", "-o", "out"]],
    ids=lambda c: c[0],
)
def test_commands_that_run_networks_refuse_a_mixture_in_one_line(
    mixed: dict[str, str], tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((90, 160, 3), np.uint8))
    arguments = [tmp_path / "images" if word == "IMAGES" else word for word in command]
    done = bddzoo(*arguments, env=mixed, cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "both fill mmdet/" in errors[0]
    assert "Traceback" not in done.stderr


def test_folders_and_distributions_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    """What is left when a mixture was mended by half, and a checkout on the path."""
    distribution(tmp_path, "mmdet")
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").touch()
    code = """
import sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p] + sys.argv[1:]
from bddzoo.cli.installed import check_engines
for check in check_engines():
    print(check.name, check.state, check.found, check.advice, sep="|")
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = dict(line.split("|", 1) for line in done.stdout.splitlines())
    assert rows["mmdet"] == (
        "broken|the files of mmdet 3.3.0 are gone|pip install --force-reinstall --no-deps mmdet==3.3.0"
    )
    assert rows["mmcv"].startswith(f"ok|{tmp_path / 'mmcv'}")
    assert rows["mmsegmentation"].startswith("missing|")


def test_records_name_the_packages_of_both_lines(mixed: dict[str, str]) -> None:
    code = (
        "import json; from bddzoo.results.environment import collect_environment as c;"
        "print(json.dumps(c().packages))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(**mixed),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["onedl-mmdetection"] == "3.5.1"
    assert found["mmdet"] == "3.3.0"


def bootstrap(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "bootstrap.py"), *arguments],
        env=environment(BDDZOO_VENV=str(folder)),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def venv(tmp_path: Path) -> tuple[Path, Path]:
    """An environment, and the folder of its packages."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([folder / "bin" / "python", "-c", code], check=True, capture_output=True, text=True)
    return folder, Path(done.stdout.strip())


def test_bootstrap_installs_nothing_over_a_mixture(venv: tuple[Path, Path]) -> None:
    folder, packages = venv
    distribution(packages, "mmsegmentation")
    distribution(packages, "onedl-mmdetection")
    done = bootstrap(folder, "demo")
    assert done.returncode == 5
    assert done.stderr.startswith("error: half of each of two lines")
    assert "pip uninstall -y mmsegmentation onedl-mmdetection" in done.stderr
    assert not done.stdout


def test_bootstrap_does_not_put_one_line_over_the_other(venv: tuple[Path, Path]) -> None:
    folder, packages = venv
    distribution(packages, "mmsegmentation")
    done = bootstrap(folder, "install", "run-onedl")
    assert done.returncode == 2
    assert f"{folder} holds the other line" in done.stderr
    assert not done.stdout
