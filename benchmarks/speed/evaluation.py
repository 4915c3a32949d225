"""Speed and memory of scoring predictions on disk: other evaluators, bddzoo, the official toolkit.

    python benchmarks/speed/evaluation.py --frames 200 1000 10000 --peers-python /path/to/python

Makes a corpus of 1280x720 street-like labels from a seed, then runs every evaluator as a process of its own
on the same objects, in turns, and keeps the best of up to fifteen runs (as many as fit into 8 seconds, at
least one). Reported are wall and CPU seconds of the whole process and its peak memory, fastest first. Above
1,000 frames only what reads JSON is measured, without the slow ones. It takes about ten minutes.

Rows of the other evaluators (`benchmarks/speed/peers.txt`: `pip install -r` it for the Python that
`--peers-python` names) and of the official toolkit (`--oracle-python`, a Python that has the `oracle` extra)
are left out where they are not installed. The others read the same masks and boxes from COCO JSON, panoptic
labels as COCO's PNGs, class maps as they are. Their panoptic numbers follow panopticapi, ours the official
toolkit, which counts void pixels otherwise. bddzoo runs with and without its compiled loops; its decoders
alone show how near its rows are to what reading the PNGs takes.

With `--tasks`, `--frames` and `--workers` it can be measured in pieces: measurements in `--out` that are not
made again are kept.
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
JSON_TASKS = ("ins_seg RLE", "ins_seg COCO", "det boxes")
TRACKS = ("box_track boxes", "seg_track bitmasks")
TASKS = (*JSON_TASKS, "sem_seg masks", "pan_seg bitmasks", "ins_seg bitmasks", "sem_seg RLE", *TRACKS)
# Frames of a video.
VIDEO = 200
UNCOMPILED, DECODING, TOOLKIT_ROW = "bddzoo, no compiler", "bddzoo, only decoding", "bdd100k"
# Not measured on more than MANY frames.
MANY, SLOW = 1000, (UNCOMPILED, TOOLKIT_ROW, "pycocotools", "faster-coco-eval")
MAX_RUNS, SECONDS = 15, 8

TOOLKIT = """
import sys
from importlib import import_module
if not import_module("pydantic").VERSION.startswith("1."):
    sys.modules["pydantic"] = import_module("pydantic.v1")
numpy = import_module("numpy")
numpy.asfarray = getattr(numpy, "asfarray", lambda values: numpy.asarray(values, float))
from bdd100k.eval import run
sys.argv = ["run", *sys.argv[1:], "--quiet"]
run.run()
"""

DECODE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from bddzoo.datasets.formats import mask
decode = getattr(mask, sys.argv[1])
files = [p for folder in sys.argv[3:] for p in sorted(Path(folder).iterdir())]
with ThreadPoolExecutor(int(sys.argv[2])) as pool:
    for start in range(0, len(files), 100):
        list(pool.map(lambda path: decode(path.read_bytes(), path, "a")[0].size, files[start : start + 100]))
"""


# Instances or boxes from COCO JSON; `module` has pycocotools' interface.
COCO_PEER = """
import sys
from importlib import import_module
module, kind, gt, pred = sys.argv[1:]
package = import_module(module)
coco = getattr(package, "COCO", None) or import_module(module + ".coco").COCO
evaluator = getattr(package, "COCOeval_faster", None) or getattr(package, "COCOeval", None)
evaluator = evaluator or import_module(module + ".cocoeval").COCOeval
truth = coco(gt)
run = evaluator(truth, truth.loadRes(pred), kind)
run.evaluate()
run.accumulate()
run.summarize()
"""
# vernier's own interface: instances or boxes from COCO JSON, or class maps.
VERNIER = """
import sys
from pathlib import Path
kind, gt, pred = sys.argv[1:]
if kind == "semantic":
    from vernier.semantic import Evaluator
    truth, found = ({k: str(p) for k, p in enumerate(sorted(Path(f).iterdir()))} for f in (gt, pred))
    run = Evaluator(parity_mode="strict")
    print(run.evaluate_from_pngs(truth, found, n_classes=19, ignore_label=255, num_threads=2).miou)
else:
    from vernier.instance import Bbox, Evaluator, Segm
    run = Evaluator(iou=Bbox() if kind == "bbox" else Segm(), parity_mode="strict")
    summary = run.evaluate(Path(gt).read_bytes(), Path(pred).read_bytes(), num_threads=2)
    print(*summary.pretty_lines(), sep="\\n")
"""
# HOTA, CLEAR MOT and identities of boxes in Scalabel JSON, by class.
TRACK_PEER = """
import json, sys
import numpy as np
from trackeval.metrics import CLEAR, HOTA, Identity
read = [json.load(open(path))["frames"] for path in sys.argv[1:]]
frames = [{(f["videoName"], f["frameIndex"]): f["labels"] for f in found} for found in read]
corners = lambda found: np.array([[*k["box2d"].values()] for k in found], float).reshape(-1, 4) + (0, 0, 1, 1)
area = lambda boxes: (boxes[:, 2:] - boxes[:, :2]).prod(1)
metrics = [HOTA(), CLEAR({"PRINT_CONFIG": False}), Identity({"PRINT_CONFIG": False})]
results = {}
for kind in sorted({k["category"] for side in frames for labels in side.values() for k in labels}):
    for video in sorted({v for v, _ in frames[0]}):
        sides = "gt", "tracker"
        data = {side + "_ids": [] for side in sides} | {"similarity_scores": []}
        known = {}, {}
        for place in sorted(p for p in frames[0] if p[0] == video):
            found = [[k for k in side[place] if k["category"] == kind] for side in frames]
            for side, labels, numbers in zip(sides, found, known):
                ids = [numbers.setdefault(k["id"], len(numbers)) for k in labels]
                data[side + "_ids"].append(np.array(ids, int))
            a, b = map(corners, found)
            common = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
            common = np.maximum(common, 0).prod(2)
            data["similarity_scores"].append(common / (area(a)[:, None] + area(b) - common))
        for side, numbers in zip(sides, known):
            data["num_" + side + "_dets"] = sum(map(len, data[side + "_ids"]))
            data["num_" + side + "_ids"] = len(numbers)
        data["num_timesteps"] = len(data["similarity_scores"])
        for metric in metrics:
            results.setdefault((kind, metric.get_name()), {})[video] = metric.eval_sequence(data)
for (kind, name), found in results.items():
    metric = next(m for m in metrics if m.get_name() == name)
    print(kind, name, {k: float(np.mean(v)) for k, v in metric.combine_sequences(found).items()})
"""
# Distribution -> module of the evaluators of instances.
COCO_PEERS = {
    "hotcoco": "hotcoco",
    "ultrafast-pycocotools": "ultrafast_pycocotools",
    "faster-coco-eval": "faster_coco_eval",
    "pycocotools": "pycocotools",
}
PEERS = (*COCO_PEERS, "vernier", "trackeval")


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
    """The masks of bitmasks and their boxes, as Scalabel JSON and as COCO JSON."""
    from pycocotools import mask as coco

    from bddzoo.datasets.classes import INS_SEG

    files: dict[str, list] = {name: [] for name in ("ins_gt", "ins_pred", "det_gt", "det_pred")}
    results: dict[str, list] = {"coco_pred": [], "coco_det": [], "coco_both": []}
    images: list[dict] = []
    annotations: list[dict] = []
    for i in range(frames):
        name = f"f{i:05}.jpg"
        images.append({"id": i + 1, "file_name": name, "height": HEIGHT, "width": WIDTH})
        score = {entry["index"]: entry["score"] for entry in scores[i % len(made)]}
        for side, objects in zip(("gt", "pred"), made[i % len(made)], strict=True):
            masks, boxes = [], []
            for ident, kind, flags, rle in objects:
                packed = {"counts": rle["counts"].encode(), "size": rle["size"]}
                x, y, width, height = coco.toBbox(packed).tolist()
                label: dict[str, Any] = {"id": str(ident), "category": INS_SEG.names[kind - 1]}
                common = {"image_id": i + 1, "category_id": kind}
                if side == "pred":
                    label["score"] = common["score"] = score[ident]
                    results["coco_pred"].append(common | {"segmentation": rle})
                    results["coco_det"].append(common | {"bbox": [x, y, width, height]})
                    results["coco_both"].append(results["coco_pred"][-1] | results["coco_det"][-1])
                else:
                    names = {"truncated": 8, "occluded": 4, "crowd": 2, "ignored": 1}
                    label["attributes"] = {key: bool(flags & bit) for key, bit in names.items()}
                    common |= {"id": len(annotations) + 1, "iscrowd": int(flags & 3 > 0)}
                    common |= {"area": int(coco.area(packed)), "bbox": [x, y, width, height]}
                    annotations.append(common | {"segmentation": rle})
                masks.append(label | {"rle": rle})
                corners = {"x1": x, "y1": y, "x2": x + width - 1, "y2": y + height - 1}
                boxes.append(label | {"box2d": corners})
            files[f"ins_{side}"].append({"name": name, "labels": masks})
            files[f"det_{side}"].append({"name": name, "labels": boxes})
    for name, content in files.items():
        (root / f"{name}.json").write_text(json.dumps({"frames": content}))
    for name, content in results.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    categories = [{"id": k, "name": name} for k, name in enumerate(INS_SEG.names, 1)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (root / "coco_gt.json").write_text(json.dumps(truth))


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


def write_tracks(root: Path, frames: int, seed: int) -> None:
    """Objects that pass through videos, as boxes in JSON and as bitmasks; those found break off at times."""
    from bddzoo.datasets.classes import INS_SEG
    from bddzoo.datasets.formats.mask import write_rgba

    rng = np.random.default_rng(seed)
    sides: dict[str, list] = {"gt": [], "pred": []}
    for at in range(frames):
        video, index = f"v{at // VIDEO:03}", at % VIDEO
        if index == 0:
            objects, last = [], 0
        objects = [o for o in objects if rng.random() > 0.02]
        while len(objects) < 12 or rng.random() < 0.3:
            last += 1
            kind = int(rng.choice(8, p=[0.2, 0.03, 0.6, 0.06, 0.04, 0.01, 0.03, 0.03]))
            place = rng.uniform((0, 250), (WIDTH - 100, HEIGHT - 100))
            objects.append([last, kind, place, rng.uniform(15, 120, 2), rng.normal(0, 4, 2), last])
        labels: dict[str, list] = {"gt": [], "pred": []}
        for one in objects:
            number, kind, place, size, speed, found = one
            place += speed
            if rng.random() < 0.01:
                last += 1
                one[5] = found = last
            labels["gt"].append((number, kind, place, size))
            if rng.random() < 0.85:
                labels["pred"].append((found, kind, place + rng.normal(0, 2, 2), size + rng.normal(0, 2, 2)))
        for _ in range(int(rng.integers(0, 4))):
            last += 1
            labels["pred"].append((last, 2, rng.uniform(0, 600, 2), rng.uniform(15, 60, 2)))
        name = f"{video}-{index:07}"
        for side, found in labels.items():
            boxes, bitmask = [], np.zeros((HEIGHT, WIDTH, 4), np.uint8)
            for number, kind, place, size in found:
                (x1, y1), (x2, y2) = place.tolist(), (place + np.maximum(size, 4)).tolist()
                corners = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
                label = {"id": str(number), "category": INS_SEG.names[kind], "box2d": corners}
                boxes.append(label | ({"score": 0.9} if side == "pred" else {}))
                middle = (int(x1 + x2) // 2, int(y1 + y2) // 2)
                half = (max(2, int(x2 - x1) // 2), max(2, int(y2 - y1) // 2))
                colour = (kind + 1, 0, number >> 8, number & 255)
                cv2.ellipse(bitmask, middle, half, 0, 0, 360, colour, -1)
            head = {"name": f"{name}.jpg", "videoName": video, "frameIndex": index}
            sides[side].append(head | {"labels": boxes})
            if frames <= MANY:
                (root / f"track_{side}" / video).mkdir(parents=True, exist_ok=True)
                write_rgba(root / f"track_{side}" / video / f"{name}.png", bitmask)
    for side, content in sides.items():
        (root / f"track_{side}.json").write_text(json.dumps({"frames": content}))


def make_corpus(root: Path, frames: int, seed: int = 0) -> None:
    """Write `frames` frames; there are `SCENES` different ones, taken in turn."""
    from bddzoo.datasets.classes import SEM_SEG

    rng = np.random.default_rng(seed)
    made = [scene(rng) for _ in range(min(SCENES, frames))]
    bitmasks = [(bitmask, found) for _, _, bitmask, found, _ in made]
    root.mkdir(parents=True, exist_ok=True)
    instances = [(masks_of(bitmask), masks_of(found)) for bitmask, found in bitmasks]
    write_instances(root, instances, [scores for *_, scores in made], frames)
    write_tracks(root, frames, seed)
    if frames > MANY:
        return
    write_panoptic(root, bitmasks, frames)
    for place, name in enumerate(("sem_gt", "sem_pred", "ins_gt", "ins_pred")):
        (root / name).mkdir()
        images = [png(frame[place]) for frame in made]
        for i in range(frames):
            (root / name / f"f{i:05}.png").write_bytes(images[i % len(made)])
        if place < 2:
            labels = [rle_labels(frame[place], SEM_SEG.names) for frame in made]
            content = [{"name": f"f{i:05}.jpg", "labels": labels[i % len(made)]} for i in range(frames)]
            (root / f"{name}.json").write_text(json.dumps({"frames": content}))
    scores = [{"name": f"f{i:05}.jpg", "labels": made[i % len(made)][4]} for i in range(frames)]
    (root / "score.json").write_text(json.dumps(scores))


def measure(
    commands: dict[str, list[str]], runs: int = MAX_RUNS
) -> dict[str, tuple[float, float, float] | None]:
    """Best wall and CPU seconds, and peak MiB, of commands that run in turns; None for those that fail."""
    best: dict[str, tuple[float, float, float] | None] = {}
    spent = dict.fromkeys(commands, 0.0)
    # Python writes compiled modules down on the first run, as an installation does.
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for run in range(runs):
        for name, command in commands.items():
            if run and (best[name] is None or spent[name] * (run + 1) / run > SECONDS):
                continue
            environment = plain | ({"BDDZOO_NATIVE": "0"} if name == UNCOMPILED else {})
            start = time.perf_counter()
            child = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
            )
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.perf_counter() - start
            spent[name] += wall
            child.returncode = os.waitstatus_to_exitcode(status)
            now = (wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
            before = best.get(name) or now
            best[name] = (min(before[0], now[0]), min(before[1], now[1]), max(before[2], now[2]))
            if child.returncode:
                best[name] = None
    return best


def peers(root: Path, python: str, known: set[str]) -> dict[str, dict[str, list[str]]]:
    """Commands of other evaluators, by task; they take the cores that they find."""
    out: dict[str, dict[str, list[str]]] = {task: {} for task in TASKS}
    truth, found, boxes = (str(root / f"{name}.json") for name in ("coco_gt", "coco_pred", "coco_det"))
    for name, module in COCO_PEERS.items():
        if name in known:
            for task in ("ins_seg RLE", "ins_seg COCO"):
                out[task][name] = [python, "-c", COCO_PEER, module, "segm", truth, found]
            out["det boxes"][name] = [python, "-c", COCO_PEER, module, "bbox", truth, boxes]
    if "vernier" in known:
        # It refuses masks without boxes.
        both = str(root / "coco_both.json")
        for task in ("ins_seg RLE", "ins_seg COCO"):
            out[task]["vernier"] = [python, "-c", VERNIER, "segm", truth, both]
        out["det boxes"]["vernier"] = [python, "-c", VERNIER, "bbox", truth, boxes]
        maps = [str(root / name) for name in ("sem_gt", "sem_pred")]
        out["sem_seg masks"]["vernier"] = [python, "-c", VERNIER, "semantic", *maps]
    if "trackeval" in known:
        files = [str(root / f"track_{side}.json") for side in ("gt", "pred")]
        out["box_track boxes"]["trackeval"] = [python, "-c", TRACK_PEER, *files]
    if "hotcoco" in known:
        cli = [python, "-m", "hotcoco.cli"]
        folders = ["--gt", str(root / "sem_gt"), "--pred", str(root / "sem_pred"), "--classes", "19"]
        out["sem_seg masks"]["hotcoco"] = [*cli, "semantic", "eval", *folders]
        files = ["--gt", str(root / "coco_pan_gt.json"), "--pred", str(root / "coco_pan_pred.json")]
        out["pan_seg bitmasks"]["hotcoco"] = [*cli, "panoptic", "eval", *files]
    return out


def ours(root: Path, workers: int, oracle: str | None) -> dict[str, dict[str, list[str]]]:
    """Commands of bddzoo and of the official toolkit, by task."""
    sides = {
        "ins_seg RLE": ("ins_gt.json", "ins_pred.json"),
        "ins_seg COCO": ("coco_gt.json", "coco_pred.json"),
        "det boxes": ("det_gt.json", "det_pred.json"),
        "sem_seg RLE": ("sem_gt.json", "sem_pred.json"),
        "sem_seg masks": ("sem_gt", "sem_pred"),
        "pan_seg bitmasks": ("pan_gt", "pan_pred"),
        "ins_seg bitmasks": ("ins_gt", "ins_pred"),
        "box_track boxes": ("track_gt.json", "track_pred.json"),
        "seg_track bitmasks": ("track_gt", "track_pred"),
    }
    out = {}
    for task, names in sides.items():
        gt, pred = (str(root / name) for name in names)
        argv = ["-t", task.split()[0], "-g", gt, "-r", pred, "--nproc", str(workers)]
        if task == "ins_seg bitmasks":
            argv += ["--score-file", str(root / "score.json")]
        command = [sys.executable, "-m", "bddzoo", "score", *argv, "-q"]
        out[task] = {"bddzoo": command, UNCOMPILED: command}
        if task not in (*JSON_TASKS, *TRACKS, "sem_seg RLE"):
            decoder = "decode_mask" if task == "sem_seg masks" else "decode_bitmask"
            out[task][DECODING] = [sys.executable, "-c", DECODE, decoder, str(workers), gt, pred]
        if oracle and task != "ins_seg COCO":
            out[task][TOOLKIT_ROW] = [oracle, "-c", TOOLKIT, *argv]
    return out


def table(rows: list[Measurement]) -> str:
    """Markdown table; times of the fastest other evaluator stand for 1."""
    lines = ["| task | frames | workers | evaluator | wall s | CPU s | peak MiB | times the fastest other |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        group = [r for r in rows if (r.task, r.frames) == (row.task, row.frames)]
        others = [r.wall_s for r in group if r.evaluator in PEERS]
        times = f"{row.wall_s / min(others):.2f}" if others else "-"
        lines.append(
            f"| {row.task} | {row.frames} | {row.workers} | {row.evaluator} | {row.wall_s:.2f} "
            f"| {row.cpu_s:.2f} | {row.peak_mib:.0f} | {times} |"
        )
    return "\n".join(lines)


def versions(python: str, names: list[str]) -> dict[str, str]:
    """Versions of the distributions that a Python has."""
    code = (
        "import json, sys\nfrom importlib.metadata import PackageNotFoundError, version\nfound = {}\n"
        "for name in sys.argv[1:]:\n    try:\n        found[name] = version(name)\n"
        "    except PackageNotFoundError:\n        pass\nprint(json.dumps(found))"
    )
    printed = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(printed.stdout)
    return found


def processor() -> str:
    """What it is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.machine())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--runs", type=int, default=MAX_RUNS, help="At most so many of each evaluator.")
    parser.add_argument("--oracle-python", help="A Python that has the official toolkit.")
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
    oracle = args.oracle_python or (sys.executable if find_spec("bdd100k") else None)
    oracle = None if args.without_toolkit else oracle
    known = versions(args.peers_python, list(PEERS))
    rows: list[Measurement] = []
    before: dict[str, Any] = {}
    if args.out and args.out.exists():
        before = json.loads(args.out.read_text())
        rows = [Measurement(**row) for row in before["rows"]]
    load = os.getloadavg()[0]
    base = args.corpus or Path(tempfile.mkdtemp(prefix="bddzoo-speed-"))
    try:
        for frames in args.frames:
            root = base / str(frames)
            if not root.exists():
                make = [sys.executable, __file__, "--make", str(root), "--frames", str(frames)]
                subprocess.run(make, check=True)
            for task in args.tasks:
                if frames > MANY and task not in JSON_TASKS:
                    continue
                for workers in args.workers:
                    commands = ours(root, workers, oracle)[task]
                    if workers == max(args.workers):
                        commands |= peers(root, args.peers_python, set(known))[task]
                    commands = {n: c for n, c in commands.items() if frames <= MANY or n not in SLOW}
                    for evaluator, found in measure(commands, args.runs).items():
                        place = (task, evaluator, frames, workers)
                        print(place, found or "failed", file=sys.stderr)
                        rows = [r for r in rows if (r.task, r.evaluator, r.frames, r.workers) != place]
                        rows += [Measurement(*place, *(round(v, 3) for v in found))] if found else []
    finally:
        if not args.corpus:
            shutil.rmtree(base, ignore_errors=True)
    rows.sort(key=lambda r: (TASKS.index(r.task), r.frames, r.workers, r.wall_s))
    print(table(rows))
    if args.out:
        parts = ["bddzoo", "numpy", "imagecodecs", "opencv-python-headless", "pycocotools", "msgspec"]
        result = {
            "versions": {
                **before.get("versions", {}),
                **{"python": platform.python_version(), "system": platform.platform()},
                **{"processors": str(os.cpu_count()), "processor": processor()},
                **versions(sys.executable, parts),
                **known,
                **(versions(oracle, ["bdd100k"]) if oracle else {}),
            },
            "load_before": round(load, 2),
            "rows": [asdict(r) for r in rows],
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
