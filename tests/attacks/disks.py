"""A full disk under every command that writes: one line with status 5, and nothing half."""

# ruff: noqa: E501 - a hostile thing a line
from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.attacks.harness import Attack
from tests.attacks.labels import GOOD, png

ROOT = Path(__file__).parents[2]
DEMO = "demo_semfpn_r18n_sem_seg"
WEIGHTS = ROOT / f"bddzoo/demo/{DEMO}.pth"


def attacks(folder: Path) -> Iterator[Attack]:
    """Each command with room for so few bytes in a file, and writing to a device that is always full."""
    inputs = folder / "inputs"
    images, data = inputs / "images", inputs / "data"
    images.mkdir()
    for name in "abc":
        (images / f"{name}.png").write_bytes(png(640, 320, colour=2))
    for place, colour in (("images/10k/val", 2), ("labels/sem_seg/masks/val", 0)):
        (data / place).mkdir(parents=True)
        (data / place / "a.png").write_bytes(png(1280, 720, colour=colour))
    labels = inputs / "labels.json"
    frames = [
        {"name": f"{n}.png", "labels": [{"id": "1", "category": "car", "score": 0.5, "rle": GOOD}]}
        for n in "abc"
    ]
    labels.write_text(json.dumps(frames))
    document, registry = inputs / "doc.md", inputs / "registry.yaml"
    document.write_text("# x\n\n<!-- bddzoo:tables -->\n<!-- /bddzoo:tables -->\n")
    shutil.copy(ROOT / "registry.yaml", registry)
    out = folder / "out"
    commands: list[tuple[object, ...]] = [
        ("fetch", DEMO, "--cache", out / "cache"),
        ("adopt", WEIGHTS, "--copy", "--cache", out / "cache"),
        ("bundle", DEMO, "--what", "weights", "-o", out / "b.zip"),
        ("cache", "export", "-o", out / "c.zip"),
        ("convert", DEMO, "--to", "safetensors", "-o", out / "w.safetensors"),
        ("predict", DEMO, "-i", images, "-o", out / "predict", "--device", "cpu"),
        ("eval", DEMO, "--data", data, "--results", out / "results", "--device", "cpu"),
        ("sweep", DEMO, "--data", data, "--results", out / "sweep", "--device", "cpu", "--retries", 0),
        ("score", "-t", "ins_seg", "-g", labels, "-r", labels, "-o", out / "scores.json"),
        ("score", "-t", "ins_seg", "-g", labels, "-r", labels, "--plots", out / "plots"),
        ("results", "import", ROOT / "benchmarks/results/demo", "--results", out / "imported"),
        ("pack", "-t", "ins_seg", "-r", labels, "--count", 3, "-o", out / "pack.zip"),
        ("tables", "-o", document),
        ("plot", "accuracy", "-o", out / "plot.svg"),
        ("vis", "color", "-t", "ins_seg", "-l", labels, "-o", out / "color"),
        ("vis", "overlay", "-t", "sem_seg", "-i", data / "images/10k/val", "-l", data / "labels/sem_seg/masks/val",
         "-o", out / "overlay"),
        ("vis", "compare", "-t", "sem_seg", "-i", data / "images/10k/val", "-r", data / "labels/sem_seg/masks/val",
         "-o", out / "compare", "--html"),
        ("site", "build", "-o", out / "site"),
        ("--registry", registry, "registry", "pin", DEMO),
        ("--registry", registry, "registry", "add", "n", "--like", DEMO),
        ("registry", "health", DEMO, "--history", out / "health.json", "--timeout", 1),
        ("data", "mini", "-o", out / "mini", "--val", 2),
        ("convert-labels", "-t", "ins_seg", "-l", labels, "--to", "coco", "-o", out / "coco.json"),
        ("convert-labels", "-t", "ins_seg", "-l", labels, "--to", "bitmasks", "-o", out / "bitmasks"),
        ("convert-labels", "-t", "sem_seg", "-l", data / "labels/sem_seg/masks/val", "--to", "rle", "-o", out / "rle.json"),
        ("demo", "-o", out / "demo"),
    ]  # fmt: skip
    out.mkdir()
    yield Attack("nothing hostile", ("fetch", DEMO), codes=(0,))
    for limit in (0, 300, 5000):
        for command in commands:
            name = f"files of at most {limit} bytes"
            # Over the limit a write fails as on a full disk, once the signal is ignored.
            before = ("sh", "-c", f"trap '' XFSZ; ulimit -f {limit // 512}; exec \"$@\"", "sh")
            yield Attack(name, command, torch=True, before=before)
            shutil.rmtree(out)
            out.mkdir()
    tiny = folder / "tiny"
    tiny.mkdir()
    mount = f"mount -t tmpfs -o size=16k none '{tiny}' && exec \"$@\""
    for command in commands:
        moved = [Path(str(a).replace(str(out), str(tiny))) if isinstance(a, Path) else a for a in command]
        before = ("unshare", "-m", "sh", "-c", mount, "sh")
        yield Attack("a disk of 16 kB", moved, torch=True, before=before)
    for command in (("list",), ("info", DEMO), ("tables",), ("list", "--format", "json")):
        yield Attack("/dev/full", command, codes=(5,), before=("sh", "-c", 'exec "$@" > /dev/full', "sh"))
