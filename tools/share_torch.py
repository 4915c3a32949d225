"""Make an empty environment that shares this one's PyTorch, which takes minutes and gigabytes to install.

    python tools/share_torch.py FOLDER

A virtual environment in FOLDER, with links to torch, torchvision and what they need. pip finds these
installed and, as they are outside of the environment, never changes them; all else is installed as usual:
the second line of OpenMMLab's libraries, for instance, which must not share an environment with the first.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

SHARED = ("torch", "torchvision")


def needed(names: tuple[str, ...]) -> dict[str, metadata.Distribution]:
    """These distributions and all that they require, as far as it is installed; extras left out."""
    found: dict[str, metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # of another platform
        for line in found[name].requires or ():
            if "extra ==" not in line and (match := re.match(r"[A-Za-z0-9._-]+", line)):
                waiting.append(match[0])
    return found


def link(distribution: metadata.Distribution, target: Path) -> None:
    """Link a distribution's folders and modules into `target`."""
    root = Path(str(distribution.locate_file("")))
    tops = {file.parts[0] for file in distribution.files or () if ".." not in file.parts}
    for top in tops - {"__pycache__"}:
        if not top.endswith(".pth") and (root / top).exists() and not (target / top).exists():
            (target / top).symlink_to((root / top).resolve(), target_is_directory=(root / top).is_dir())


def main() -> None:
    """Make the environment named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/share_torch.py FOLDER")
    folder = Path(sys.argv[1]).absolute()
    if folder.exists():
        sys.exit(f"error: {folder} exists already; remove it first")
    distributions = needed(SHARED)
    if missing := [name for name in SHARED if name not in distributions]:
        sys.exit(f"error: {', '.join(missing)} is not installed for {sys.executable}")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    links = folder / "shared"
    links.mkdir()
    for distribution in distributions.values():
        link(distribution, links)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    site = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout
    (Path(site.strip()) / "shared.pth").write_text(f"{links}\n")
    print(f"{folder}: shares {', '.join(f'{d.name} {d.version}' for d in distributions.values())}")


if __name__ == "__main__":
    main()
