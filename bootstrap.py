"""From a fresh clone to a running bddzoo in one line: `python3 bootstrap.py demo` (or `test`).

Makes a virtual environment in `.venv`, installs bddzoo with the versions pinned in `constraints.txt`,
and runs the command. Needs Python 3.10 or newer with pip, and nothing else; a second run skips what is
done already.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = Path(os.environ.get("BDDZOO_VENV", HERE / ".venv"))
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
EXTRAS = {"demo": "run", "test": "dev", "install": "dev"}


def pip(*args: str) -> None:
    """Run pip in the virtual environment, quietly."""
    subprocess.run([str(PYTHON), "-m", "pip", "--disable-pip-version-check", *args], check=True)


def install(extra: str) -> None:
    """Install the project, editable, with one extra, unless the same was installed before."""
    inputs = [HERE / "pyproject.toml", HERE / "constraints.txt"]
    state = hashlib.sha256(b"".join(p.read_bytes() for p in inputs) + sys.version.encode()).hexdigest()
    # `dev` holds all that `run` holds.
    stamps = [VENV / f"bddzoo-{e}-{state}" for e in dict.fromkeys([extra, "dev"])]
    if PYTHON.exists() and any(s.exists() for s in stamps):
        return
    print(
        f"installing bddzoo[{extra}] into {VENV} (PyTorch is large: this takes a minute or more) ...",
        flush=True,
    )
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    constraints = ["-c", str(HERE / "constraints.txt")]
    pip("install", "--quiet", *constraints, "-e", f"{HERE}[{extra}]")
    # mmengine asks for opencv-python, which needs a display's libraries, and both wheels fill the same
    # folder: let the headless one have the last word.
    pip("uninstall", "--quiet", "--yes", "opencv-python", "opencv-python-headless")
    pip("install", "--quiet", "--no-deps", *constraints, "opencv-python-headless")
    stamps[0].touch()


def main() -> int:
    """Install and run; returns the exit status of what was run."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command not in EXTRAS or sys.version_info < (3, 10):
        print(
            f"usage: {Path(sys.argv[0]).name} demo|test|install [ARGS...]   (Python 3.10 or newer)",
            file=sys.stderr,
        )
        return 2
    try:
        install(EXTRAS[command])
    except subprocess.CalledProcessError as error:
        print(f"error: installation failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    run = {
        "demo": ["-m", "bddzoo", "demo"],
        # A file's tests stay together, for what they share; a worker holds PyTorch, which takes memory.
        "test": ["-m", "pytest", "-n", "logical", "--maxprocesses", "8", "--dist", "loadfile"],
        "install": ["-m", "bddzoo", "doctor"],
    }[command]
    try:
        where = HERE if command == "test" else None
        return subprocess.run([str(PYTHON), *run, *sys.argv[2:]], cwd=where, check=False).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
