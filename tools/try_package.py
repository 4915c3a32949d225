"""Build the sdist and the wheel, install the wheel into empty environments, and use it there.

    python tools/try_package.py [--dist FOLDER] [core] [score] [run]

Each environment holds what `requirements/` pins for it and the wheel, nothing else, and every command runs
outside the checkout. `run` needs a Python with bddzoo's `run` extra (CI's own): its installed packages are
linked into the new environment one by one, since PyTorch is too large to install twice. With --dist, what is
in that folder is tried instead of a new build.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from share_torch import link

ROOT = Path(__file__).resolve().parents[1]
MODELS = (
    "demo_semfpn_r18n_sem_seg",
    "demo_semfpn_r18n_drivable",
    "demo_mask_rcnn_r18n_ins_seg",
    "demo_faster_rcnn_r18n_det",
)
CASE = ROOT / "tests" / "data" / "evalcases" / "drivable-a"
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")


class Environment:
    """An environment with the wheel, and a folder to work in."""

    def __init__(self, folder: Path, name: str, dist: Path) -> None:
        self.folder, self.work = folder / name, folder / f"work-{name}"
        self.work.mkdir()
        venv.create(self.folder, with_pip=False, symlinks=True)
        self.python = self.folder / "bin" / "python"
        site = next((self.folder / "lib").glob("python*/site-packages"))
        requirements = ROOT / "requirements" / f"{name}.txt"
        install = [sys.executable, *PIP, "--python", str(self.python), "install", "--no-deps"]
        if name == "run":
            link_packages(requirements, site)
        else:
            pinned = ["--require-hashes", "--only-binary", ":all:", "-r", str(requirements)]
            subprocess.run([*install, *pinned], check=True)
        # pip chooses the wheel of this platform.
        subprocess.run(
            [*install, "--no-index", "--find-links", str(dist), f"bddzoo=={version()}"], check=True
        )

    def bddzoo(self, *arguments: str | Path) -> str:
        """Run a command of the installed wheel outside the checkout; returns what it printed."""
        command = [self.folder / "bin" / "bddzoo", *arguments]
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("BDDZOO_", "PYTHON", "VIRTUAL_ENV"))
        }
        home = {"HOME": str(self.work), "XDG_CACHE_HOME": str(self.work / "cache")}
        print(f"   {' '.join(map(str, ['bddzoo', *arguments]))}", flush=True)
        done = subprocess.run(
            [str(c) for c in command],
            cwd=self.work,
            env={**clean, **home},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"error: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def link_packages(requirements: Path, site: Path) -> None:
    """Link what this Python has of the pinned packages into another environment's folder."""
    for name in re.findall(r"^([A-Za-z0-9][\w.-]*)==", requirements.read_text(), re.MULTILINE):
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform or Python
        link(installed, site)


def version() -> str:
    """The version that the checkout has."""
    return re.findall(r'__version__ = "([^"]+)"', (ROOT / "bddzoo" / "version.py").read_text())[0]


def build(folder: Path) -> None:
    """Make the sdist, and the wheel from it, with the pinned backend of this Python."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def expect(what: str, condition: bool) -> None:
    """Stop unless something holds."""
    if not condition:
        sys.exit(f"error: {what}")


def try_core(environment: Environment) -> None:
    """List, describe, render and fetch from a folder; nothing that computes is installed."""
    printed = environment.bddzoo("--version").split()
    expect("the wheel has another version than the checkout", printed[-1] == version())
    listed = json.loads(environment.bddzoo("list", "--format", "json"))
    expect("models of the demo are missing", set(MODELS) <= {row["id"] for row in listed})
    expect("info does not name its model", MODELS[0] in environment.bddzoo("info", MODELS[0]))
    tables = environment.bddzoo("tables", "--zoo", "demo")
    expect("tables lack a model", all(model in tables for model in MODELS))
    folder = environment.work / "files"
    shutil.copytree(ROOT / "bddzoo" / "demo", folder)
    environment.bddzoo("fetch", *MODELS, "--from", folder, "--verify")
    kept = {path.stat().st_size for path in (environment.work / "cache").rglob("*.pth")}
    expect("the cache lacks weights", kept == {path.stat().st_size for path in folder.glob("*.pth")})


def try_score(environment: Environment) -> None:
    """Score a recorded case; the numbers are the official toolkit's."""
    expected = json.loads((CASE / "expected.json").read_text())["mask"]["nproc1"]["result"]
    case = ("-t", "drivable", "-g", CASE / "gt", "-r", CASE / "pred")
    scores = json.loads(environment.bddzoo("score", *case, "--format", "json"))
    expect("scores differ from the official toolkit's", expected == {key: scores[key] for key in expected})


def try_run(environment: Environment) -> None:
    """The demo: its networks are run and reproduce their numbers, with the files in the wheel."""
    printed = environment.bddzoo("demo", "-o", environment.work / "demo")
    expect("the demo reproduces nothing", printed.count("reproduced") >= len(MODELS))


TRIALS = {"core": try_core, "score": try_score, "run": try_run}


def main() -> int:
    """Build, install and try; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dist", type=Path, help="folder of one sdist and one wheel; default: build them")
    parser.add_argument("environments", nargs="*", metavar="core|score|run", help="default: all")
    options = parser.parse_args()
    if unknown := set(options.environments) - set(TRIALS):
        parser.error(f"no such environment: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="bddzoo-package-") as scratch:
        folder = options.dist or Path(scratch) / "dist"
        if options.dist is None:
            build(folder)
        for path in sorted(folder.iterdir()):
            print(f"   {path.name} {path.stat().st_size / 1e6:.1f} MB", flush=True)
        for name in (n for n in TRIALS if n in (options.environments or TRIALS)):
            start = time.monotonic()
            environment = Environment(Path(scratch), name, folder.resolve())
            TRIALS[name](environment)
            print(f"   {name}: {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
