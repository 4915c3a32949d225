"""Runs a network while the operating system lets this process have little more memory.

Prints, as JSON, the batch sizes that memory made necessary, the images that were given up, and a digest of
every class map. Used by test_memory.py, in a process of its own: a limit cannot be taken back.
"""

from __future__ import annotations

import hashlib
import json
import resource
from pathlib import Path

import torch

from bddzoo.inference.batches import Events
from bddzoo.inference.load import load_runner
from bddzoo.inference.pipeline import predict_frames
from bddzoo.registry import load_registry
from tests.cli.command import ROOT

NAME = "demo_semfpn_r18n_sem_seg"


def virtual_bytes() -> int:
    """Address space of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def predict(folder: Path, batch: int, room_mib: int) -> None:
    torch.set_num_threads(1)
    model = load_registry(None).find(NAME)
    runner, device = load_runner(model, ROOT / "bddzoo" / "demo" / f"{NAME}.pth", "cpu")
    images = [(path.name, path) for path in sorted(folder.iterdir())]
    # Threads and libraries come before the limit.
    list(predict_frames(runner, model, images[:1], device=device, workers=1))
    if room_mib:
        limit = virtual_bytes() + (room_mib << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sizes: list[int] = []
    failed: list[str] = []
    events = Events(error=lambda name, _: failed.append(name), smaller_batch=sizes.append)
    found = predict_frames(runner, model, images, device=device, batch_size=batch, workers=1, events=events)
    digests = {name: hashlib.sha256(result.tobytes()).hexdigest() for name, result in found}
    print(json.dumps({"sizes": sizes, "failed": failed, "digests": digests}))
