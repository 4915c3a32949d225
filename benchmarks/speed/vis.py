"""How fast colour maps and overlays are drawn: bddzoo, the official toolkit, and upstream's visualizers.

    python benchmarks/speed/vis.py --oracle-python /path/to/python --out benchmarks/speed/results/vis.json

Every contender is a process of its own on the same 1280x720 files, two workers each, in turns, in several
rounds; the median counts. A rate is that of the frames alone: the difference of a small and a large run, so
that start-up, which is told apart, does not count. CPU seconds are those of the process and its children.

The peer for colour maps is `bdd100k.label.to_color` (`--oracle-python` names a Python that has it). For
overlays it is what upstream's own tools draw with: mmsegmentation's `SegLocalVisualizer` and mmdet's
`DetLocalVisualizer`, in a pool of two processes, reading and writing the same files. The images are not the
same ones: mmsegmentation's are drawn without outlines and without class names, which alone would cost it two
seconds an image; ours have both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WORKERS = 2
SIZES = (24, 240)
# mmdet draws through matplotlib; with more frames the run would take many minutes.
FEW = (8, 32)

TO_COLOR = """
import sys
from importlib import import_module
if not import_module("pydantic").VERSION.startswith("1."):
    sys.modules["pydantic"] = import_module("pydantic.v1")
from bdd100k.label import to_color
sys.argv = ["to_color", *sys.argv[1:]]
to_color.main()
"""


@dataclass
class Result:
    """One contender in one event."""

    event: str
    contender: str
    frames_per_s: float
    cpu_ms_per_frame: float
    start_s: float
    frames: int
    runs_s: list[list[float]]


def make(root: Path, frames: int) -> None:
    """A data set of `frames` frames, 24 of them different, as the toolkit's tools would write them."""
    from bddzoo.datasets.mini import make_mini

    make_mini(root / "mini", seed=0, train=0, val=24)
    places = {
        "images": ("images/10k/val", ".jpg"),
        "masks": ("labels/sem_seg/masks/val", ".png"),
        "bitmasks": ("labels/ins_seg/bitmasks/val", ".png"),
    }
    for name, (place, suffix) in places.items():
        files = sorted((root / "mini" / place).iterdir())
        for count in sorted({frames, *SIZES, *FEW}):
            target = root / f"{name}-{count}"
            target.mkdir()
            for i in range(count):
                shutil.copy(files[i % len(files)], target / f"{i:05}{suffix}")


def timed(command: list[str], out: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command that writes into a new folder."""
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command[:6])} ... failed:\n{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def contenders(root: Path, out: Path, oracle: str | None) -> dict[tuple[str, str], Any]:
    """(event, contender) to a function that makes its command for so many frames, and its two sizes."""
    python = sys.executable
    ours = [python, "-m", "bddzoo", "-q", "vis"]
    events: dict[tuple[str, str], Any] = {}
    for task, kind in (("sem_seg", "masks"), ("ins_seg", "bitmasks")):

        def color(n: int, task: str = task, kind: str = kind) -> list[str]:
            labels = str(root / f"{kind}-{n}")
            return [*ours, "color", "-t", task, "-l", labels, "-o", str(out), "--jobs", str(WORKERS)]

        def toolkit(n: int, task: str = task, kind: str = kind) -> list[str]:
            labels = str(root / f"{kind}-{n}")
            options = ["-m", task, "-i", labels, "-o", str(out), "--nproc", str(WORKERS)]
            return [str(oracle), "-c", TO_COLOR, *options]

        def overlay(n: int, kind: str = kind) -> list[str]:
            images, labels = str(root / f"images-{n}"), str(root / f"{kind}-{n}")
            return [*ours, "overlay", "-i", images, "-l", labels, "-o", str(out), "--jobs", str(WORKERS)]

        def visualizer(n: int, task: str = task, kind: str = kind) -> list[str]:
            images, labels = str(root / f"images-{n}"), str(root / f"{kind}-{n}")
            return [python, __file__, "--draw", task, images, labels, str(out)]

        events[f"colour maps, {task}", "bddzoo vis color"] = (color, SIZES)
        if oracle:
            events[f"colour maps, {task}", "bdd100k.label.to_color"] = (toolkit, SIZES)
        events[f"overlays, {task}", "bddzoo vis overlay"] = (overlay, SIZES)
        name = "mmseg SegLocalVisualizer" if task == "sem_seg" else "mmdet DetLocalVisualizer"
        events[f"overlays, {task}", name] = (visualizer, SIZES if task == "sem_seg" else FEW)
    return events


# The peers' overlays, in a process of their own.


def draw_with_upstream(task: str, images: Path, labels: Path, out: Path) -> None:
    """Draw every image with upstream's visualizer, in `WORKERS` processes."""
    from multiprocessing import get_context

    out.mkdir(parents=True)
    jobs = [(p, labels / f"{p.stem}.png", out / f"{p.stem}.jpg") for p in sorted(images.iterdir())]
    # Imported here: a process that fails to is replaced by the pool, for ever.
    _prepare(task)
    with get_context("fork").Pool(WORKERS) as pool:
        pool.map(_draw, jobs, chunksize=4)


_state: dict[str, Any] = {}


def _prepare(task: str) -> None:
    import cv2

    cv2.setNumThreads(1)
    import torch

    torch.set_num_threads(1)
    # Upstream's packages import compiled operators, which drawing does not use.
    from bddzoo.engines.ops import ensure_ops

    ensure_ops()
    from bddzoo.datasets.classes import INS_SEG, SEM_SEG

    classes = SEM_SEG if task == "sem_seg" else INS_SEG
    if task == "sem_seg":
        from mmseg.visualization import SegLocalVisualizer

        found = SegLocalVisualizer(alpha=0.5)
    else:
        from mmdet.visualization import DetLocalVisualizer

        found = DetLocalVisualizer(alpha=0.5)
    found.dataset_meta = {"classes": list(classes.names), "palette": list(classes.palette)}
    _state.update(task=task, visualizer=found)


def _draw(job: tuple[Path, Path, Path]) -> None:
    import cv2
    import numpy as np
    import torch

    image, label, out = job
    photo = cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB)
    pixels = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
    visualizer = _state["visualizer"]
    if _state["task"] == "sem_seg":
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        sample: Any = SegDataSample(pred_sem_seg=PixelData(data=torch.from_numpy(pixels)[None].long()))
        visualizer.add_datasample("x", photo, sample, draw_gt=False, out_file=str(out), with_labels=False)
        return
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    ids = pixels[..., 0].astype(np.int64) << 8 | pixels[..., 3]
    found = [i for i in np.unique(ids).tolist() if i]
    masks = np.stack([ids == i for i in found]) if found else np.zeros((0, *ids.shape), bool)
    kinds = [int(pixels[..., 2][mask][0]) - 1 for mask in masks]
    boxes = [cv2.boundingRect(mask.astype(np.uint8)) for mask in masks]
    corners = [[x, y, x + w, y + h] for x, y, w, h in boxes]
    instances = InstanceData(
        bboxes=torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(kinds, dtype=torch.long),
        masks=masks,
        scores=torch.ones(len(found)),
    )
    sample = DetDataSample(pred_instances=instances)
    visualizer.add_datasample("x", photo, sample, draw_gt=False, out_file=str(out))


def versions(oracle: str | None) -> dict[str, str]:
    """What was run."""
    from bddzoo.results.environment import collect_environment

    environment = collect_environment()
    found = {"python": environment.python, "cpu": environment.cpu, "cores": str(environment.cores)}
    found |= {"platform": platform.platform(), **environment.packages, "bddzoo": environment.bddzoo}
    if oracle:
        words = "import importlib.metadata as m; print(m.version('bdd100k'), m.version('pillow'))"
        done = subprocess.run([oracle, "-c", words], capture_output=True, text=True, check=True)
        found["bdd100k"], found["pillow (of bdd100k)"] = done.stdout.split()
    return found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--oracle-python", help="a Python that has bdd100k; its row is left out without one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="events whose name has this in it")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument(
        "--draw", nargs=4, metavar=("TASK", "IMAGES", "LABELS", "OUT"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.draw:
        task, *paths = options.draw
        draw_with_upstream(task, *map(Path, paths))
        return
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        make(root, max(SIZES))
        events = contenders(root, root / "out", options.oracle_python)
        events = {k: v for k, v in events.items() if not options.only or options.only in k[0]}
        runs: dict[tuple[str, str], list[list[float]]] = {key: [] for key in events}
        cpu: dict[tuple[str, str], list[float]] = {key: [] for key in events}
        for _ in range(options.rounds):
            for key, (command, (small, large)) in events.items():
                first, first_cpu = timed(command(small), root / "out")
                second, second_cpu = timed(command(large), root / "out")
                runs[key].append([round(first, 3), round(second, 3)])
                cpu[key].append((second_cpu - first_cpu) / (large - small))
        results = []
        for key, (_, (small, large)) in events.items():
            per_frame = statistics.median((b - a) / (large - small) for a, b in runs[key])
            start = statistics.median(a for a, _ in runs[key]) - small * per_frame
            results.append(
                Result(
                    *key,
                    frames_per_s=round(1 / per_frame, 1),
                    cpu_ms_per_frame=round(1000 * statistics.median(cpu[key]), 2),
                    start_s=round(start, 2),
                    frames=large,
                    runs_s=runs[key],
                )
            )
    print(f"{'event':24} {'contender':28} {'frames/s':>9} {'CPU ms/frame':>13} {'start s':>8}")
    for one in results:
        row = f"{one.event:24} {one.contender:28} {one.frames_per_s:9.1f}"
        print(f"{row} {one.cpu_ms_per_frame:13.2f} {one.start_s:8.2f}")
    if options.out:
        value = {
            "versions": versions(options.oracle_python),
            "workers": WORKERS,
            "rounds": options.rounds,
            "load_before": round(os.getloadavg()[0], 2),
            "results": [asdict(one) for one in results],
        }
        options.out.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
