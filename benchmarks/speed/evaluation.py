"""Speed and memory of scoring predictions on disk: official toolkit, bddzoo, and bare decoding.

    python benchmarks/speed/evaluation.py --frames 200 1000 --oracle-python /path/to/python

Makes a corpus of 1280x720 street-like label maps from a seed, then runs every evaluator as a process
of its own on the same files, best of three (the toolkit on more than 300 frames: once). Reported are wall
and CPU seconds of the whole process, milliseconds a frame without start-up (from the difference of two
sizes), peak memory, and how many times as long the toolkit takes.

`--oracle-python` names a Python that has `bdd100k` (the `oracle` extra; this one by default if it has
it); without one the toolkit's rows are left out. bddzoo runs twice: with its compiled loops and, as on a
machine without a C compiler, without. The bare decode reads and decodes every PNG once, into reused
buffers, with imagecodecs' PNG decoder (OpenCV's without it), and does nothing else.

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
TASKS = ("sem_seg masks", "ins_seg bitmasks", "sem_seg RLE")
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


def make_corpus(root: Path, frames: int, seed: int = 0) -> None:
    """Write `frames` frames; there are `SCENES` different ones, taken in turn."""
    from bddzoo.datasets.classes import SEM_SEG

    rng = np.random.default_rng(seed)
    made = []
    for _ in range(min(SCENES, frames)):
        truth, predicted, bitmask, predicted_bitmask, scores = scene(rng)
        pictures = [png(p) for p in (truth, predicted, bitmask, predicted_bitmask)]
        made.append(
            (pictures, scores, rle_labels(truth, SEM_SEG.names), rle_labels(predicted, SEM_SEG.names))
        )
    folders = [root / n for n in ("sem_gt", "sem_pred", "ins_gt", "ins_pred")]
    for folder in folders:
        folder.mkdir(parents=True)
    score_frames, gt_frames, pred_frames = [], [], []
    for i in range(frames):
        pictures, scores, gt, pred = made[i % len(made)]
        for folder, content in zip(folders, pictures, strict=True):
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


def commands(root: Path, workers: int, oracle: str | None) -> list[tuple[str, str, list[str]]]:
    """(task, evaluator, command) of everything that is compared."""
    out: list[tuple[str, str, list[str]]] = []
    sets = {
        "sem_seg masks": ["-t", "sem_seg", "-g", str(root / "sem_gt"), "-r", str(root / "sem_pred")],
        "ins_seg bitmasks": ["-t", "ins_seg", "-g", str(root / "ins_gt"), "-r", str(root / "ins_pred")],
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
    parser.add_argument("--corpus", type=Path, help="Keep the corpora there, and use those that are there.")
    parser.add_argument("--make", type=Path, help="Only make a corpus there.")
    parser.add_argument("--out", type=Path, help="Write the measurements as JSON.")
    args = parser.parse_args()
    if args.make:
        make_corpus(args.make, args.frames[0])
        return
    has_toolkit = find_spec("bdd100k") is not None
    oracle = args.oracle_python or (sys.executable if has_toolkit else None)
    if not oracle:
        print("the official toolkit is not installed: its rows are not measured", file=sys.stderr)
    base = args.corpus or Path(tempfile.mkdtemp(prefix="bddzoo-speed-"))
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, Python {sys.version.split()[0]}",
        file=sys.stderr,
    )
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
                for task, evaluator, command in commands(root, workers, oracle):
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
    order = [*TASKS, "bdd100k", "bddzoo", UNCOMPILED, "bare decode"]
    rows.sort(key=lambda r: (order.index(r.task), r.frames, r.workers, order.index(r.evaluator)))
    print(table(rows))
    print("\n" + ", ".join(f"{name}: {value:.3f} s" for name, value in starts.items()))
    if args.out:
        result = {
            "versions": {**before["versions"], **versions(oracle)},
            "load_before": round(load, 2),
            "start_up_s": starts,
            "rows": [asdict(r) for r in rows],
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
