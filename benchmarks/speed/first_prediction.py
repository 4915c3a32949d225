"""From the start of a process to a network's first output: our imports against upstream's.

    python benchmarks/speed/first_prediction.py [--repeat N] [--out FILE]

Each run is a process of its own that builds one network and runs it on a 64x64 input, either through
`bddzoo.engines` as it is, or after `import mmdet.models; import mmseg.models`, which is what upstream's
own APIs import. Prints the least CPU time and the median wall time of each, and their ratio. Exits 1
where ours takes longer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

MODELS = ("fpn_r50_512x1024_40k_sem_seg_bdd100k", "mask_rcnn_r50_fpn_1x_ins_seg_bdd100k")
PLAIN = """
from bddzoo.engines.ops import ensure_ops
ensure_ops()
import mmdet.models, mmseg.models
"""
RUN = """
import json, sys, time
start, cpu = time.perf_counter(), time.process_time()
{imports}
from bddzoo.engines import build_network, make_runner
from bddzoo.registry import load_registry
model = load_registry(None).find({model!r})
runner = make_runner(build_network(model), model)
import torch
x = torch.zeros(1, 3, 64, 64)
if model.task == "sem_seg":
    runner.logits(x, (64, 64))
else:
    runner.detect(x, [(64, 64)], [(64, 64)], [(1.0, 1.0)])
print(json.dumps([time.process_time() - cpu, time.perf_counter() - start, len(sys.modules)]))
"""


def run(model: str, imports: str) -> list[float]:
    """CPU seconds, wall seconds, and imported modules of one process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN.format(imports=imports, model=model)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return list(json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to keep the numbers, as JSON")
    arguments = parser.parse_args()
    repeat, rows = arguments.repeat, []
    slower = False
    for model in MODELS:
        found: dict[str, list[list[float]]] = {"ours": [], "plain": []}
        for _ in range(repeat):  # alternating, so that both meet the same neighbours
            for way, imports in (("ours", ""), ("plain", PLAIN)):
                found[way].append(run(model, imports))
        cpu = {way: min(r[0] for r in runs) for way, runs in found.items()}
        wall = {way: statistics.median(r[1] for r in runs) for way, runs in found.items()}
        print(model)
        for way in found:
            print(f"  {way:6s} {cpu[way]:6.2f} s CPU {wall[way]:6.2f} s wall {found[way][0][2]:6.0f} modules")
        print(f"  ratio  {cpu['plain'] / cpu['ours']:6.2f}       {wall['plain'] / wall['ours']:6.2f}")
        slower = slower or cpu["ours"] > cpu["plain"]
        modules = {way: int(found[way][0][2]) for way in found}
        rows.append({"model": model, "cpu_s": cpu, "wall_s": wall, "modules": modules, "runs": repeat})
    if arguments.out:
        import msgspec

        from bddzoo.results import collect_environment

        content = {"versions": msgspec.to_builtins(collect_environment()), "rows": rows}
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
