"""Which optional parts are installed and work: extras, torch, the engines' packages, OpenCV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from bddzoo.cli.finding import BROKEN, MISSING, NOTE, OK, Check
from bddzoo.errors import install_hint

# Engines and what they lean on, in the order they are shown.
ENGINE_PACKAGES = ("torchvision", "mmengine", "mmcv", "mmcv-lite", "mmsegmentation", "mmdet", "mmpretrain")
OPENCV_WHEELS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
EXTRAS_FOR = {
    "score": "scoring predictions",
    "run": "running networks: eval, predict, demo",
    "edit": "editing registry.yaml with its comments kept",
    "oracle": "the official toolkit, to compare scores with",
    "ray": "sweeps over several machines",
}


def check_extras() -> Iterator[Check]:
    """Which optional parts are installed."""
    for extra, needs in extras().items():
        if extra not in EXTRAS_FOR:
            continue
        absent = [name for name in needs if _version(name) is None]
        use = EXTRAS_FOR[extra]
        if absent:
            advice = f"for {use}: {install_hint(extra)}"
            yield Check(f"extra {extra}", MISSING, f"not installed: {', '.join(absent)}", advice)
        else:
            yield Check(f"extra {extra}", OK, use)


def check_torch() -> Iterator[Check]:
    """PyTorch, the GPU, and the operators that the engines use."""
    if _version("torch") is None:
        yield Check("torch", MISSING, "not installed", install_hint("run"))
        return
    from bddzoo.cli.probe import probe

    found = probe()
    errors: dict[str, str] = found.get("errors", {})
    if "torch" in errors:
        yield Check("torch", BROKEN, errors["torch"], "install torch anew: see pytorch.org for this machine")
        return
    built = f"built for CUDA {found['cuda']}" if found.get("cuda") else "built for CPU only"
    yield Check("torch", OK, f"{found['torch']}, {built}, {found.get('threads')} threads")
    yield _gpu(found, errors)
    ops: dict[str, str] = found.get("ops", {})
    unusable = {name: text for name, text in ops.items() if text.startswith("unusable")}
    if "ops" in errors or unusable:
        reason = errors.get("ops") or "; ".join(dict.fromkeys(unusable.values()))
        yield Check("operators", BROKEN, reason, "install a torchvision that was made for this torch")
    else:
        yield Check("operators", OK, ", ".join(f"{name}: {text}" for name, text in ops.items()))


def check_engines() -> Iterator[Check]:
    """Versions of what the engines lean on, and whether they are in the supported range."""
    needs = extras().get("run", {})
    for name in ENGINE_PACKAGES:
        version, requirement = _version(name), needs.get(name, "")
        if version is None:
            if name in needs:
                yield Check(name, MISSING, "not installed", install_hint("run"))
        elif not _within(version, requirement):
            advice = f"bddzoo was tested with {requirement}: pip install '{name}{requirement}'"
            yield Check(name, NOTE, version, advice)
        else:
            yield Check(name, OK, version)


def check_opencv() -> Check:
    """One OpenCV wheel, not several: they fill the same folder, and the last one wins."""
    wheels = [f"{name} {version}" for name in OPENCV_WHEELS if (version := _version(name))]
    if not wheels:
        return Check("opencv", MISSING, "not installed", install_hint("score"))
    if len(wheels) > 1:
        advice = (
            f"pip uninstall {' '.join(w.split()[0] for w in wheels)}, "
            "then pip install --no-deps opencv-python-headless"
        )
        return Check("opencv", NOTE, f"{' and '.join(wheels)} fill the same folder", advice)
    return Check("opencv", OK, wheels[0])


def extras() -> dict[str, dict[str, str]]:
    """Extras of this package: name to its distributions and their version ranges.

    Read from the installed metadata, so that pyproject.toml stays the only list.
    """
    try:
        lines = metadata.requires("bddzoo") or []
    except metadata.PackageNotFoundError:
        return {}
    direct: dict[str, dict[str, str]] = {}
    includes: dict[str, list[str]] = {}
    for line in lines:
        found = _REQUIREMENT.match(line)
        if not found or not found["extra"]:
            continue
        needs = direct.setdefault(found["extra"], {})
        if found["name"] == "bddzoo":
            includes[found["extra"]] = (found["of"] or "").split(",")
        else:
            needs[found["name"]] = (found["range"] or "").strip()
    for extra, others in includes.items():
        for other in others:
            direct[extra] = {**direct.get(other.strip(), {}), **direct[extra]}
    return direct


_REQUIREMENT = re.compile(
    r"""(?P<name>[A-Za-z0-9._-]+) (?:\[(?P<of>[^\]]*)\])? \s* \(?(?P<range>[^;)]*)\)? \s*
    (?:; .* extra \s* == \s* ["'](?P<extra>[^"']+)["'].*)?$""",
    re.VERBOSE,
)


def _gpu(found: dict[str, Any], errors: dict[str, str]) -> Check:
    if "gpu" in errors:
        return Check(
            "gpu", BROKEN, errors["gpu"], "check the driver with nvidia-smi; --device cpu works meanwhile"
        )
    gpus = found.get("gpus") or []
    if gpus:
        names = ", ".join(f"{gpu['name']} ({gpu['memory_bytes'] / 2**30:.0f} GiB)" for gpu in gpus)
        return Check("gpu", OK, names)
    if found.get("cuda"):
        return Check("gpu", NOTE, "none visible", "networks run on the CPU; for a GPU check nvidia-smi")
    return Check("gpu", NOTE, "none usable: torch is built for the CPU", "networks run on the CPU")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _within(version: str, requirement: str) -> bool:
    if not requirement:
        return True
    try:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet
    except ImportError:
        return True
    try:
        return SpecifierSet(requirement).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True
