"""Seconds and peak memory for one 2048 x 1024 image: openseg's networks as built, and as they run here.

    python benchmarks/speed/openseg.py [--network isa ocr] [--size 1024x2048] [--rounds N] [--save FILE]

`plain` is the module as `build_network` gives it, both outputs, as openseg's own code computes them, on
PyTorch's usual allocator; `main` the same without the auxiliary output where nothing needs it; `ours` what
`bddzoo eval` and `predict` run. Each is a process of its own with deterministic weights, one small input
before the clock starts, and the best of the rounds. Logits are compared as well: exits 1 when they differ
by more than the selftest's limit, or the gain over `main` is below `--at-least`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

# Architecture, backbone and gain of the deterministic weights.
NETWORKS = {"isa": ("isanet", "deepbase_resnet101_dilated8", 0.6), "ocr": ("hrnet_w48_ocr", "hrnet48", 0.6)}
SIDES = ("plain", "main", "ours")
LIMIT = 3e-5


def measure(network: str, side: str, size: tuple[int, int], rounds: int, save: Path) -> None:
    """Measure one side in this process; prints one line of JSON."""
    import torch

    from bddzoo.engines.openseg.network import OpensegNetwork
    from bddzoo.engines.openseg.spec import Spec
    from bddzoo.engines.recipe import recipe_state

    arch, backbone, gain = NETWORKS[network]
    module = OpensegNetwork(Spec(arch, backbone, 19))
    module.load_state_dict(recipe_state(module, gain))
    if side == "ours":
        from bddzoo.inference.cpu import keep_freed_memory, tune_for_cpu

        keep_freed_memory()
        tune_for_cpu(module)
    generator = torch.Generator().manual_seed(0)
    small = torch.randn((1, 3, size[0] // 32, size[1] // 32), generator=generator)
    x = torch.nn.functional.interpolate(small, size, mode="bicubic")
    seconds, cpu = [], []
    with torch.inference_mode():
        module.encode_decode(x[:, :, : size[0] // 8, : size[1] // 8])
        before = peak_mb()
        for _ in range(rounds):
            start, spent = time.perf_counter(), time.process_time()
            logits = module(x)[1] if side == "plain" else module.encode_decode(x)
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - spent)
    np.save(save, logits[0, :, ::4, ::4].numpy())
    found = {"seconds": min(seconds), "cpu": min(cpu), "rounds": rounds, "threads": torch.get_num_threads()}
    print(json.dumps({**found, "peak_mb": peak_mb(), "peak_mb_before": before}))


def peak_mb() -> int:
    """The largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run(network: str, side: str, arguments: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Any]:
    """Measure one side in a fresh process."""
    save = folder / f"{network}_{side}.npy"
    command = [sys.executable, __file__, "--worker", side, "--network", network, "--save", str(save)]
    command += ["--size", arguments.size, "--rounds", str(arguments.rounds)]
    threads = str(os.cpu_count() or 1)
    environment = {"OMP_NUM_THREADS": threads, **os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1]), np.load(save)


def main() -> int:
    """Measure, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--size", default="1024x2048", help="HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--at-least", type=float, default=1.3)
    parser.add_argument("--save", type=Path, help="write the numbers there, as JSON")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        height, width = (int(n) for n in arguments.size.split("x"))
        measure(arguments.network[0], arguments.worker, (height, width), arguments.rounds, arguments.save)
        return 0
    results: dict[str, Any] = {}
    good = True
    with tempfile.TemporaryDirectory() as name:
        for network in arguments.network:
            sides, logits = {}, {}
            for side in SIDES:
                sides[side], logits[side] = run(network, side, arguments, Path(name))
                numbers = sides[side]
                print(
                    f"{network:4} {side:6} {numbers['seconds']:7.2f} s  {numbers['cpu']:7.2f} s CPU"
                    f"  peak {numbers['peak_mb']} MB",
                    flush=True,
                )
            apart = float(np.abs(logits["ours"] - logits["plain"]).max() / logits["plain"].std())
            pixels = int((logits["ours"].argmax(0) != logits["plain"].argmax(0)).sum())
            gains = {side: sides[side]["seconds"] / sides["ours"]["seconds"] for side in ("plain", "main")}
            good &= apart <= LIMIT and gains["main"] >= arguments.at_least
            results[network] = {
                **sides,
                "gain": {side: round(value, 2) for side, value in gains.items()},
                "max_difference_std": apart,
                "differing_classes": pixels,
            }
            print(f"{network:4} gains {results[network]['gain']}, logits within {apart:.1e} std", flush=True)
    if arguments.save:
        text = json.dumps({"size": arguments.size, "networks": results}, indent=1)
        arguments.save.write_text(text + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
