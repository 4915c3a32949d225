"""Pictures per second, from JPEG files to scores: our pipeline against upstream's own loop.

    python benchmarks/speed/inference.py [--model ID ...] [--images N] [--rounds N] [--device D]

The peer is what upstream's documentation shows: `init_model` and `inference_model` of mmsegmentation,
`init_detector` and `inference_detector` of mmdet, one picture after the other, on the same machine with
the same checkpoint file, the same pictures and the same scoring. Both sides run in processes of their
own, in turns; the first picture of each is not counted. Wall time decides; CPU time is shown beside it,
because it is what remains comparable on a machine that does something else too.

Outputs are compared as well: class maps pixel by pixel; instances by label, score and mask. Exits 1 when
they differ by more than ties, or a ratio is below `--at-least`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MODELS = (
    "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "fcn_hr48_512x1024_40k_sem_seg_bdd100k",
    "mask_rcnn_r50_fpn_1x_ins_seg_bdd100k",
    "upernet_swin-t_512x1024_40k_sem_seg_bdd100k",
)
GAIN = 0.7


def find(model_id: str) -> Any:
    """The registry's entry."""
    from bddzoo.registry import load_registry

    return load_registry(None).find(model_id)


def frames_of(model: Any, data: Path) -> list[Any]:
    """The frames of the val split."""
    from bddzoo.datasets.layout import BddLayout

    return BddLayout(data).frames(model.task, "val")


class Ours:
    """The pipeline of `bddzoo eval`."""

    def __init__(self, model: Any, weights: Path, device: str, batch: int | None) -> None:
        from bddzoo.inference import load_runner

        self.model, self.batch = model, batch
        self.runner, self.device = load_runner(model, weights, device)

    def run(self, frames: list[Any], scorer: Any) -> list[Any]:
        """Predict and score."""
        from bddzoo.inference import predict_frames
        from bddzoo.inference.background import Sink

        by_name = {frame.name: frame for frame in frames}
        results = []
        with Sink(lambda item: scorer.score(by_name[item[0]], item[1], None), depth=4) as sink:
            images = [(frame.name, frame.image) for frame in frames]
            for item in predict_frames(
                self.runner, self.model, images, device=self.device, batch_size=self.batch
            ):
                sink.put(item)
                results.append(item[1])
        return results


class Peer:
    """Upstream's own functions, picture by picture."""

    def __init__(self, model: Any, weights: Path, device: str, batch: int | None) -> None:
        from mmengine.config import Config

        from bddzoo.engines.config import expand
        from bddzoo.engines.ops import ensure_ops

        ensure_ops()
        self.task = model.task
        protocol = model.protocol
        normalise = {"mean": list(protocol.mean), "std": list(protocol.std), "bgr_to_rgb": True}
        resize = {"type": "Resize", "scale": tuple(protocol.scale), "keep_ratio": True}
        place = "cuda:0" if device == "auto" else device
        if self.task == "sem_seg":
            from mmseg.apis import inference_model, init_model

            pre = {"type": "SegDataPreProcessor", **normalise}
            pipeline = [{"type": "LoadImageFromFile", "to_float32": True}, resize, {"type": "PackSegInputs"}]
            config = {"default_scope": "mmseg", "test_pipeline": pipeline}
            make, self.call = init_model, inference_model
        else:
            from mmdet.apis import inference_detector, init_detector

            pre = {"type": "DetDataPreprocessor", **normalise, "pad_size_divisor": 32}
            keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
            pipeline = [{"type": "LoadImageFromFile"}, resize, {"type": "PackDetInputs", "meta_keys": keys}]
            dataset = {"type": "CocoDataset", "pipeline": pipeline, "ann_file": "", "lazy_init": True}
            config = {"default_scope": "mmdet", "test_dataloader": {"dataset": dataset}}
            make, self.call = init_detector, inference_detector
        config["model"] = {**expand(model), "data_preprocessor": pre}
        self.net = make(Config(config), str(weights), device=place)

    def run(self, frames: list[Any], scorer: Any) -> list[Any]:
        """Predict and score."""
        from bddzoo.datasets.instances import Instances

        results: list[Any] = []
        for frame in frames:
            found = self.call(self.net, str(frame.image))
            if self.task == "sem_seg":
                result: Any = found.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)
            else:
                got = found.pred_instances.cpu()
                parts = (got.bboxes.numpy(), got.scores.numpy(), got.labels.numpy(), got.masks.numpy())
                result = Instances(*parts).by_class()
            scorer.score(frame, result, None)
            results.append(result)
        return results


def worker(side: str, arguments: argparse.Namespace) -> None:
    """Measure one side in this process; prints one line of JSON."""
    from bddzoo.results.scorers import make_scorer

    model = find(arguments.model[0])
    frames = frames_of(model, arguments.data)
    runner = {"ours": Ours, "peer": Peer}[side](model, arguments.weights, arguments.device, arguments.batch)
    runner.run(frames[:1], make_scorer(model))
    scorer = make_scorer(model)
    start, cpu = time.perf_counter(), time.process_time()
    results = runner.run(frames[1:], scorer)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    np.savez_compressed(arguments.save, **pack(model.task, results))
    summary = scorer.compute().summary
    print(json.dumps({"seconds": seconds, "cpu": cpu, "images": len(results), "summary": summary}))


def pack(task: str, results: list[Any]) -> dict[str, Any]:
    """Results as arrays."""
    if task == "sem_seg":
        return {str(i): result for i, result in enumerate(results)}
    packed: dict[str, Any] = {}
    for i, found in enumerate(results):
        packed |= {f"{i}-labels": found.labels, f"{i}-scores": found.scores, f"{i}-boxes": found.boxes}
        packed[f"{i}-masks"] = np.packbits(found.masks)
    return packed


def compare(a: Path, b: Path) -> tuple[str, bool]:
    """How two packed results differ, in words, and whether they agree up to ties."""
    ours, theirs = np.load(a), np.load(b)
    if not any("-" in key for key in ours.files):
        pixels = sum(int((ours[k] != theirs[k]).sum()) for k in ours.files)
        total = sum(ours[k].size for k in ours.files)
        return f"{pixels} of {total} pixels differ", pixels <= 3 * len(ours.files)
    worst, same = 0.0, True
    bits = 0
    for key in ours.files:
        x, y = ours[key], theirs[key]
        if x.shape != y.shape:
            return f"{key}: {x.shape} and {y.shape}", False
        if key.endswith("scores"):
            worst = max(worst, float(np.abs(x - y).max(initial=0)))
        elif key.endswith("labels"):
            same &= bool((x == y).all())
        elif key.endswith("masks"):
            bits += int(np.unpackbits(x ^ y).sum())
    return f"scores differ by {worst:.1e}, masks by {bits} pixels", same and worst < 3e-5 and bits < 100


def measure(model_id: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turns; the best of each."""
    import torch

    from bddzoo.engines.build import build_network
    from bddzoo.engines.recipe import recipe_state

    weights = folder / "weights.pth"
    meta = {"CLASSES": ["a"], "PALETTE": [[0, 0, 0]]}
    torch.save({"meta": meta, "state_dict": recipe_state(build_network(find(model_id)), GAIN)}, weights)
    best: dict[str, dict[str, float]] = {}
    for _ in range(arguments.rounds):
        for side in ("peer", "ours"):
            options = ["--model", model_id, "--data", folder / "data", "--weights", weights]
            options += ["--save", folder / f"{side}.npz", "--device", arguments.device]
            options += ["--batch", arguments.batch] if arguments.batch else []
            command = [sys.executable, "-W", "ignore", __file__, "--worker", side, *map(str, options)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            got = json.loads(done.stdout.splitlines()[-1])
            if side not in best or got["seconds"] < best[side]["seconds"]:
                best[side] = got
    difference, same = compare(folder / "ours.npz", folder / "peer.npz")
    count = best["ours"]["images"]
    return {
        "model": model_id,
        "peer_s": best["peer"]["seconds"] / count,
        "ours_s": best["ours"]["seconds"] / count,
        "ratio": best["peer"]["seconds"] / best["ours"]["seconds"],
        "cpu_ratio": best["peer"]["cpu"] / best["ours"]["cpu"],
        "output": difference,
        "same": same,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", help="model id; repeatable; by default four networks")
    parser.add_argument("--images", type=int, default=3, help="pictures that count")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, help="pictures per forward pass of ours")
    parser.add_argument("--at-least", type=float, default=1.0, help="ratio of wall times below which to fail")
    parser.add_argument("--json", action="store_true")
    for name in ("--data", "--weights", "--save"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=["ours", "peer"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments)
        return 0
    from bddzoo.datasets.mini import make_mini

    # Waiting threads that spin take time from the other side of the comparison.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        make_mini(Path(name) / "data", val=arguments.images + 1)
        for model_id in arguments.model or MODELS:
            row = measure(model_id, Path(name), arguments)
            rows.append(row)
            if not arguments.json:
                print(
                    f"{row['model']}: peer {row['peer_s']:.2f} s, ours {row['ours_s']:.2f} s a picture, "
                    f"{row['ratio']:.2f}x (CPU time {row['cpu_ratio']:.2f}x); {row['output']}",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps(rows, indent=2))
    return int(any(not row["same"] or row["ratio"] < arguments.at_least for row in rows))


if __name__ == "__main__":
    sys.exit(main())
