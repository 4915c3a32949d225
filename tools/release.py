"""Prepare and check a release.

    python tools/release.py prepare 0.2.0    # version, changelog, citation, hints: one commit to review
    python tools/release.py check [v0.2.0]   # whether they agree; with a tag, whether that release is ready
    python tools/release.py notes            # the changelog of the newest release

The version stands in `bddzoo/version.py`; the build reads it from there. Pushing a tag does the rest
(.github/workflows/release.yml).
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION_FILE, ERRORS = Path("bddzoo/version.py"), Path("bddzoo/errors.py")
CHANGELOG, CITATION = Path("CHANGELOG.md"), Path("CITATION.cff")
VERSION = re.compile(r'^__version__ = "(?P<version>[^"]+)"$', re.MULTILINE)
CITED = re.compile(r"^version: (?P<version>\S+)$", re.MULTILINE)
ON_PYPI = re.compile(r"^ON_PYPI = (?P<value>True|False)$", re.MULTILINE)
RELEASE = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+((a|b|rc)[0-9]+)?")
SECTION = re.compile(r"^## (?P<title>.+)\n(?P<text>(?:(?!## ).*\n?)*)", re.MULTILINE)
# What the documents say until the first release, and what afterwards.
TURNED = (
    (re.compile(r"pip install '\.\[([\w,-]+)\]'"), r"pip install 'bddzoo[\1]'"),
    (re.compile(r"pip install \. "), "pip install bddzoo "),
    (re.compile(r"(an environment of your own), in a clone:"), r"\1:"),
)


def turn_over(text: str) -> str:
    """A document's installation commands as they are once PyPI has bddzoo."""
    for before, after in TURNED:
        text = before.sub(after, text)
    return text


def documents(root: Path) -> Iterator[Path]:
    """What people read: README and the pages."""
    yield root / "README.md"
    yield from sorted((root / "docs").rglob("*.md"))


def sections(root: Path) -> dict[str, str]:
    """The changelog: title of a section, such as `0.1.0 - 2026-12-01` or `Unreleased`, to its text."""
    found = SECTION.finditer((root / CHANGELOG).read_text())
    return {section["title"].strip(): section["text"].strip() for section in found}


def released(root: Path) -> dict[str, str]:
    """The changelog's releases, newest first: version to its text."""
    return {t.split(" - ")[0]: text for t, text in sections(root).items() if t != "Unreleased"}


def version_of(root: Path) -> str:
    """The version in bddzoo/version.py."""
    return _find(VERSION, root / VERSION_FILE)["version"]


def problems(root: Path, tag: str | None = None) -> list[str]:
    """What does not agree; with a tag, also what is missing for that release."""
    version, cited = version_of(root), _find(CITED, root / CITATION)["version"]
    on_pypi = _find(ON_PYPI, root / ERRORS)["value"] == "True"
    changes, unreleased = released(root), sections(root).get("Unreleased")
    found = []
    if not RELEASE.fullmatch(version):
        found.append(f"{VERSION_FILE}: {version} is not a version such as 1.2.0 or 1.2.0rc1")
    if cited != version:
        found.append(f"{CITATION}: version {cited}, but {VERSION_FILE} says {version}")
    if changes and next(iter(changes)) != version:
        found.append(
            f"{CHANGELOG}: the newest release is {next(iter(changes))}, {VERSION_FILE} says {version}"
        )
    if unreleased is None and version not in changes:
        found.append(f"{CHANGELOG}: neither a section {version} nor Unreleased")
    for title in sections(root):
        if title != "Unreleased" and not re.fullmatch(rf"{RELEASE.pattern} - \d{{4}}-\d\d-\d\d", title):
            found.append(f"{CHANGELOG}: '## {title}' is not '## VERSION - YYYY-MM-DD'")
    if bool(changes) != on_pypi:
        found.append(f"{ERRORS}: ON_PYPI is {on_pypi}, but {CHANGELOG} has {len(changes)} releases")
    for path in documents(root):
        text = path.read_text()
        if on_pypi and turn_over(text) != text:
            found.append(f"{path.relative_to(root)}: installs from a clone what PyPI has")
        elif not on_pypi and re.search(r"pip install '?bddzoo", text):
            found.append(f"{path.relative_to(root)}: installs from PyPI what is not there yet")
    if tag is not None:
        if tag != f"v{version}":
            found.append(f"tag {tag}: {VERSION_FILE} says {version}")
        if not changes.get(version):
            found.append(f"{CHANGELOG}: nothing is said about {version}")
        if unreleased:
            found.append(f"{CHANGELOG}: something is still Unreleased")
    return found


def prepare(root: Path, version: str) -> None:
    """Turn the unreleased changes into a release.

    Raises:
        ValueError: The version makes no sense, or there is nothing to release.
    """
    if not RELEASE.fullmatch(version):
        raise ValueError(f"{version} is not a version such as 1.2.0 or 1.2.0rc1")
    if version in released(root):
        raise ValueError(f"{CHANGELOG} has {version} already")
    if not sections(root).get("Unreleased"):
        raise ValueError(f"{CHANGELOG} has nothing under Unreleased")
    today = datetime.datetime.now(datetime.timezone.utc).date()
    _replace(root / VERSION_FILE, VERSION, f'__version__ = "{version}"')
    _replace(root / CITATION, CITED, f"version: {version}")
    _replace(root / ERRORS, ON_PYPI, "ON_PYPI = True")
    heading = re.compile(r"^## Unreleased$", re.MULTILINE)
    _replace(root / CHANGELOG, heading, f"## Unreleased\n\n## {version} - {today}")
    for path in documents(root):
        path.write_text(turn_over(path.read_text()))


def _find(pattern: re.Pattern[str], path: Path) -> re.Match[str]:
    found = pattern.search(path.read_text())
    if found is None:
        raise ValueError(f"{path} has no line like {pattern.pattern}")
    return found


def _replace(path: Path, pattern: re.Pattern[str], line: str) -> None:
    _find(pattern, path)
    path.write_text(pattern.sub(line, path.read_text(), count=1))


def main() -> int:
    """Run what the command line asks for; returns the exit status."""
    command, *rest = sys.argv[1:] or [""]
    try:
        if command == "check" and len(rest) < 2:
            found = problems(ROOT, *rest)
            print("\n".join(found) or f"{version_of(ROOT)}: version, changelog, citation and hints agree")
            return 1 if found else 0
        if command == "prepare" and len(rest) == 1:
            prepare(ROOT, rest[0])
            subprocess.run(["git", "diff", "--stat"], cwd=ROOT, check=False)
            return 0
        if command == "notes" and not rest:
            print(released(ROOT)[version_of(ROOT)])
            return 0
    except (ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("usage: release.py prepare VERSION | check [TAG] | notes", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
