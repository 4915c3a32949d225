"""Write `constraints.txt`: the versions that pip picks today, for several Pythons.

    python tools/pin_constraints.py python3.10 python3.13

Each interpreter resolves the project on its own (`pip install --dry-run`, nothing is installed): `.[dev]`,
and after it, bound to the same versions, the other line of OpenMMLab's libraries, which cannot be installed
together with it. A version that all agree on is written plainly; one that differs gets a marker on the
Python version.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("dev", "run-onedl")
HEADER = """\
# The versions that bddzoo was tested with; written by tools/pin_constraints.py, do not edit by hand.
# torch and torchvision belong together: a pair from different builds may fail to load its operators.
"""


def resolve(python: str) -> tuple[tuple[int, int], dict[str, str]]:
    """What pip would install for `EXTRAS` with that interpreter: (major, minor) and name -> version."""
    with tempfile.TemporaryDirectory() as folder:
        venv, report, pins = Path(folder, "venv"), Path(folder, "report.json"), Path(folder, "pins.txt")
        subprocess.run([python, "-m", "venv", str(venv)], check=True)
        interpreter = str(venv / "bin" / "python")
        command = [interpreter, "-m", "pip", "install", "--quiet", "--dry-run", "--report", str(report)]
        versions: dict[str, str] = {}
        for extra in EXTRAS:
            pins.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
            subprocess.run([*command, "-c", str(pins), f"{ROOT}[{extra}]"], check=True)
            for item in json.loads(report.read_text())["install"]:
                versions[item["metadata"]["name"].lower().replace("_", "-")] = item["metadata"]["version"]
            versions.pop("bddzoo", None)
        code = "import sys; print(*sys.version_info[:2])"
        text = subprocess.run([interpreter, "-c", code], check=True, capture_output=True, text=True).stdout
        major, minor = map(int, text.split())
    return (major, minor), versions


def merge(resolved: dict[tuple[int, int], dict[str, str]]) -> list[str]:
    """Lines of the constraints file; each Python's versions hold until the next listed Python."""
    pythons = sorted(resolved)
    lines = []
    for name in sorted({n for versions in resolved.values() for n in versions}):
        versions = [resolved[p].get(name) for p in pythons]
        if len({v for v in versions if v}) == 1:
            lines.append(f"{name}=={next(v for v in versions if v)}")
            continue
        for i, version in enumerate(versions):
            if version is None:
                continue
            bounds = [f'python_version >= "{pythons[i][0]}.{pythons[i][1]}"'] if i else []
            if i + 1 < len(pythons):
                bounds.append(f'python_version < "{pythons[i + 1][0]}.{pythons[i + 1][1]}"')
            lines.append(f"{name}=={version}; {' and '.join(bounds)}")
    return lines


def usable(python: str) -> bool:
    """Whether the interpreter is there and starts; a shim of a version manager may be there and not start."""
    try:
        return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def main() -> None:
    """Resolve for every interpreter named on the command line and write the file."""
    pythons = sys.argv[1:]
    bad = [python for python in pythons if not usable(python)]
    if not pythons or bad:
        what = f"cannot run {', '.join(bad)}" if bad else "no interpreter is named"
        sys.exit(f"error: {what}; usage: python tools/pin_constraints.py PYTHON...")
    resolved = {}
    for python in pythons:
        try:
            version, versions = resolve(python)
        except subprocess.CalledProcessError as error:
            sys.exit(f"error: {python} cannot resolve the project: status {error.returncode}, see above")
        if version in resolved:
            sys.exit(f"error: {python} is Python {version[0]}.{version[1]} again")
        resolved[version] = versions
        print(f"Python {version[0]}.{version[1]}: {len(versions)} packages", file=sys.stderr)
    target = ROOT / "constraints.txt"
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_text(HEADER + "\n".join(merge(resolved)) + "\n")
    fresh.replace(target)


if __name__ == "__main__":
    main()
