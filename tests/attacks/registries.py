"""Hostile registries, documents, bundles, configs and digest files."""

# ruff: noqa: E501 - a hostile thing a line
from __future__ import annotations

import json
import os
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.attacks.harness import OUTSIDE, Attack
from tests.attacks.labels import WORDS

TABLE = "| Backbone | mIoU-val |\n| - | - |\n| a | 1 |\n"
# The time that each of these takes must grow with its length, not with its square.
LONG = {
    "heading": "# x " + "#" * 300_000 + "x\n" + TABLE,
    "headings": "# x\n" * 60_000 + TABLE,
    "spaces": "#" + " " * 300_000 + "x\n" + TABLE,
    "item": "- " + "a " * 200_000 + "(\n\n" + TABLE,
    "items": "- a (b)\n" * 60_000 + TABLE,
    "code": "### M\n\n" + "[[a](" * 60_000 + "\n" + TABLE,
    "code spaces": "### M\n\n" + "[[a](" + "x" * 300_000 + "\n" + TABLE,
    "authors": "### M\n\nAuthors: " + "[a](b, " * 40_000 + "\n\n" + TABLE,
    "author brackets": "### M\n\nAuthors: " + "[\\[" * 60_000 + "\n\n" + TABLE,
    "paper": "### M\n\n[" + "\\]" * 100_000 + "](" + ")" * 100_000 + " x\n\n" + TABLE,
    "cell": TABLE.replace("a", "[\\[" * 60_000),
    "cell links": TABLE.replace("a", "[a](" * 60_000),
    "cell parentheses": TABLE.replace("a", "[a](" + "(x)" * 60_000),
    "column": TABLE.replace("mIoU-val", "x" + " " * 200_000 + "y"),
    "column dashes": TABLE.replace("mIoU-val", "x" + "-" * 200_000 + "y"),
    "rule": "| a |\n|" + " -" * 100_000 + "\n",
    "columns": "|" + "".join(f" c{i} |" for i in range(5000)) + "\n|" + " - |" * 5000 + "\n|" + " 1 |" * 5000,
    "rows": "| Backbone | mIoU-val |\n| - | - |\n" + "".join(f"| a{i} | 1 |\n" for i in range(30_000)),
    "bars": "|" * 300_000 + "\n" + "|" * 300_000 + "\n",
    "fences": "```\n" * 100_001 + TABLE,
    "tables": TABLE * 5000,
    "number": TABLE.replace("1", "9" * 300_000),
    "markers": "<!-- bddzoo:tables " + "-->" * 100_000 + "x\n" + TABLE,
    "many markers": "<!-- bddzoo:tables -->\n" * 20_000 + TABLE,
    "comments": "<!--" * 200_000 + TABLE,
}


def attacks(folder: Path) -> Iterator[Attack]:
    """Every hostile file in every command that reads it."""
    inputs = folder / "inputs"
    for name, path in _registries(inputs):
        size = path.stat().st_size if path.is_file() else 0
        for command in (
            ("list",), ("info", "m"), ("info", "m", "--bibtex"), ("tables",), ("registry", "check"), ("registry", "lint"),
            ("fetch", "m", "--dry-run"), ("list", "--format", "json"), ("list", "--format", "md"),
            ("registry", "add", "n", "--like", "m", "--dry-run"), ("site", "build", "-o", folder / "site", "--force"),
            ("check", "m", "--offline", "--format", "github"), ("sweep", "m", "--data", inputs, "--print-slurm"),
        ):  # fmt: skip
            yield Attack(
                f"registry {name}", ("--registry", path, *command), size_bytes=size, torch="check" in command
            )
    for name, path in _documents(inputs):
        size = path.stat().st_size if path.is_file() else 0
        yield Attack(f"document {name}", ("registry", "import", path, "--zoo", "z"), size_bytes=size)
        command = ("check", "demo", "--link", "registry", "--document", path, "--offline")
        yield Attack(f"document {name}", command, size_bytes=size, torch=True)
        yield Attack(f"document {name}", ("tables", "--check", "-o", path), size_bytes=size)
    for name, path in _bundles(inputs):
        size = path.stat().st_size if path.is_file() else 0
        yield Attack(f"bundle {name}", ("cache", "import", path), size_bytes=size)
        demo = "demo_semfpn_r18n_sem_seg"
        yield Attack(f"bundle {name}", ("fetch", demo, "--from", path, "--offline"), size_bytes=size)
        yield Attack(f"bundle {name}", ("adopt", path), size_bytes=size)
    for special in ("/dev/zero", "/dev/null", str(inputs / "pipe"), str(inputs)):
        yield Attack(f"adopt {special}", ("adopt", special))
        yield Attack(f"import {special}", ("cache", "import", special))


def _registry(word: Any = None, field: str = "") -> str:
    """A registry as JSON, which is YAML, with a word in one of its fields."""
    row: dict[str, Any] = {
        "id": "m",
        "backbone": "R",
        "artifacts": {"weights": {"sources": ["http://127.0.0.1:9/m.pth"]}},
    }
    method: dict[str, Any] = {"name": "M", "models": [row]}
    zoo: dict[str, Any] = {"id": "z", "title": "Z", "tasks": {"sem_seg": {"methods": [method]}}}
    places: dict[str, tuple[dict[str, Any], str, Any]] = {
        "id": (row, "id", word), "backbone": (row, "backbone", word), "notes": (row, "notes", [word]),
        "settings": (row, "settings", {"Iters": word}), "title": (zoo, "title", word), "zoo": (zoo, "id", word),
        "url": (zoo, "url", word), "method": (method, "name", word), "venue": (method, "venue", word),
        "caption": (method, "caption", word), "commit": (row, "commit", word),
        "source": (row["artifacts"]["weights"], "sources", [word]), "file": (row["artifacts"]["weights"], "name", word),
        "digest": (row["artifacts"]["weights"], "digests", [word]), "size": (row["artifacts"]["weights"], "size", word),
        "number": (row, "reported", {"val": {"mIoU": word}}), "unknown key": (row, str(word), 1),
    }  # fmt: skip
    if field:
        holder, key, value = places[field]
        holder[key] = value
    return json.dumps({"schema": 1, "zoos": [zoo]}, indent=1)


FIELDS = ("id", "backbone", "notes", "settings", "title", "zoo", "url", "method", "venue", "caption", "commit",
          "source", "file", "digest", "size", "number", "unknown key")  # fmt: skip


def _registries(folder: Path) -> Iterator[tuple[str, Path]]:
    texts: dict[str, bytes] = {"good": _registry().encode()}
    for field in FIELDS:
        for name, word in WORDS.items():
            if name != "longest" or field in ("notes", "id"):
                texts[f"{field} {name}"] = _registry(word, field).encode("utf-8", "surrogatepass")
    texts |= {
        "noise": random.Random(8).randbytes(50_000),
        "zeros": bytes(1_000_000),
        "nothing": b"",
        "deep": b"[" * 500_000,
        "deep block": b"".join(b" " * i + b"a:\n" for i in range(3000)),
        "alias": b"a: &a [x]\nb: *a\n",
        "laugh": b"a: &a [x,x]\n" + b"".join(b"%c: &%c [*%c,*%c]\n" % (i + 1, i + 1, i, i) for i in range(97, 120)),
        "tag": b"!!python/object/apply:os.system ['touch executed']\n",
        "exponent": b"schema: 1e999999999\n",
        "keys": b"".join(b"k%d: 1\n" % i for i in range(300_000)),
        "long line": b"schema: " + b"x" * 10_000_000,
        "documents": b"---\n" * 100_000,
        "rows": json.dumps({**json.loads(_registry()), "zoos": [{"id": "z", "title": "Z", "tasks": {"sem_seg": {"methods": [
            {"name": "M", "models": [{"id": f"m{i}", "backbone": "R"} for i in range(20_000)]}]}}}]}).encode(),
    }  # fmt: skip
    for name, text in texts.items():
        path = folder / f"r {name}.yaml"
        path.write_bytes(text)
        yield name, path
    yield from _special(folder)


def _special(folder: Path) -> Iterator[tuple[str, Path]]:
    if not (folder / "pipe").exists():
        os.mkfifo(folder / "pipe")
    yield "pipe", folder / "pipe"
    yield "/dev/zero", Path("/dev/zero")
    yield "/dev/null", Path("/dev/null")


def _documents(folder: Path) -> Iterator[tuple[str, Path]]:
    for name, text in LONG.items():
        path = folder / f"d {name}.md"
        path.write_text(text)
        yield name, path
    for name, word in WORDS.items():
        path = folder / f"d word {name}.md"
        text = f"## {word}\n\n[{word}]({word})\n\nAuthors: {word}\n\n" + TABLE.replace(
            "a", f"[{word}]({word})"
        )
        path.write_text(text + TABLE.replace("1", str(word)), errors="surrogatepass")
        yield f"word {name}", path
    path = folder / "d noise.md"
    path.write_bytes(random.Random(9).randbytes(100_000))
    yield "noise", path
    yield from _special(folder)


def _bundles(folder: Path) -> Iterator[tuple[str, Path]]:
    row = {"model": "demo_semfpn_r18n_sem_seg", "kind": "weights", "name": "w.pth", "member": "files/w.pth",
           "sha256": "0" * 64, "md5": "0" * 32, "size_bytes": 3}  # fmt: skip
    manifests: dict[str, Any] = {"noise": "x", "list": [], "deep": None}
    for field in row:
        for name, word in WORDS.items():
            if name != "longest":
                manifests[f"{field} {name}"] = {"schema": 1, "files": [{**row, field: word}]}
    for name, manifest in manifests.items():
        path = folder / f"b {name}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            text = "[" * 300_000 if manifest is None else json.dumps(manifest)
            archive.writestr("bddzoo-bundle.json", text)
            archive.writestr("manifest.json", text)
            archive.writestr("files/w.pth", b"abc")
            archive.writestr(f"../../{OUTSIDE}/x", b"abc")
        yield name, path
    path = folder / "b noise.zip"
    path.write_bytes(random.Random(10).randbytes(5000))
    yield "no zip", path
