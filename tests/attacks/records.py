"""Hostile records, statistics, score files, checks, histories and goldens."""

# ruff: noqa: E501 - a hostile thing a line
from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.attacks.harness import OUTSIDE, Attack
from tests.attacks.labels import NUMBERS, WORDS

ROOT = Path(__file__).parents[2]
DEMO = "demo_semfpn_r18n_sem_seg"
RECORDS = ROOT / "benchmarks/results/demo/sem_seg" / DEMO


def attacks(folder: Path) -> Iterator[Attack]:
    """Every hostile file in every command that reads it."""
    for name, root in _stores(folder / "inputs"):
        size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file())
        site = folder / f"site {name[:40]}"
        for command in (
            ("results", "ls"),
            ("results", "show", DEMO),
            ("results", "prune", "--yes"),
            ("tables", "--measured"),
            ("site", "build", "-o", site),
            ("results", "import", root),
            ("check", DEMO, "--link", "scores", "--offline"),
        ):
            where = folder / "imported" if "import" in command else root
            yield Attack(
                f"record {name}", (*command, "--results", where), size_bytes=size, torch="check" in command
            )
            shutil.rmtree(site, ignore_errors=True)
            if "prune" in command:  # it deletes what it is asked to
                shutil.rmtree(root)
                _restore(root)
    for name, path in _files(folder / "inputs"):
        size = path.stat().st_size if path.is_file() else 0
        for command in (
            ("check", DEMO, "--link", "scores", "--from-scores", path, "--offline"),
            ("registry", "health", DEMO, "--history", path, "--timeout", 1),
            ("results", "show", path),
            ("results", "compare", DEMO, path),
            ("site", "build", "-o", folder / "site", "--force", "--history", path),
            ("check", "--merge", path.parent),
        ):
            if command[0] == "check" and command[1] == "--merge":
                alone = folder / "inputs" / f"merge {path.name}"
                alone.mkdir()
                (alone / path.name).symlink_to(path)
                command = ("check", "--merge", alone)
            yield Attack(f"file {name}", command, size_bytes=size, torch=True)
    for name, golden in _goldens(folder / "inputs"):
        yield Attack(f"golden {name}", ("selftest", DEMO, "--golden", golden), torch=True)


_kept: dict[Path, Callable[[Path], None]] = {}


def _restore(root: Path) -> None:
    _kept[root](root)


def _changed(record: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    out = copy.deepcopy(record)
    inner = out
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return out


def _stores(folder: Path) -> Iterator[tuple[str, Path]]:
    """Results folders with one hostile record or file of statistics."""
    good = json.loads(next(RECORDS.glob("*.json")).read_text())
    statistics = next(RECORDS.glob("*.npz"))
    bodies: dict[str, bytes] = {}
    fields = [
        ("model",), ("zoo",), ("task",), ("summary", "mIoU"), ("per_class", "IoU"), ("protocol", "dataset"),
        ("protocol", "images"), ("protocol", "skipped"), ("weights", "name"), ("weights", "source"),
        ("environment", "cpu"), ("environment", "packages"), ("run", "started"), ("run", "command"),
        ("run", "duration_s"), ("statistics", "sem_seg"), ("schema",),
    ]  # fmt: skip
    for path in fields:
        for name, value in {**WORDS, **NUMBERS}.items():
            if name != "longest" or path[-1] in ("model", "cpu", "source"):
                bodies[f"{'.'.join(path)} {name}"] = json.dumps(_changed(good, path, value)).encode()
    bodies |= {
        "path of statistics": json.dumps(
            _changed(good, ("statistics",), {"a": f"../../../../{OUTSIDE}/precious"})
        ).encode(),
        "noise": random.Random(3).randbytes(100_000),
        "deep": b"[" * 2_000_000,
        "nothing": b"",
        "classes": json.dumps(
            _changed(good, ("per_class", "IoU"), {f"c{i}": 1 for i in range(100_000)})
        ).encode(),
    }
    kept = random.Random(4).sample(sorted(bodies), len(bodies))
    for name in kept:
        yield name, _store(folder / f"store {name}", bodies[name], statistics.read_bytes())
    text = json.dumps(good).encode()
    for name, data in _arrays(statistics.read_bytes()).items():
        digest = hashlib.sha256(data).hexdigest()
        for sound in (True, False):  # damaged since, or recorded so
            body = (
                json.dumps(_changed(good, ("statistics",), {"sem_seg": digest})).encode() if sound else text
            )
            yield f"statistics {name} {sound}", _store(folder / f"store {name} {sound}", body, data)
    for special in ("pipe", "zero", "self", "folder"):
        yield f"special {special}", _store(folder / f"store {special}", text, None, special)


def _store(root: Path, record: bytes, statistics: bytes | None, special: str = "") -> Path:
    def make(root: Path) -> None:
        place = root / "demo/sem_seg" / DEMO
        place.mkdir(parents=True)
        (place / f"{hashlib.sha256(record).hexdigest()[:16]}.json").write_bytes(record)
        if statistics is not None:
            name = next(RECORDS.glob("*.npz")).name
            (place / f"{hashlib.sha256(statistics).hexdigest()[:16]}.npz").write_bytes(statistics)
            (place / name).write_bytes(statistics)
        if special:
            _special(place / next(RECORDS.glob("*.npz")).name, special)
            _special(place / "0123456789abcdef.json", special)

    _kept[root] = make
    make(root)
    return root


def _special(path: Path, kind: str) -> None:
    if path.exists() or path.is_symlink():
        return
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "zero" else path.name)


def _arrays(good: bytes) -> dict[str, bytes]:
    """Hostile `.npz` files."""
    import numpy as np

    def saved(**arrays: Any) -> bytes:
        out = io.BytesIO()
        np.savez_compressed(out, **arrays)
        return out.getvalue()

    def member(name: str, data: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)
        return out.getvalue()

    with np.load(io.BytesIO(good)) as stored:
        arrays = {name: stored[name] for name in stored.files}

    def head(**changes: Any) -> bytes:
        text = {**json.loads(arrays["head"].tobytes()), **changes}
        return saved(**{**arrays, "head": np.frombuffer(json.dumps(text).encode(), np.uint8)})

    def shaped(shape: str) -> bytes:
        text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
        return member("head.npy", b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text)

    return {
        "cut": good[:-40],
        "noise": random.Random(5).randbytes(5000),
        "flipped": good[:100] + bytes(40) + good[140:],
        "no head": saved(counts=arrays["counts"]),
        "head only": saved(head=arrays["head"]),
        "other kind": head(kind="panseg"),
        "no kind": head(kind=None),
        "instances": head(kind="instances"),
        "names": head(names=[[]]),
        "few names": head(names=["a"]),
        "classes": head(classes=["x"] * 100_000),
        "class escape": head(classes=["\x1b[2J"] * 19),
        "task": head(task="x"),
        "counts shape": saved(**{**arrays, "counts": np.zeros(3)}),
        "counts text": saved(**{**arrays, "counts": np.array(["a"])}),
        "counts huge": saved(**{**arrays, "counts": arrays["counts"].astype(np.float64) * 1e300}),
        "bomb": saved(**{**arrays, "more": np.zeros(30_000_000)}),
        "shape huge": shaped("(1099511627776,)"),
        "shape negative": shaped("(-5,)"),
        "shape deep": shaped("(" * 90 + ")" * 90),
        "no array": member("head.npy", b"x"),
        "name up": member(f"../../{OUTSIDE}/x.npy", b"x"),
    }


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Hostile JSON: score files, histories, checks, records by path."""
    bodies: dict[str, bytes] = {
        "noise": random.Random(6).randbytes(50_000),
        "deep": b"[" * 3_000_000,
        "nothing": b"",
        "number": b"1" * 5_000_000,
        "large": b" " * 70_000_000,
        "list": b"[[[1]]]",
        "infinity": b'{"summary": {"mIoU": 1e9999}}',
    }
    for name, word in WORDS.items():
        score = {
            "summary": {"mIoU": 50, str(word): 1},
            "per_class": {str(word): {str(word): 1}},
            "left_out": [word],
        }
        bodies[f"words {name}"] = json.dumps(score).encode()
        check = {"model": word, "zoo": "z", "verdict": "drifted", "links": [
            {"link": "scores", "verdict": "drifted", "source": word, "reasons": [word], "metrics": []}]}  # fmt: skip
        bodies[f"check {name}"] = json.dumps([check]).encode()
    for name, body in bodies.items():
        path = folder / f"j {name}.json"
        path.write_bytes(body)
        yield name, path
    for special in ("pipe", "zero", "self", "folder"):
        path = folder / f"j {special}.json"
        _special(path, special)
        yield special, path


def _goldens(folder: Path) -> Iterator[tuple[str, Path]]:
    """Folders of goldens with a hostile file in each place."""
    own = ROOT / "bddzoo/engines/golden"
    files = [p.relative_to(own) for p in own.rglob("*") if p.is_file()]
    some = [p for p in files if p.suffix == ".json" or DEMO in p.name][:3] or files[:3]
    bodies = {
        "noise": random.Random(7).randbytes(3000),
        "nothing": b"",
        "deep": b"[" * 500_000,
        "list": b"[1]",
    }
    for name, body in bodies.items():
        for number, path in enumerate([*some, Path("index.json"), Path("models.json")]):
            root = folder / f"golden {name} {number}"
            (root / path).parent.mkdir(parents=True)
            (root / path).write_bytes(body)
            yield f"{name} {path.name}", root
    for special in ("pipe", "zero", "self"):
        root = folder / f"golden {special}"
        root.mkdir()
        for path in (*some, Path("index.json"), Path("models.json")):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            _special(root / path, special)
        yield special, root
