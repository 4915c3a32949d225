"""Which line of OpenMMLab's libraries is installed: OpenMMLab's own packages, or their continuation.

Networks are built by mmsegmentation and mmdet, on mmengine and mmcv; ConvNeXt comes from mmpretrain. Their
last releases are of 2023 to 2025. The packages named `onedl-*` continue them under the same import names.
Both lines fill the same folders (`mmseg/`, `mmcv/` and so on), so an environment can hold one of them only,
and it is the installed distributions that tell which.

Only the standard library is imported here: bootstrap.py asks before anything is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from traceback import walk_tb
from types import ModuleType
from typing import Any

from bddzoo.errors import MissingError, install_hint


@dataclass(frozen=True)
class Line:
    """One of the two sets of packages.

    Attributes:
        name: What messages call it.
        extra: The extra of bddzoo that installs it.
        packages: Import name to the distributions that provide it.
    """

    name: str
    extra: str
    packages: Mapping[str, tuple[str, ...]]


OPENMMLAB = Line(
    "OpenMMLab",
    "run",
    {
        "mmengine": ("mmengine", "mmengine-lite"),
        "mmcv": ("mmcv", "mmcv-lite", "mmcv-full"),
        "mmseg": ("mmsegmentation",),
        "mmdet": ("mmdet",),
        "mmpretrain": ("mmpretrain",),
    },
)
ONEDL = Line(
    "onedl",
    "run-onedl",
    {
        "mmengine": ("onedl-mmengine",),
        "mmcv": ("onedl-mmcv",),
        "mmseg": ("onedl-mmsegmentation",),
        "mmdet": ("onedl-mmdetection",),
        "mmpretrain": ("onedl-mmpretrain",),
    },
)
LINES = (OPENMMLAB, ONEDL)
DISTRIBUTIONS = tuple(name for line in LINES for names in line.packages.values() for name in names)

# Package that is imported -> the extra that installs it.
EXTRA_OF = {
    **dict.fromkeys(("numpy", "cv2", "pycocotools"), "score"),
    **dict.fromkeys(("torch", "torchvision", *OPENMMLAB.packages), OPENMMLAB.extra),
    **dict.fromkeys(("onnx", "onnxscript", "onnxruntime"), "onnx"),
    "openvino": "openvino",
    "matplotlib": "plots",
    "ray": "ray",
    "jinja2": "site",
}


def installed_packages(line: Line) -> dict[str, dict[str, str]]:
    """What is installed of a line: import name to distributions and their versions."""
    found: dict[str, dict[str, str]] = {}
    for package, names in line.packages.items():
        for name in names:
            if (version := distribution_version(name)) is not None:
                found.setdefault(package, {})[name] = version
    return found


def distribution_version(name: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def line_in_use() -> Line | None:
    """The line that is installed; of a mixture the one with more packages; None where there is neither."""
    counts = [len(installed_packages(line)) for line in LINES]
    return LINES[counts.index(max(counts))] if any(counts) else None


def install_engines_hint() -> str:
    """The command that installs what runs networks: of the line that is in use, never over the other one."""
    return install_hint((line_in_use() or OPENMMLAB).extra)


def failed_import(error: Exception) -> MissingError | None:
    """What to say of an error if the import of an extra's package raised it; None where anything else did.

    A package that is installed may raise anything: a library that it links against is not there, or it was
    built for another version of a package.
    """
    modules = [
        frame.f_globals.get("__name__", "")
        for frame, _ in walk_tb(error.__traceback__)
        if frame.f_code.co_name == "<module>"
    ]
    if isinstance(error, ImportError):
        modules.append(error.name or "")
    packages = [module.partition(".")[0] for module in modules]
    package = next((package for package in reversed(packages) if package in EXTRA_OF), None)
    if package is None:
        return None
    absent = isinstance(error, ModuleNotFoundError) and error.name == package
    what = "is not installed" if absent else f"does not work: {' '.join(str(error).split())}"
    extra = EXTRA_OF[package]
    hint = install_engines_hint() if extra == OPENMMLAB.extra else install_hint(extra)
    return MissingError(f"this needs {package}, which {what}", hint=hint)


def check_one_line() -> None:
    """Refuse an environment with packages of both lines.

    Raises:
        MissingError: Names what is mixed, and the commands that mend it.
    """
    ours, theirs = (installed_packages(line) for line in LINES)
    if not ours or not theirs:
        return
    both = [package for package in ours if package in theirs]
    if both:
        pairs = (f"{_listed(ours[p])} and {_listed(theirs[p])} both fill {p}/" for p in both)
        what = f"two lines of OpenMMLab's libraries are installed over each other: {'; '.join(pairs)}"
    else:
        halves = f"{_listed(*ours.values())} of one, {_listed(*theirs.values())} of the other"
        what = f"half of each of two lines of OpenMMLab's libraries is installed: {halves}"
    names = [name for found in (ours, theirs) for packages in found.values() for name in packages]
    mend = f"pip uninstall -y {' '.join(names)}; then {install_engines_hint()}, which installs one line"
    raise MissingError(what, hint=mend)


def _listed(*packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for versions in packages for name, version in versions.items())


def admit_mmcv_2_2() -> None:
    """Import mmsegmentation 1.2.2 and mmdet 3.3.0 with mmcv 2.2; needed for OpenMMLab's own line only.

    They assert that mmcv is older than 2.2.0, its last release, which came after theirs; nothing that they
    import of it has changed. The onedl line has no such assertion.
    """
    found = installed_packages(OPENMMLAB)
    if not any(version.startswith("2.2.") for version in found.get("mmcv", {}).values()):
        return
    mmcv: Any = import_module("mmcv")
    version, mmcv.__version__ = mmcv.__version__, "2.1.0"
    try:
        for package in ("mmseg", "mmdet"):
            if package in found:
                import_module(package)
    finally:
        mmcv.__version__ = version


def leave_out_language_models() -> None:
    """Import mmpretrain, which all of mmdet's models import, beside transformers 5.

    Its language models are written for transformers 4: beside 5 their import fails, and with it mmdet's.
    No network of a zoo has one.
    """
    version = distribution_version("transformers")
    if version and int(version.partition(".")[0]) >= 5:
        sys.modules.setdefault("mmpretrain.models.multimodal", ModuleType("mmpretrain.models.multimodal"))


def _print_extra() -> int:
    """For bootstrap.py: the extra of the line in use, or nothing; the error of a mixture."""
    try:
        check_one_line()
    except MissingError as error:
        print(f"error: {error.message}; {error.hint}", file=sys.stderr)
        return int(error.exit_code)
    line = line_in_use()
    print(line.extra if line else "")
    return 0


if __name__ == "__main__":
    sys.exit(_print_extra())
