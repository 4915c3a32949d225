"""The pinned environments are complete and have digests, and `bootstrap.py` keeps to them."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Project:
    """A folder with `bootstrap.py`, whose one requirement is a wheel next to it."""

    folder: Path
    wheel: Path

    def install(self, sha256: str) -> subprocess.CompletedProcess[str]:
        """Run `bootstrap.py install core` where the requirements state that digest of the wheel."""
        core = self.folder / "requirements" / "core.txt"
        core.write_text(f"trifle==1.0 \\\n    --hash=sha256:{sha256}\n")
        command = [sys.executable, self.folder / "bootstrap.py", "install", "core"]
        env = offline(self.wheel.parent)
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    (folder / "bddzoo" / "engines").mkdir(parents=True)
    for name in ("__init__.py", "version.py", "errors.py", "engines/__init__.py", "engines/openmmlab.py"):
        shutil.copy(ROOT / "bddzoo" / name, folder / "bddzoo" / name)
    shutil.copy(ROOT / "bootstrap.py", folder)
    (folder / "pyproject.toml").write_text("")
    (folder / "requirements").mkdir()
    (folder / "requirements" / "build.txt").write_text("")
    return Project(folder, fake_wheel(folder / "wheels", "trifle", "1.0"))


@pytest.fixture(scope="module")
def refused(project: Project) -> subprocess.CompletedProcess[str]:
    """How an installation ends whose file has another digest; it has made the virtual environment."""
    return project.install("0" * 64)


def test_a_file_of_another_digest_is_not_installed(
    project: Project, refused: subprocess.CompletedProcess[str]
) -> None:
    installed = ".venv/lib/*/site-packages/trifle.py"
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not list(project.folder.glob(installed))
    accepted = project.install(hashlib.sha256(project.wheel.read_bytes()).hexdigest())
    assert "DO NOT MATCH THE HASHES" not in accepted.stderr
    assert list(project.folder.glob(installed))
    for done in (refused, accepted):
        assert done.returncode == 1, "the folder itself holds no project"
        assert "error: installation failed" in done.stderr
        assert "up to 10 MB to download" in done.stdout


def test_without_a_gpu_the_cpu_build_is_taken_where_the_index_has_it(
    project: Project,
    refused: subprocess.CompletedProcess[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has a GPU")
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("elsewhere PyPI's build is the CPU build")
    wheels = tmp_path / "wheels"
    fake_wheel(wheels, "torch", re.findall(r"^torch==([\d.]+)", (FOLDER / "run.txt").read_text(), re.M)[-1])
    for key, value in offline(wheels).items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setattr(bootstrap, "PYTHON", project.folder / ".venv" / "bin" / "python")
    assert not bootstrap.install_cpu_torch()
    for name in ("torch", "torchvision"):
        version = re.findall(rf"^{name}==([\d.]+)", (FOLDER / "run.txt").read_text(), re.M)[-1]
        fake_wheel(wheels, name, f"{version}+cpu")
    assert bootstrap.install_cpu_torch()
    assert list(project.folder.glob(".venv/lib/*/site-packages/torchvision-*+cpu.dist-info"))
    kept = bootstrap.without_cuda("dev", tmp_path).read_text()
    assert "\nmmdet==" in kept
    assert "\nruff==" in kept
    assert not re.search(r"^(nvidia|cuda|triton|torch)", kept, re.M)
