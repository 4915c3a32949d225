"""The checks behind `bddzoo doctor`: each looks at one thing and says what to do about it."""

from __future__ import annotations

import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.errors import BddzooError, ExitCode

if TYPE_CHECKING:
    from bddzoo.cli.app import App

OK, NOTE, MISSING, BROKEN = "ok", "note", "missing", "broken"

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


def all_checks(app: App, data: Path | None) -> Iterator[Check]:
    """Every check, in the order in which it is shown."""
    yield check_python()
    yield check_registry(app)
    yield check_cache(app)
    yield check_results()
    yield from check_extras()
    yield from check_torch()
    yield from check_engines()
    yield check_opencv()
    yield from check_data(data)


def check_python() -> Check:
    """The interpreter and the machine."""
    from bddzoo import __version__
    from bddzoo.results.environment import cpu_model, usable_cores

    machine = f"{platform.system()} {platform.machine()}, {usable_cores()} cores, {cpu_model()}"
    return Check(
        "python", OK, f"{platform.python_version()} ({sys.executable}), bddzoo {__version__}; {machine}"
    )


def check_registry(app: App) -> Check:
    """The registry loads."""
    try:
        registry = app.registry
    except BddzooError as error:
        return Check("registry", BROKEN, error.message, error.hint or "correct the file", error.exit_code)
    counts: dict[str, int] = {}
    for model in registry.models:
        counts[model.zoo.id] = counts.get(model.zoo.id, 0) + 1
    zoos = ", ".join(f"{zoo} {count}" for zoo, count in counts.items())
    return Check("registry", OK, f"{registry.path}: {len(registry.models)} models ({zoos})")


def check_cache(app: App) -> Check:
    """The cache folder can be written to, and has room."""
    advice = "choose one with --cache DIR or BDDZOO_CACHE"
    try:
        from bddzoo.artifacts import Cache
        from bddzoo.artifacts.disk import format_size, free_bytes

        root = Path(Cache(app.cache_dir).root)
    except BddzooError as error:
        return Check("cache", BROKEN, error.message, error.hint or advice, error.exit_code)
    reason = not_writable(root)
    if reason:
        return Check("cache", BROKEN, f"{root}: {reason}", advice, ExitCode.USAGE)
    free = free_bytes(root)
    found = f"{root}: {format_size(free)} free"
    if free is not None and free < 2 * 10**9:
        return Check("cache", NOTE, found, "the larger weights files have 1 GB: choose a roomier --cache DIR")
    return Check("cache", OK, found)


def check_results() -> Check:
    """Where records go."""
    from bddzoo.results.store import default_root

    root = default_root()
    reason = not_writable(root)
    if reason:
        return Check(
            "results", BROKEN, f"{root}: {reason}", "choose one with --results DIR or BDDZOO_RESULTS"
        )
    return Check("results", OK, str(root))


def check_extras() -> Iterator[Check]:
    """Which optional parts are installed."""
    for extra, needs in extras().items():
        if extra not in EXTRAS_FOR:
            continue
        absent = [name for name in needs if _version(name) is None]
        use = EXTRAS_FOR[extra]
        if absent:
            advice = f"pip install 'bddzoo[{extra}]' for {use}"
            yield Check(f"extra {extra}", MISSING, f"not installed: {', '.join(absent)}", advice)
        else:
            yield Check(f"extra {extra}", OK, use)


def check_torch() -> Iterator[Check]:
    """PyTorch, the GPU, and the operators that the engines use."""
    if _version("torch") is None:
        yield Check("torch", MISSING, "not installed", "pip install 'bddzoo[run]'")
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
                yield Check(name, MISSING, "not installed", "pip install 'bddzoo[run]'")
        elif not _within(version, requirement):
            advice = f"bddzoo was tested with {requirement}: pip install '{name}{requirement}'"
            yield Check(name, NOTE, version, advice)
        else:
            yield Check(name, OK, version)


def check_opencv() -> Check:
    """One OpenCV wheel, not several: they fill the same folder, and the last one wins."""
    wheels = [f"{name} {version}" for name in OPENCV_WHEELS if (version := _version(name))]
    if not wheels:
        return Check("opencv", MISSING, "not installed", "pip install 'bddzoo[score]'")
    if len(wheels) > 1:
        advice = (
            f"pip uninstall {' '.join(w.split()[0] for w in wheels)}, "
            "then pip install --no-deps opencv-python-headless"
        )
        return Check("opencv", NOTE, f"{' and '.join(wheels)} fill the same folder", advice)
    return Check("opencv", OK, wheels[0])


def check_data(root: Path | None) -> Iterator[Check]:
    """A data set's folder: which splits and labels it has; BDD100K's unless it says or looks otherwise."""
    if root is None:
        yield Check(
            "data", NOTE, "no folder given", "bddzoo doctor --data ROOT, or make one: bddzoo data mini"
        )
        return
    from bddzoo.datasets.identity import split_size
    from bddzoo.datasets.layouts import BDD_LAYOUT, guess_dataset, open_layout

    dataset = guess_dataset(root)
    try:
        layout = open_layout(root, dataset)
    except BddzooError as error:
        yield Check("data", MISSING, error.message, error.hint or "", error.exit_code)
        return
    usable = False
    for task in ("sem_seg", "ins_seg") if dataset in BDD_LAYOUT else ("sem_seg",):
        try:
            listing = layout.listing(task, "val", attributes=False)
        except BddzooError as error:
            yield Check(f"data {task}", MISSING, error.message, error.hint or "")
            continue
        usable = True
        count, whole = len(listing.frames), split_size(root, task, "val", dataset)
        found = f"{root}: {count} val images with labels"
        mismatch = listing.mismatch()
        if mismatch:
            yield Check(f"data {task}", NOTE, f"{found}; {mismatch}", "bddzoo data check says more")
        elif whole is not None and count != whole:
            yield Check(
                f"data {task}", NOTE, f"{found}; the data set has {whole}", "numbers are of a partial set"
            )
        else:
            yield Check(f"data {task}", OK, found)
    if not usable:
        yield Check("data", MISSING, f"{root}: nothing to evaluate on", "", ExitCode.MISSING)


def not_writable(folder: Path) -> str | None:
    """Why files cannot be made in a folder that may not exist yet, or None."""
    try:
        for place in (folder, *folder.parents):
            if place.exists():
                if not place.is_dir():
                    return f"{place} is not a folder"
                # A file that has no name from the start: nothing is left, and no access bits are trusted.
                with tempfile.TemporaryFile(dir=place):
                    return None
    except OSError as error:
        return f"cannot write there: {error.strerror or error}"
    return "no such place"


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
