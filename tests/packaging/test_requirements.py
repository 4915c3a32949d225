"""The pinned environments are complete and have digests, and `bootstrap.py` keeps to them."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cli.command import ROOT
from tests.packaging.test_release import load

FOLDER = ROOT / "requirements"
ENTRY = re.compile(r"^([A-Za-z0-9][^\n\\]*?) *(?:\\\n|\n)((?:    --hash=\S+[ \\]*\n)*)", re.MULTILINE)
EXTRAS = {
    "core": [],
    "score": ["score"],
    "run": ["run"],
    "run-onedl": ["run-onedl"],
    "site": ["score", "site", "docs"],
    "dev": ["dev"],
}
bootstrap = load("bootstrap")


def entries(name: str) -> dict[str, list[str]]:
    """Pinned requirements of one environment, those it includes as well, with the lines of their digests."""
    text = (FOLDER / f"{name}.txt").read_text()
    included = [
        entries(other.removesuffix(".txt")) for other in re.findall(r"^-r (\S+)$", text, re.MULTILINE)
    ]
    own = {line: re.findall(r"sha256:([0-9a-f]{64})\b", digests) for line, digests in ENTRY.findall(text)}
    return {key: value for found in [*included, own] for key, value in found.items()}


@pytest.mark.parametrize("name", ["build", *EXTRAS])
def test_every_file_has_digests_and_the_constraints_version(name: str) -> None:
    constraints = {line.partition(" ;")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    found = entries(name)
    assert len(found) > 5
    for line, digests in found.items():
        assert digests, line
        assert re.fullmatch(r"[\w.-]+==[\w.]+", line.partition(" ;")[0])
        assert line.partition(" ;")[0] in constraints


@pytest.mark.parametrize("name", EXTRAS)
def test_an_environment_holds_all_that_its_packages_need(name: str) -> None:
    """They are installed without looking at what they ask for, so nothing may be missing."""
    pinned = {Requirement(line).name for line in entries(name) if _holds(Requirement(line))}
    pinned = {canonicalize_name(package) for package in pinned}
    waiting, seen = [("bddzoo", frozenset(EXTRAS[name]))], set()
    while waiting:
        package, extras = waiting.pop()
        try:
            needs = [Requirement(line) for line in requires(package) or []]
        except PackageNotFoundError:
            continue
        for need in needs:
            if not any(_holds(need, extra) for extra in ("", *extras)):
                continue
            child = canonicalize_name(need.name), frozenset(need.extras)
            # mmengine asks for it; the headless build takes its place.
            if child in seen or child[0] == "opencv-python":
                continue
            seen.add(child)
            assert child[0] in {*pinned, "bddzoo"}, f"{package} needs {need}"
            waiting.append(child)
    assert len(seen) > 5


def _holds(need: Requirement, extra: str = "") -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def test_the_build_backend_is_pinned_with_its_digests() -> None:
    (line,) = re.findall(r"^requires = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    backend = re.findall(r'"([^"]+)"', line)
    assert backend
    assert set(backend) <= set(entries("build"))


def fake_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel of an empty module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text)}\n")
    target = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": "".join([*lines, f"{info}/RECORD,,\n"])}.items():
            archive.writestr(path, text)
    return target


def offline(wheels: Path) -> dict[str, str]:
    """Settings that make pip take packages from one folder and from nowhere else."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "BDDZOO_"))}
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    return {**kept, **settings}


def test_a_file_of_another_digest_is_not_installed(tmp_path: Path) -> None:
    wheel = fake_wheel(tmp_path / "wheels", "trifle", "1.0")
    (tmp_path / "bddzoo" / "engines").mkdir(parents=True)
    for name in ("__init__.py", "version.py", "errors.py", "engines/__init__.py", "engines/openmmlab.py"):
        shutil.copy(ROOT / "bddzoo" / name, tmp_path / "bddzoo" / name)
    shutil.copy(ROOT / "bootstrap.py", tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "build.txt").write_text("")
    core = tmp_path / "requirements" / "core.txt"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    command = [sys.executable, tmp_path / "bootstrap.py", "install", "core"]
    for stated, refused in ((digest[::-1], True), (digest, False)):
        core.write_text(f"trifle==1.0 \\\n    --hash=sha256:{stated}\n")
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=offline(tmp_path / "wheels")
        )
        assert done.returncode == 1, "the folder itself holds no project"
        assert ("DO NOT MATCH THE HASHES" in done.stderr) == refused
        assert bool(list(tmp_path.glob(".venv/lib/*/site-packages/trifle.py"))) != refused
        assert "error: installation failed" in done.stderr
        assert "up to 10 MB to download" in done.stdout


def test_without_a_gpu_the_cpu_build_is_taken_where_the_index_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has a GPU")
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("elsewhere PyPI's build is the CPU build")
    venv.create(tmp_path / "venv", with_pip=True)
    wheels = tmp_path / "wheels"
    fake_wheel(wheels, "torch", re.findall(r"^torch==([\d.]+)", (FOLDER / "run.txt").read_text(), re.M)[-1])
    for key, value in offline(wheels).items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setattr(bootstrap, "PYTHON", tmp_path / "venv" / "bin" / "python")
    assert not bootstrap.install_cpu_torch()
    for name in ("torch", "torchvision"):
        version = re.findall(rf"^{name}==([\d.]+)", (FOLDER / "run.txt").read_text(), re.M)[-1]
        fake_wheel(wheels, name, f"{version}+cpu")
    assert bootstrap.install_cpu_torch()
    assert list(tmp_path.glob("venv/lib/*/site-packages/torchvision-*+cpu.dist-info"))
    kept = bootstrap.without_cuda("dev", tmp_path).read_text()
    assert "\nmmdet==" in kept
    assert "\nruff==" in kept
    assert not re.search(r"^(nvidia|cuda|triton|torch)", kept, re.M)
