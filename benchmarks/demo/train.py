"""Train the networks of the demo zoo on the synthetic mini set, from nothing, on a CPU.

    python benchmarks/demo/train.py --task all --out /tmp/demo-training

Architectures and protocols come from the registry. Each network but the first starts from the weights of
another one. Training frames are drawn from another seed than the held-back split.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from samples import batches, class_weights, ins_batch, load_samples, rare_first, sem_batch

from bddzoo.api import evaluate
from bddzoo.datasets.classes import CLASS_SETS
from bddzoo.datasets.mini import make_mini
from bddzoo.engines.load import build_network
from bddzoo.engines.ops import ensure_ops
from bddzoo.evaluation import Scores
from bddzoo.registry import load_registry
from bddzoo.registry.model import Model

MODELS = {
    "sem_seg": "demo_semfpn_r18n_sem_seg",
    "ins_seg": "demo_mask_rcnn_r18n_ins_seg",
    "drivable": "demo_semfpn_r18n_drivable",
    "det": "demo_faster_rcnn_r18n_det",
}
# Whose weights a network starts from, as far as they fit.
STARTS = {"ins_seg": "sem_seg", "drivable": "sem_seg", "det": "ins_seg"}
# Crops are (height, width) at the protocol's scale times a factor from `scales`.
RECIPES: dict[str, dict[str, Any]] = {
    "sem_seg": {
        "iters": 2200, "batch": 8, "lr": 2.5e-3, "scales": (0.6, 1.2), "crop": (360, 640), "clip": 5.0,
    },
    "ins_seg": {
        "iters": 2200, "batch": 4, "lr": 1.5e-3, "scales": (0.7, 1.25), "crop": (384, 640), "clip": 10.0,
    },
    "drivable": {
        "iters": 400, "batch": 8, "lr": 1.5e-3, "scales": (0.6, 1.2), "crop": (360, 640), "clip": 5.0,
    },
    "det": {
        "iters": 700, "batch": 4, "lr": 1.5e-3, "scales": (0.7, 1.25), "crop": (384, 640), "clip": 10.0,
    },
}  # fmt: skip
SAVE_EVERY = 500
WEIGHT_DECAY = 0.02
WARMUP = 150
TRAIN_SEED, VAL_SEED = 1, 0


class WeightedLoss(torch.nn.Module):
    """Cross entropy with class weights; mmsegmentation's own looks its weights up pixel by pixel."""

    loss_name = "loss_ce"

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = torch.tensor(weights)

    def forward(self, logits: torch.Tensor, target: torch.Tensor, **_: Any) -> torch.Tensor:
        """Mean over the labelled pixels."""
        return torch.nn.functional.cross_entropy(logits, target, self.weights, ignore_index=255)


def seed_everything(seed: int) -> None:
    """Seed every generator that mmsegmentation and mmdet draw from."""
    random.seed(seed)
    np.random.seed(seed)  # mmdet's samplers use the global generator
    torch.manual_seed(seed)


def learning_rate(step: int, total: int, top: float) -> float:
    """Linear warm-up, then a half cosine down to nothing."""
    if step < WARMUP:
        return top * (step + 1) / WARMUP
    return top * 0.5 * (1.0 + math.cos(math.pi * (step - WARMUP) / max(total - WARMUP, 1)))


def borrow_backbone(module: torch.nn.Module, checkpoint: Path) -> int:
    """Start from the weights of another network, as far as names and shapes agree; returns how many do."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    own = module.state_dict()
    fit = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    module.load_state_dict(fit, strict=False)
    return len(fit)


def optimise(
    module: Any, stream: Any, recipe: dict[str, Any], total: int, started: float, save: Callable[[], None]
) -> None:
    """A plain training loop over the network's own losses."""
    decay = [p for p in module.parameters() if p.ndim > 1]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe["lr"])
    shown: dict[str, float] = {}
    for step, (x, labels) in enumerate(stream):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, total, recipe["lr"])
        losses = {
            name: sum(value) if isinstance(value, list) else value
            for name, value in module.loss(x, labels).items()
            if "loss" in name
        }
        loss: torch.Tensor = sum(v.mean() for v in losses.values())
        if not torch.isfinite(loss):
            raise SystemExit(f"loss is {float(loss)} at step {step}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), recipe["clip"])
        optimiser.step()
        for name, value in losses.items():
            number = float(value.detach().mean())
            shown[name] = 0.95 * shown.get(name, number) + 0.05 * number
        if step % 50 == 0 or step + 1 == total:
            text = "  ".join(f"{name} {value:.3f}" for name, value in shown.items())
            print(f"{time.time() - started:6.0f} s  step {step + 1}/{total}  {text}", flush=True)
        if (step + 1) % SAVE_EVERY == 0:
            save()


def train(model: Model, data: Path, out: Path, args: argparse.Namespace, start: Path | None) -> Path:
    """Train one network; returns its checkpoint."""
    started = time.time()
    seed_everything(args.seed)
    recipe = dict(RECIPES[model.task])
    total = args.iters or recipe["iters"]
    module: Any = build_network(model, train=True)
    module.init_weights()
    if start is not None:
        print(f"{borrow_backbone(module, start)} tensors from {start.name}", flush=True)
    samples = load_samples(data, model.task, model.protocol)
    maps = hasattr(module, "decode_head")
    make = (sem_batch if maps else ins_batch)(model.protocol)
    if maps:
        module.decode_head.loss_decode = WeightedLoss(class_weights(samples, module.decode_head.num_classes))
    count = sum(p.numel() for p in module.parameters())
    print(
        f"{model.id}: {count} parameters, {len(samples)} frames, {total} steps of {recipe['batch']}",
        flush=True,
    )
    chances = rare_first(samples)
    stream = batches(
        samples, chances, recipe["batch"], total, args.seed, make, recipe["scales"], recipe["crop"]
    )
    path = out / f"{model.id}.pth"
    meta = {
        "CLASSES": list(CLASS_SETS[model.task].names),
        "model": model.id,
        "trained_on": f"bddzoo mini set, seed {TRAIN_SEED}, {len(samples)} train frames",
        "iterations": total,
        "seed": args.seed,
        "torch": str(torch.__version__),
    }

    def save() -> None:
        state = {k: v.detach().clone() for k, v in module.state_dict().items()}
        torch.save({"meta": meta, "state_dict": state}, path)

    optimise(module, stream, recipe, total, started, save)
    save()
    print(f"{path}: {path.stat().st_size} bytes, {time.time() - started:.0f} s", flush=True)
    return path


def report(scores: Scores) -> str:
    """The numbers as text, over all classes and for each."""
    lines = ["  ".join(f"{name} {value:.2f}" for name, value in scores.summary.items())]
    for metric in scores.table.keys() & {"IoU", "AP", "AP50"}:
        cells = (f"{name} {value:.1f}" for name, value in scores.table[metric].items())
        lines.append(f"{metric}: " + ", ".join(cells))
    return "\n".join(lines)


def main() -> None:
    """Make the data, train, measure on the held-back split."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=[*MODELS, "all"], default="all")
    parser.add_argument("--out", type=Path, required=True, help="folder for data, checkpoints and numbers")
    parser.add_argument("--iters", type=int, help="steps; by default the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=1200, help="training frames to draw")
    parser.add_argument("--val", type=int, default=24, help="held-back frames to measure on")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--start", type=Path, help="checkpoint to start from, as far as it fits")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.disable(logging.INFO)  # every single parameter's initialisation is announced otherwise
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, {args.threads} threads", flush=True
    )
    data = make_mini(args.out / "train", seed=TRAIN_SEED, train=args.frames, val=0).root
    held = make_mini(args.out / "val", seed=VAL_SEED, val=args.val).root
    registry = load_registry(None)
    ensure_ops()
    for task in MODELS if args.task == "all" else [args.task]:
        model = registry.find(MODELS[task])
        start = args.start or args.out / f"{MODELS[STARTS[task]]}.pth" if task in STARTS else args.start
        path = train(model, data, args.out, args, start if start and start.is_file() else None)
        scores = evaluate(model, held, weights=path, batch_size=1, device="cpu").scores
        print(report(scores), flush=True)
        numbers = {"summary": scores.summary, "table": scores.table}
        (args.out / f"{model.id}.json").write_text(json.dumps(numbers, indent=2))


if __name__ == "__main__":
    main()
