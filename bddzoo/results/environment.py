"""What software and machine a measurement was made with; never imports torch by itself."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import msgspec

from bddzoo.engines.openmmlab import DISTRIBUTIONS, distribution_version
from bddzoo.version import __version__

# Distributions whose version can change a number or a speed, in the order they are shown.
PACKAGES = (
    "torch",
    "torchvision",
    *DISTRIBUTIONS,
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "pycocotools",
    "msgspec",
    "onnxruntime",
    "openvino",
)


class Environment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Versions and machine of a measurement.

    Attributes:
        bddzoo: Version of this package.
        git: Commit of the checkout that bddzoo runs from, with `-dirty` for local changes; None outside one.
        python: Version of the interpreter.
        packages: Installed distributions of `PACKAGES` and their versions.
        platform: Operating system and architecture.
        cpu: Model name of the processor.
        cores: Number of logical cores that this process may use.
        gpu: Names of the visible GPUs; empty for none, or where torch was not in use.
        cuda: Version of CUDA that torch was built for, or None.
        ops: Which implementation of the compiled operators was in use, by operator.
    """

    bddzoo: str
    git: str | None = None
    python: str
    packages: dict[str, str]
    platform: str
    cpu: str
    cores: int
    gpu: tuple[str, ...] = ()
    cuda: str | None = None
    ops: dict[str, str] = {}


def collect_environment(ops: dict[str, str] | None = None) -> Environment:
    """Describe the running process and its machine.

    GPU and CUDA are asked of torch only where it is imported already: a command that never ran a network
    must not import it for its record.

    Args:
        ops: Implementations of the compiled operators, as `bddzoo.engines.ops.ops_in_use()` gives them.
    """
    gpu, cuda = _gpus()
    return Environment(
        bddzoo=__version__,
        git=git_state(),
        python=platform.python_version(),
        packages=installed_versions(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_model(),
        cores=usable_cores(),
        gpu=gpu,
        cuda=cuda,
        ops=dict(ops or {}),
    )


def installed_versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Versions of those distributions that are installed, without importing any."""
    versions = ((name, distribution_version(name)) for name in names)
    return {name: version for name, version in versions if version is not None}


def cpu_model() -> str:
    """Model name of the processor, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def usable_cores() -> int:
    """Number of logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def git_state() -> str | None:
    """Commit of the checkout this package runs from, `-dirty` with local changes; None outside of one."""
    root = project_checkout(Path(__file__).resolve().parent)
    if root is None:
        return None
    import subprocess

    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def project_checkout(start: Path) -> Path | None:
    """Root of the checkout of this project that holds `start`, or None."""
    for folder in (start, *start.parents):
        if (folder / "registry.yaml").is_file() and (folder / "bddzoo" / "__init__.py").is_file():
            return folder if (folder / ".git").exists() else None
    return None


def peak_memory_bytes() -> int | None:
    """Largest resident memory of this process so far, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _gpus() -> tuple[tuple[str, ...], str | None]:
    torch = sys.modules.get("torch")
    if torch is None:
        return (), None
    try:
        names = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        cuda = torch.version.cuda
    except (AttributeError, RuntimeError, AssertionError):
        return (), None
    return names, str(cuda) if cuda else None
