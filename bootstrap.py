"""From a fresh clone to a running bddzoo in one line: `python3 bootstrap.py demo` (or `test`).

Makes a virtual environment in `.venv`, installs the versions pinned in `requirements/`, each file checked
against its SHA-256 there, and bddzoo itself from this folder, and runs the command. Needs Python 3.10 or
newer with pip, and nothing else; a second run skips what is done already. `python3 bootstrap.py install core`
(or `score`, `run`, `run-onedl`, `site`, `dev`) only installs. An environment keeps the line of OpenMMLab's
libraries that it has, see bddzoo/engines/openmmlab.py.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = Path(os.environ.get("BDDZOO_VENV", HERE / ".venv"))
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
REQUIREMENTS = HERE / "requirements"
ENVIRONMENTS = ("core", "score", "run", "run-onedl", "site", "dev")
# Environments with PyTorch, and which line of OpenMMLab's libraries they hold.
LINES = {"run": "run", "run-onedl": "run-onedl", "dev": "run"}
# What is downloaded at most. On Linux with an x86-64 processor PyPI's torch is the CUDA build.
SIZES = {
    "core": "10 MB",
    "score": "100 MB",
    "site": "120 MB",
    "run": "3.2 GB (6 GB on disk)",
    "run-onedl": "3.3 GB (6 GB on disk)",
    "dev": "3.5 GB (7 GB on disk)",
}
CPU_SIZE = "0.7 GB (2 GB on disk)"
# Wheels only: no code of a package runs while it is installed. The onedl packages come as source only.
WHEELS = ("--only-binary", ":all:")
SOURCES = ("--no-binary", "onedl-mmcv,onedl-mmdetection,onedl-mmpretrain,onedl-mmsegmentation")
# Of the pinned packages, those that a CPU build of torch replaces or does not need.
GPU_BUILD = re.compile(r"torch==|torchvision==|triton==|nvidia-|cuda-")
ENTRY = re.compile(r"^[A-Za-z0-9][^\n]*\n(?:[ \t][^\n]*\n)*", re.MULTILINE)


def pip(*args: str, quiet: bool = False) -> int:
    """Run pip in the virtual environment and show its progress, or be quiet and return its status."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *args]
    return subprocess.run(command, check=not quiet, capture_output=quiet).returncode


def install(environment: str) -> None:
    """Install one of the environments and this folder, editable, unless the same was installed before."""
    inputs = [HERE / "pyproject.toml", *sorted(REQUIREMENTS.glob("*.txt"))]
    state = hashlib.sha256(b"".join(p.read_bytes() for p in inputs) + sys.version.encode()).hexdigest()
    # `dev` holds all that the others hold.
    stamps = [VENV / f"bddzoo-{name}-{state}" for name in dict.fromkeys([environment, "dev"])]
    if PYTHON.exists() and any(stamp.exists() for stamp in stamps):
        return
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    cpu = environment in LINES and install_cpu_torch()
    size = CPU_SIZE if cpu else SIZES[environment]
    print(f"installing requirements/{environment}.txt into {VENV}: up to {size} to download", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        files = [REQUIREMENTS / "build.txt", REQUIREMENTS / f"{environment}.txt"]
        if cpu:
            files[1] = without_cuda(environment, Path(scratch))
        chosen = [argument for file in files for argument in ("-r", str(file))]
        sources = SOURCES if environment == "run-onedl" else ()
        pip("install", "--require-hashes", "--no-deps", *WHEELS, *sources, *chosen)
    pip("install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(HERE))
    stamps[0].touch()


def line_in_use() -> str:
    """The extra of the line of libraries that the environment holds; empty where it holds none.

    Raises:
        CalledProcessError: It holds packages of both lines; stderr has the line that says so.
    """
    if not PYTHON.exists():
        return ""
    command = [str(PYTHON), "-m", "bddzoo.engines.openmmlab"]
    return subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def install_cpu_torch() -> bool:
    """Whether the CPU build of torch and torchvision was installed: no GPU is there, and pip's index has it.

    PyPI takes no such builds (`+cpu` is a local version), so they can only come from an index or folder that
    the user configured for pip; without one nothing happens here, and the pinned CUDA build follows.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists():
        return False
    text = (REQUIREMENTS / "run.txt").read_text()
    torch, vision = (
        re.findall(rf"^{name}==([\w.]+)", text, re.MULTILINE) for name in ("torch", "torchvision")
    )
    pairs = [(f"torch=={t}+cpu", f"torchvision=={v}+cpu") for t in reversed(torch) for v in reversed(vision)]
    return any(pip("install", "--no-deps", *WHEELS, *pair, quiet=True) == 0 for pair in pairs)


def without_cuda(environment: str, folder: Path) -> Path:
    """A file of the pinned packages without torch, torchvision and what only a GPU needs."""
    text = (REQUIREMENTS / f"{environment}.txt").read_text()
    if environment == "dev":
        text += (REQUIREMENTS / "run.txt").read_text()
    target = folder / "cpu.txt"
    target.write_text("".join(entry for entry in ENTRY.findall(text) if not GPU_BUILD.match(entry)))
    return target


def main() -> int:
    """Install and run; returns the exit status of what was run."""
    command, *rest = sys.argv[1:] or [""]
    environment = {"demo": "run", "test": "dev", "install": "dev"}.get(command, "")
    if command == "install" and rest:
        environment = rest.pop(0)
    if environment not in ENVIRONMENTS or sys.version_info < (3, 10):
        usage = f"demo|test [ARGS...], or install [{'|'.join(ENVIRONMENTS)}]   (Python 3.10 or newer)"
        print(f"usage: {Path(sys.argv[0]).name} {usage}", file=sys.stderr)
        return 2
    try:
        line = line_in_use()
    except subprocess.CalledProcessError as error:
        return error.returncode
    if command == "demo" and line:
        environment = line
    if line and LINES.get(environment, line) != line:
        print(f"error: {VENV} holds the other line of libraries: set BDDZOO_VENV to another", file=sys.stderr)
        return 2
    try:
        install(environment)
    except subprocess.CalledProcessError as error:
        print(f"error: installation failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    # A file's tests stay together, for what they share, and in order: sorted by their number, as is the
    # default, few and long ones would come last. A worker more than cores, because some tests wait for slow
    # servers or a cluster, and no more than eight, because each holds PyTorch, which takes memory.
    workers = min(8, (os.cpu_count() or 1) + 1)
    pytest = ["pytest", f"-n{workers}", "--dist=loadfile", "--no-loadscope-reorder"]
    run = {"demo": ["bddzoo", "demo"], "test": pytest, "install": ["bddzoo", "--version"]}[command]
    try:
        where = HERE if command == "test" else None
        return subprocess.run([str(PYTHON), "-m", *run, *rest], cwd=where, check=False).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
