"""Speed and memory of scoring predictions on disk: bddzoo, other evaluators, the toolkit, bare decoding.

    python benchmarks/speed/evaluation.py --frames 200 1000 --oracle-python /path/to/python

Makes a corpus of 1280x720 street-like label maps from a seed, then runs every evaluator as a process
of its own on the same files, best of three (the toolkit on more than 300 frames: once). Reported are wall
and CPU seconds of the whole process, milliseconds a frame without start-up (from the difference of two
sizes), peak memory, and how many times as long the toolkit takes.

`--oracle-python` names a Python that has `bdd100k` (the `oracle` extra; this one by default if it has
it); without one the toolkit's rows are left out. bddzoo runs twice: with its compiled loops and, as on a
machine without a C compiler, without. The bare decode reads and decodes every PNG once, into reused
buffers, with imagecodecs' PNG decoder (OpenCV's without it), and does nothing else.

The other evaluators are what `benchmarks/speed/peers.txt` lists (`pip install -r` it here, or for the Python
that `--peers-python` names); rows of what is not installed are left out. They read the same
masks: instances from COCO JSON, panoptic labels as COCO's PNGs, class maps as they are. Their panoptic
numbers follow panopticapi, ours the official toolkit, which counts void pixels otherwise.

All of it takes a quarter of an hour, most of it the toolkit's. With `--tasks`, `--frames` and `--workers` it
can be measured in pieces: measurements in `--out` that are not made again are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Only the process that makes the corpus needs these: a child's peak memory is at least its parent's.
if TYPE_CHECKING or "--make" in sys.argv:
    import cv2
    import numpy as np

HEIGHT, WIDTH = 720, 1280
SCENES = 40
TASKS = ("sem_seg masks", "ins_seg bitmasks", "ins_seg RLE", "pan_seg bitmasks", "sem_seg RLE")
UNCOMPILED = "bddzoo, no compiler"

TOOLKIT = """
import sys
from importlib import import_module
if not import_module("pydantic").VERSION.startswith("1."):
    sys.modules["pydantic"] = import_module("pydantic.v1")
from bdd100k.eval import run
sys.argv = ["run", *sys.argv[1:], "--quiet"]
run.run()
"""

DECODE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
try:
    from imagecodecs import png_decode
    import threading, numpy
    local = threading.local()
    def decode(path):
        data = path.read_bytes()
        key = data[25]
        if not hasattr(local, "buffers"):
            local.buffers = {0: numpy.empty((720, 1280), "u1"), 6: numpy.empty((720, 1280, 4), "u1")}
        png_decode(data, out=local.buffers[key])
except ImportError:
    import cv2, numpy
    def decode(path):
        cv2.imdecode(numpy.frombuffer(path.read_bytes(), "u1"), -1)
files = [p for folder in sys.argv[2:] for p in sorted(Path(folder).iterdir())]
if sys.argv[1] == "1":
    for path in files:
        decode(path)
else:
    with ThreadPoolExecutor(int(sys.argv[1])) as pool:
        list(pool.map(decode, files))
"""


# Instances from COCO JSON; `module` has pycocotools' interface.
COCO_PEER = """
import sys
from importlib import import_module
module, gt, pred = sys.argv[1:]
package = import_module(module)
coco = getattr(package, "COCO", None) or import_module(module + ".coco").COCO
evaluator = getattr(package, "COCOeval_faster", None) or getattr(package, "COCOeval", None)
evaluator = evaluator or import_module(module + ".cocoeval").COCOeval
truth = coco(gt)
run = evaluator(truth, truth.loadRes(pred), "segm")
run.evaluate()
run.accumulate()
run.summarize()
"""
# Distribution -> module of the evaluators of instances.
COCO_PEERS = {
    "hotcoco": "hotcoco",
    "ultrafast-pycocotools": "ultrafast_pycocotools",
    "faster-coco-eval": "faster_coco_eval",
    "pycocotools": "pycocotools",
}


@dataclass
class Measurement:
    """Best of several runs of one command."""

    task: str
    evaluator: str
    frames: int
    workers: int
    wall_s: float
    cpu_s: float
    peak_mib: float


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[dict]]:
    """One frame: class map, predicted class map, bitmask, predicted bitmask, score entries."""
    horizon = int(rng.integers(250, 380))
    truth = np.full((HEIGHT, WIDTH), 10, np.uint8)
    truth[horizon:] = 0
    for _ in range(int(rng.integers(4, 9))):
        x, w, h = int(rng.integers(WIDTH)), int(rng.integers(80, 400)), int(rng.integers(60, 300))
        cv2.rectangle(truth, (x, horizon - h), (x + w, horizon + 10), 2, -1)
    for _ in range(int(rng.integers(20, 60))):
        centre = (int(rng.integers(WIDTH)), int(rng.integers(horizon - 120, horizon + 30)))
        axes = (int(rng.integers(8, 70)), int(rng.integers(8, 60)))
        cv2.ellipse(truth, centre, axes, float(rng.integers(180)), 0, 360, int(rng.choice([8, 8, 9])), -1)
    pavement = [(0, HEIGHT), (0, horizon + 90), (int(rng.integers(300, 600)), horizon), (120, HEIGHT)]
    cv2.fillPoly(truth, [np.array(pavement, np.int32)], 1)
    for _ in range(int(rng.integers(2, 9))):
        x = int(rng.integers(WIDTH))
        cv2.line(truth, (x, horizon - 200), (x, horizon + 40), 5, int(rng.integers(3, 9)))
        cv2.rectangle(truth, (x - 12, horizon - 200), (x + 12, horizon - 160), int(rng.choice([6, 7])), -1)
    truth[HEIGHT - int(rng.integers(20, 60)) :] = 255

    bitmask = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    predicted_bitmask = np.zeros_like(bitmask)
    count = int(rng.integers(8, 26))
    sem_of = (11, 12, 13, 14, 15, 16, 17, 18)
    scores = []
    predicted = wobble(rng, truth)
    for ident in range(1, count + 1):
        kind = int(rng.choice(8, p=[0.2, 0.03, 0.6, 0.06, 0.04, 0.01, 0.03, 0.03]))
        size = rng.integers(6, 130)
        centre = (int(rng.integers(WIDTH)), int(rng.integers(horizon - 20, HEIGHT - 120)))
        axes = (int(size), int(size * rng.uniform(0.4, 0.8)))
        flags = int(rng.choice([0, 4, 8, 12, 1, 2], p=[0.5, 0.2, 0.15, 0.1, 0.03, 0.02]))
        cv2.ellipse(truth, centre, axes, 0, 0, 360, sem_of[kind], -1)
        cv2.ellipse(bitmask, centre, axes, 0, 0, 360, (kind + 1, flags, ident >> 8, ident & 255), -1)
        if rng.random() < 0.85:
            centre = (centre[0] + int(rng.integers(-4, 5)), centre[1] + int(rng.integers(-3, 4)))
            axes = (max(2, axes[0] + int(rng.integers(-5, 6))), max(2, axes[1] + int(rng.integers(-4, 5))))
            cv2.ellipse(predicted, centre, axes, 0, 0, 360, sem_of[kind], -1)
            index = len(scores) + 1
            colour = (kind + 1, 0, index >> 8, index & 255)
            cv2.ellipse(predicted_bitmask, centre, axes, 0, 0, 360, colour, -1)
            scores.append({"index": index, "score": float(rng.random())})
    for _ in range(int(rng.integers(0, 15))):
        index = len(scores) + 1
        centre = (int(rng.integers(WIDTH)), int(rng.integers(HEIGHT)))
        colour = (int(rng.integers(1, 9)), 0, index >> 8, index & 255)
        cv2.ellipse(predicted_bitmask, centre, (int(rng.integers(4, 50)),) * 2, 0, 0, 360, colour, -1)
        scores.append({"index": index, "score": float(rng.random() * 0.5)})
    return truth, predicted, bitmask, predicted_bitmask, scores


def wobble(rng: np.random.Generator, truth: np.ndarray) -> np.ndarray:
    """The map with ragged borders, as a network leaves them, and no ignored pixels."""
    noise = rng.standard_normal((2, HEIGHT // 8, WIDTH // 8)).astype(np.float32)
    shift = [cv2.resize(n, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) * 3 for n in noise]
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    moved = cv2.remap(truth, x + shift[0], y + shift[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    moved[moved == 255] = 0
    return moved


def png(pixels: np.ndarray) -> bytes:
    """A PNG as the data set's own tools write it (Pillow), or OpenCV's where there is no Pillow."""
    try:
        import io

        from PIL import Image
    except ImportError:
        swapped = pixels[..., [2, 1, 0, 3]] if pixels.ndim == 3 else pixels
        return cv2.imencode(".png", swapped)[1].tobytes()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def rle_labels(truth: np.ndarray, names: tuple[str, ...]) -> list[dict]:
    """Labels of a class map as RLE."""
    from bddzoo.datasets.formats.rle import encode_rle

    present = [v for v in np.unique(truth).tolist() if v < len(names)]
    return [
        {"id": str(k), "category": names[v], "rle": encode_rle(truth == v)} for k, v in enumerate(present)
    ]


def masks_of(bitmask: np.ndarray) -> list[tuple[int, int, int, dict]]:
    """Id, category, attributes and RLE of each instance of a bitmask."""
    from bddzoo.datasets.formats.rle import encode_values

    ids = bitmask[..., 2].astype(np.uint16) << 8 | bitmask[..., 3]
    found = {ident: rle for ident, rle in encode_values(ids).items() if ident}
    first = {ident: bitmask[ids == ident][0].tolist() for ident in found}
    return [(ident, first[ident][0], first[ident][1], rle) for ident, rle in found.items()]


def write_instances(root: Path, made: list, scores: list, frames: int) -> None:
    """The masks of bitmasks as Scalabel JSON and as COCO JSON."""
    from pycocotools import mask as coco

    from bddzoo.datasets.classes import INS_SEG

    truth, found, images, annotations, results = [], [], [], [], []
    for i in range(frames):
        gt, pred = made[i % len(made)]
        score = {entry["index"]: entry["score"] for entry in scores[i % len(made)]}
        name = f"f{i:05}.jpg"
        images.append({"id": i + 1, "file_name": name, "height": HEIGHT, "width": WIDTH})
        labels = []
        for ident, kind, flags, rle in gt:
            attributes = {
                "truncated": flags & 8,
                "occluded": flags & 4,
                "crowd": flags & 2,
                "ignored": flags & 1,
            }
            attributes = {key: bool(value) for key, value in attributes.items()}
            category = INS_SEG.names[kind - 1]
            labels.append({"id": str(ident), "category": category, "attributes": attributes, "rle": rle})
            packed = {"counts": rle["counts"].encode(), "size": rle["size"]}
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": i + 1, "category_id": kind},
                    **{"iscrowd": int(flags & 3 > 0), "area": int(coco.area(packed))},
                    **{"bbox": coco.toBbox(packed).tolist(), "segmentation": rle},
                }
            )
        truth.append({"name": name, "labels": labels})
        labels = [
            {"id": str(k), "category": INS_SEG.names[kind - 1], "score": score[k], "rle": rle}
            for k, kind, _, rle in pred
        ]
        found.append({"name": name, "labels": labels})
        results += [
            {"image_id": i + 1, "category_id": kind, "score": score[k], "segmentation": rle}
            for k, kind, _, rle in pred
        ]
    categories = [{"id": k, "name": name} for k, name in enumerate(INS_SEG.names, 1)]
    (root / "ins_gt.json").write_text(json.dumps({"frames": truth}))
    (root / "ins_pred.json").write_text(json.dumps({"frames": found}))
    coco_file = {"images": images, "annotations": annotations, "categories": categories}
    (root / "coco_gt.json").write_text(json.dumps(coco_file))
    (root / "coco_pred.json").write_text(json.dumps(results))


def write_panoptic(root: Path, bitmasks: list, frames: int) -> None:
    """Panoptic labels: the instances as things, on stuff; as bitmasks and as COCO's files."""
    from bddzoo.datasets.classes import PAN_SEG, PAN_STUFF

    files: dict[str, list] = {"gt": [], "pred": []}
    for pair in bitmasks:
        for side, bitmask in zip(files, pair, strict=True):
            panoptic = bitmask.copy()
            panoptic[..., 1] = 0
            things = bitmask[..., 0] > 0
            panoptic[things, 0] += PAN_STUFF
            # Stuff lies in three bands; the truth has void at its lower edge.
            for k, band in enumerate((slice(0, 300), slice(300, 420), slice(420, HEIGHT - 20))):
                rows = panoptic[band]
                rows[~things[band]] = (k + 1, 0, 200, k + 1)
            if side == "pred":
                panoptic[HEIGHT - 20 :][~things[HEIGHT - 20 :]] = (3, 0, 200, 3)
            ids = panoptic[..., 2].astype(np.uint32) << 8 | panoptic[..., 3]
            coloured = np.stack((ids & 255, ids >> 8, ids * 0), -1).astype(np.uint8)
            known, first, counts = np.unique(ids, return_index=True, return_counts=True)
            kinds = panoptic[..., 0].reshape(-1)[first]
            segments = [
                {"id": int(i), "category_id": int(c), "area": int(n), "iscrowd": 0, "bbox": [0, 0, 1, 1]}
                for i, c, n in zip(known, kinds, counts, strict=True)
                if i
            ]
            files[side].append((png(panoptic), png(coloured), segments))
    categories = [
        {"id": k, "name": name, "isthing": int(k > PAN_STUFF)} for k, name in enumerate(PAN_SEG.names, 1)
    ]
    for side, made in files.items():
        ours, theirs = root / f"pan_{side}", root / f"coco_pan_{side}"
        ours.mkdir(parents=True)
        theirs.mkdir()
        images, annotations = [], []
        for i in range(frames):
            bitmask, coloured, segments = made[i % len(made)]
            (ours / f"f{i:05}.png").write_bytes(bitmask)
            (theirs / f"f{i:05}.png").write_bytes(coloured)
            images.append({"id": i + 1, "file_name": f"f{i:05}.jpg", "height": HEIGHT, "width": WIDTH})
            annotations.append({"image_id": i + 1, "file_name": f"f{i:05}.png", "segments_info": segments})
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"coco_pan_{side}.json").write_text(json.dumps(content))


def make_corpus(root: Path, frames: int, seed: int = 0) -> None:
    """Write `frames` frames; there are `SCENES` different ones, taken in turn."""
    from bddzoo.datasets.classes import SEM_SEG

    rng = np.random.default_rng(seed)
    made, bitmasks = [], []
    for _ in range(min(SCENES, frames)):
        truth, predicted, bitmask, predicted_bitmask, scores = scene(rng)
        bitmasks.append((bitmask, predicted_bitmask))
        images = [png(p) for p in (truth, predicted, bitmask, predicted_bitmask)]
        made.append((images, scores, rle_labels(truth, SEM_SEG.names), rle_labels(predicted, SEM_SEG.names)))
    root.mkdir(parents=True, exist_ok=True)
    instances = [(masks_of(bitmask), masks_of(found)) for bitmask, found in bitmasks]
    write_instances(root, instances, [made[i % len(made)][1] for i in range(len(made))], frames)
    write_panoptic(root, bitmasks, frames)
    folders = [root / n for n in ("sem_gt", "sem_pred", "ins_gt", "ins_pred")]
    for folder in folders:
        folder.mkdir(parents=True)
    score_frames, gt_frames, pred_frames = [], [], []
    for i in range(frames):
        images, scores, gt, pred = made[i % len(made)]
        for folder, content in zip(folders, images, strict=True):
            (folder / f"f{i:05}.png").write_bytes(content)
        score_frames.append({"name": f"f{i:05}.jpg", "labels": scores})
        gt_frames.append({"name": f"f{i:05}.jpg", "labels": gt})
        pred_frames.append({"name": f"f{i:05}.jpg", "labels": pred})
    (root / "score.json").write_text(json.dumps(score_frames))
    (root / "gt_rle.json").write_text(json.dumps({"frames": gt_frames}))
    (root / "pred_rle.json").write_text(json.dumps({"frames": pred_frames}))


def measure(
    command: list[str], repeats: int, environment: dict[str, str] | None = None
) -> tuple[float, float, float] | None:
    """Best wall and CPU seconds, and peak MiB of the largest process; None if it fails."""
    best: tuple[float, float, float] | None = None
    nowhere = subprocess.DEVNULL
    for _ in range(repeats):
        start = time.perf_counter()
        child = subprocess.Popen(
            command, stdout=nowhere, stderr=nowhere, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            return None
        now = (wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
        best = now if best is None else (min(best[0], now[0]), min(best[1], now[1]), max(best[2], now[2]))
    return best


def peers(root: Path, python: str, known: set[str]) -> list[tuple[str, str, list[str]]]:
    """(task, evaluator, command) of other evaluators; they take the cores that they find."""
    out = []
    for name, module in COCO_PEERS.items():
        if name in known:
            files = [str(root / "coco_gt.json"), str(root / "coco_pred.json")]
            out.append(("ins_seg RLE", name, [python, "-c", COCO_PEER, module, *files]))
    if "hotcoco" in known:
        cli = [python, "-m", "hotcoco.cli"]
        folders = ["--gt", str(root / "sem_gt"), "--pred", str(root / "sem_pred"), "--classes", "19"]
        out.append(("sem_seg masks", "hotcoco", [*cli, "semantic", "eval", *folders]))
        files = ["--gt", str(root / "coco_pan_gt.json"), "--pred", str(root / "coco_pan_pred.json")]
        out.append(("pan_seg bitmasks", "hotcoco", [*cli, "panoptic", "eval", *files]))
    return out


def installed(python: str) -> dict[str, str]:
    """Versions of the other evaluators that a Python has."""
    code = (
        "import json, sys\nfrom importlib.metadata import PackageNotFoundError, version\nfound = {}\n"
        "for name in sys.argv[1:]:\n    try:\n        found[name] = version(name)\n"
        "    except PackageNotFoundError:\n        pass\nprint(json.dumps(found))"
    )
    printed = subprocess.run([python, "-c", code, *COCO_PEERS], capture_output=True, text=True, check=True)
    return json.loads(printed.stdout)


def commands(root: Path, workers: int, oracle: str | None) -> list[tuple[str, str, list[str]]]:
    """(task, evaluator, command) of everything that is compared."""
    out: list[tuple[str, str, list[str]]] = []
    sets = {
        "sem_seg masks": ["-t", "sem_seg", "-g", str(root / "sem_gt"), "-r", str(root / "sem_pred")],
        "ins_seg bitmasks": ["-t", "ins_seg", "-g", str(root / "ins_gt"), "-r", str(root / "ins_pred")],
        "ins_seg RLE": ["-t", "ins_seg", "-g", str(root / "ins_gt.json"), "-r", str(root / "ins_pred.json")],
        "pan_seg bitmasks": ["-t", "pan_seg", "-g", str(root / "pan_gt"), "-r", str(root / "pan_pred")],
        "sem_seg RLE": ["-t", "sem_seg", "-g", str(root / "gt_rle.json"), "-r", str(root / "pred_rle.json")],
    }
    sets["ins_seg bitmasks"] += ["--score-file", str(root / "score.json")]
    for task, argv in sets.items():
        ours = [sys.executable, "-m", "bddzoo", "score", *argv, "--nproc", str(workers), "-q"]
        out += [(task, "bddzoo", ours), (task, UNCOMPILED, ours)]
        if "RLE" not in task:
            kind = task[:3]
            folders = [str(root / f"{kind}_gt"), str(root / f"{kind}_pred")]
            out.append((task, "bare decode", [sys.executable, "-c", DECODE, str(workers), *folders]))
        if oracle:
            out.append((task, "bdd100k", [oracle, "-c", TOOLKIT, *argv, "--nproc", str(workers)]))
    return out


def table(rows: list[Measurement]) -> str:
    """Markdown table, with the milliseconds that one more frame takes."""
    lines = [
        "| task | evaluator | workers | frames | wall s | CPU s | ms a frame | peak MiB | toolkit takes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        others = [
            r for r in rows if (r.task, r.evaluator, r.workers) == (row.task, row.evaluator, row.workers)
        ]
        low, high = min(others, key=lambda r: r.frames), max(others, key=lambda r: r.frames)
        step = high.frames - low.frames
        slope = f"{1000 * (high.wall_s - low.wall_s) / step:.2f}" if step else "-"
        toolkit = [r.wall_s for r in rows if r.evaluator == "bdd100k" and _place(r) == _place(row)]
        times = f"{toolkit[0] / row.wall_s:.1f}x" if toolkit else "-"
        lines.append(
            f"| {row.task} | {row.evaluator} | {row.workers} | {row.frames} | {row.wall_s:.2f} "
            f"| {row.cpu_s:.2f} | {slope} | {row.peak_mib:.0f} | {times} |"
        )
    return "\n".join(lines)


def _place(row: Measurement) -> tuple[str, int, int]:
    return row.task, row.frames, row.workers


def versions(oracle: str | None) -> dict[str, str]:
    """What was measured on what."""
    from importlib.metadata import PackageNotFoundError, version

    out = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": str(os.cpu_count()),
        "processor": _processor(),
    }
    for name in ("bddzoo", "numpy", "imagecodecs", "opencv-python-headless", "pycocotools", "msgspec"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "not installed"
    if oracle:
        code = "from importlib.metadata import version as v; print(v('bdd100k'), v('numpy'), v('pillow'))"
        found = subprocess.run(
            [oracle, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        out |= dict(zip(("bdd100k", "its numpy", "its pillow"), found, strict=True))
    return out


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.machine())


def start_up(repeats: int) -> dict[str, float]:
    """Wall seconds of commands that do next to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        masks = Path(folder) / "masks"
        make = "import sys, numpy, pathlib; from bddzoo.datasets.formats.mask import write_mask as w; "
        make += f"w(pathlib.Path(sys.argv[1]) / 'a.png', numpy.zeros(({HEIGHT}, {WIDTH}), 'u1'))"
        masks.mkdir()
        subprocess.run([sys.executable, "-c", make, str(masks)], check=True)
        one = ["-t", "sem_seg", "-g", str(masks), "-r", str(masks), "-q"]
        score = [sys.executable, "-m", "bddzoo", "score"]
        commands = {
            "empty Python": [sys.executable, "-c", ""],
            "import numpy": [sys.executable, "-c", "import numpy"],
            "bddzoo score --help": [*score, "--help"],
            "bddzoo score, one frame": [*score, *one],
        }
        found = {name: measure(command, repeats) for name, command in commands.items()}
    return {name: round(value[0], 3) for name, value in found.items() if value}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--oracle-python", default=None)
    parser.add_argument(
        "--peers-python", default=sys.executable, help="A Python that has the other evaluators."
    )
    parser.add_argument("--without-toolkit", action="store_true", help="Leave out the official toolkit.")
    parser.add_argument("--corpus", type=Path, help="Keep the corpora there, and use those that are there.")
    parser.add_argument("--make", type=Path, help="Only make a corpus there.")
    parser.add_argument("--out", type=Path, help="Write the measurements as JSON.")
    args = parser.parse_args()
    if args.make:
        make_corpus(args.make, args.frames[0])
        return
    has_toolkit = find_spec("bdd100k") is not None
    oracle = args.oracle_python or (sys.executable if has_toolkit else None)
    if args.without_toolkit:
        oracle = None
    elif not oracle:
        print("the official toolkit is not installed: its rows are not measured", file=sys.stderr)
    base = args.corpus or Path(tempfile.mkdtemp(prefix="bddzoo-speed-"))
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, Python {sys.version.split()[0]}",
        file=sys.stderr,
    )
    found_peers = installed(args.peers_python)
    rows: list[Measurement] = []
    before: dict[str, Any] = {"versions": {}}
    if args.out and args.out.exists():
        before = json.loads(args.out.read_text())
        rows = [Measurement(**row) for row in before["rows"]]
    load = os.getloadavg()[0]
    try:
        for frames in args.frames:
            root = base / str(frames)
            if not root.exists():
                make = [sys.executable, __file__, "--make", str(root), "--frames", str(frames)]
                subprocess.run(make, check=True)
            for workers in args.workers:
                others = (
                    peers(root, args.peers_python, set(found_peers)) if workers == max(args.workers) else []
                )
                for task, evaluator, command in [*commands(root, workers, oracle), *others]:
                    if task not in args.tasks:
                        continue
                    # The toolkit takes minutes for what the others do in seconds.
                    repeats = 1 if evaluator == "bdd100k" and frames > 300 else args.repeats
                    loops = {"BDDZOO_NATIVE": "0"} if evaluator == UNCOMPILED else {}
                    found = measure(command, repeats, loops)
                    if found is None:
                        print(f"{task}, {evaluator}, {workers} workers: failed", file=sys.stderr)
                        continue
                    fresh = Measurement(task, evaluator, frames, workers, *(round(v, 3) for v in found))
                    rows = [r for r in rows if (*_place(r), r.evaluator) != (*_place(fresh), fresh.evaluator)]
                    rows.append(fresh)
                    print(f"{task}, {evaluator}, {workers}: {found}", file=sys.stderr)
        starts = start_up(args.repeats)
    finally:
        if not args.corpus:
            shutil.rmtree(base, ignore_errors=True)
    order = [*TASKS, *COCO_PEERS, "bdd100k", "bddzoo", UNCOMPILED, "bare decode"]
    rows.sort(key=lambda r: (order.index(r.task), r.frames, r.workers, order.index(r.evaluator)))
    print(table(rows))
    print("\n" + ", ".join(f"{name}: {value:.3f} s" for name, value in starts.items()))
    if args.out:
        result = {
            "versions": {**before["versions"], **versions(oracle), **found_peers},
            "load_before": round(load, 2),
            "start_up_s": starts,
            "rows": [asdict(r) for r in rows],
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
