"""Which optional parts are installed and work, and what torch sees on this machine.

A torch or a driver that does not work may raise, hang or take the process down; `bddzoo doctor` must survive
all three and say which, so torch is imported in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from bddzoo.engines.openmmlab import (
    LINES,
    ONEDL,
    OPENMMLAB,
    check_one_line,
    distribution_version,
    install_engines_hint,
    installed_packages,
    line_in_use,
)
from bddzoo.errors import ExitCode, MissingError, install_hint

TIMEOUT_S = 180


def probe(timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Import torch and the engines' operators in a subprocess and report what they are.

    Returns:
        `torch`: its version; `cuda`: the version it was built for, or None; `gpus`: their names with memory
        in bytes; `threads`; `ops`: operator to implementation; `errors`: part to reason, for every part that
        does not work; `mmcv`: why a compiled mmcv is not used, or None.
    """
    command = [sys.executable, "-m", "bddzoo.cli.installed"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return {"errors": {"torch": f"importing torch took longer than {timeout_s:.0f} s"}}
    except OSError as error:
        return {"errors": {"torch": f"cannot start Python: {error}"}}
    with contextlib.suppress(json.JSONDecodeError, IndexError):
        found = json.loads(done.stdout.splitlines()[-1])
        if isinstance(found, dict):
            return found
    said = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return {"errors": {"torch": f"the process died with status {done.returncode}: {said}"}}


def look() -> dict[str, Any]:
    """What `probe` reports, in this process."""
    found: dict[str, Any] = {"errors": {}}
    errors: dict[str, str] = found["errors"]
    try:
        import torch

        found["torch"] = str(torch.__version__)
        found["cuda"] = torch.version.cuda
        found["threads"] = torch.get_num_threads()
    except Exception as error:  # whatever a broken installation raises is what the user must see
        errors["torch"] = _line(error)
        return found
    try:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        properties = [torch.cuda.get_device_properties(i) for i in range(count)]
        found["gpus"] = [{"name": p.name, "memory_bytes": p.total_memory} for p in properties]
    except Exception as error:
        errors["gpu"] = _line(error)
    try:
        from bddzoo.engines.ops import ops_in_use, warn_of_mmcv

        found["ops"], found["mmcv"] = ops_in_use(), warn_of_mmcv()
    except Exception as error:
        errors["ops"] = _line(error)
    return found


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


if __name__ == "__main__":
    print(json.dumps(look()))


OK, NOTE, MISSING, BROKEN = "ok", "note", "missing", "broken"


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        state: `ok`, `note` (works, but), `missing` or `broken`.
        found: What was found.
        advice: What to do about it; empty where nothing is to be done.
        exit_code: Not 0 where `list` and `fetch`, or what was explicitly asked about, cannot work.
    """

    name: str
    state: str
    found: str
    advice: str = ""
    exit_code: ExitCode = ExitCode.OK


OPENCV_WHEELS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
EXTRAS_FOR = {
    "score": "scoring predictions",
    **{line.extra: f"running networks: eval, predict, demo; {line.name} packages" for line in LINES},
    "onnx": "files for other programs, and ONNX Runtime on a CPU ('bddzoo bench MODEL --runtime "
    "eager,onnxruntime' says whether it is faster there)",
    "openvino": "the same with OpenVINO",
    "fast": "labels are decoded faster",
    "plots": "bddzoo plot",
    "site": "bddzoo site build",
    "remote": "sources such as s3:// and hf://",
    "oracle": "the official toolkit, to compare scores with",
    "ray": "sweeps over several machines",
}


def check_extras() -> Iterator[Check]:
    """Which optional parts are installed; of the two that run networks the one that is in use."""
    engines = (line_in_use() or OPENMMLAB).extra
    for extra, needs in extras().items():
        if extra not in EXTRAS_FOR or (extra in _ENGINE_EXTRAS and extra != engines):
            continue
        absent = [name for name in needs if not _is_provided(name)]
        use = EXTRAS_FOR[extra]
        if absent:
            advice = f"for {use}: {install_hint(extra)}"
            yield Check(f"extra {extra}", MISSING, f"not installed: {', '.join(absent)}", advice)
        else:
            yield Check(f"extra {extra}", OK, use)


_ENGINE_EXTRAS = tuple(line.extra for line in LINES)


def _is_provided(name: str) -> bool:
    """Whether a distribution, or another one of the same line with the same import name, is installed."""
    same = (names for line in LINES for names in line.packages.values() if name in names)
    return any(distribution_version(other) is not None for other in next(same, (name,)))


def check_torch() -> Iterator[Check]:
    """PyTorch, the GPU, and the operators that the engines use."""
    if distribution_version("torch") is None:
        yield Check("torch", MISSING, "not installed", install_engines_hint())
        return
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
        return
    shown = ", ".join(f"{name}: {text.partition(' (')[0]}" for name, text in ops.items())
    if warning := found.get("mmcv"):
        yield Check("operators", NOTE, f"{shown}; {warning}", "compile mmcv for this torch, or uninstall it")
    else:
        yield Check("operators", OK, shown)


def check_engines() -> Iterator[Check]:
    """Which line of OpenMMLab's libraries is installed, whether it is whole, and in the supported range."""
    yield _version_check("torchvision", extras().get(OPENMMLAB.extra, {}))
    line = line_in_use() or OPENMMLAB
    needs = extras().get(line.extra, {})
    try:
        check_one_line()
    except MissingError as error:
        yield Check("libraries", BROKEN, error.message, error.hint or "")
        for one in LINES:
            for versions in installed_packages(one).values():
                yield from (Check(name, NOTE, version, "see libraries") for name, version in versions.items())
        return
    if line_in_use() is not None:
        yield Check("libraries", OK, f"{line.name} packages, {'' if line is ONEDL else 'not '}maintained")
    found = installed_packages(line)
    for package, names in line.packages.items():
        for name in found.get(package, {}):
            yield _version_check(name, needs)
        where = find_spec(package)
        if package in found and where is None:
            name, version = next(iter(found[package].items()))
            advice = f"pip install --force-reinstall --no-deps {name}=={version}"
            yield Check(package, BROKEN, f"the files of {name} {version} are gone", advice)
        elif package not in found and where is not None:
            yield Check(package, OK, f"{where.origin or package}, of no installed distribution")
        elif package not in found:
            yield Check(
                next((n for n in names if n in needs), names[0]),
                MISSING,
                "not installed",
                install_engines_hint(),
            )


def _version_check(name: str, needs: dict[str, str]) -> Check:
    version, requirement = distribution_version(name), needs.get(name, "")
    if version is None:
        return Check(name, MISSING, "not installed", install_engines_hint())
    if _within(version, requirement):
        return Check(name, OK, version)
    advice = f"bddzoo was tested with {requirement}: pip install '{name}{requirement}'"
    return Check(name, NOTE, version, advice)


def check_opencv() -> Check:
    """One OpenCV wheel, not several: they fill the same folder, and the last one wins."""
    wheels = [f"{name} {version}" for name in OPENCV_WHEELS if (version := distribution_version(name))]
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
