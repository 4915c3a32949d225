"""From the start of a process to a network's first output, for both lines of OpenMMLab's libraries.

    python benchmarks/speed/first_prediction.py [--other PYTHON] [--repeat N] [--out FILE]

Each run is a process of its own that builds one network and runs it on a 64x64 input, either through
`bddzoo.engines` as it is, or after `import mmdet.models; import mmseg.models`, which is what upstream's
own APIs import. Prints the least CPU time and the median wall time of each. `--other` is the Python of an
environment with the other line (`tools/share_torch.py` and `bootstrap.py install run-onedl` make one): its
runs alternate with this one's, and both lines' outputs for the same weights and input are compared.
Exits 1 where ours takes longer than upstream's imports, or outputs differ by more than the self-test's limit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bddzoo.engines.selftest.measures import limit_of

ROOT = Path(__file__).resolve().parents[2]
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
from bddzoo.engines.load import build_network
from bddzoo.engines.load import make_runner
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
OUTPUTS = """
import numpy as np, torch
from bddzoo.engines.load import build_network
from bddzoo.engines.load import make_runner
from bddzoo.engines.load import full_float32
from bddzoo.engines.recipe import recipe_state
from bddzoo.engines.selftest.folder import GoldenFolder, packaged
from bddzoo.registry import load_registry
model = load_registry(None).find({model!r})
with packaged() as folder:
    golden = next(g for g in GoldenFolder(folder).goldens(model.task, model.id) if g.gain)
module = build_network(model)
module.load_state_dict(recipe_state(module, golden.gain, golden.kind.variant))
runner = make_runner(module, model)
x = torch.randn(1, 3, 128, 256, generator=torch.Generator().manual_seed(0))
with full_float32():
    if model.task == "sem_seg":
        found = {{"logits": runner.logits(x, (128, 256)).numpy()}}
    else:
        instances, = runner.detect(x, [(128, 256)], [(128, 256)], [(1.0, 1.0)])
        found = {{"boxes": instances.boxes, "scores": instances.scores, "masks": instances.masks.sum((1, 2))}}
np.savez({target!r}, **found)
"""
LINE = "from bddzoo.engines.openmmlab import line_in_use; print(line_in_use().extra)"
VERSIONS = """
import json, msgspec
from bddzoo.results.environment import collect_environment
print(json.dumps(msgspec.to_builtins(collect_environment())))
"""


def run(python: str, code: str) -> str:
    """The last line that a process of that interpreter prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [python, "-W", "ignore", "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return (done.stdout.splitlines() or [""])[-1]


def measure(model: str, pythons: dict[str, str], repeat: int) -> list[dict[str, Any]]:
    """CPU and wall seconds of every line and way; runs alternate, so that all meet the same neighbours."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(repeat):
        for line, python in pythons.items():
            for way, imports in (("ours", ""), ("plain", PLAIN)):
                code = RUN.format(imports=imports, model=model)
                found.setdefault((line, way), []).append(json.loads(run(python, code)))
    return [
        {
            "model": model,
            "line": line,
            "imports": way,
            "cpu_s": min(r[0] for r in runs),
            "wall_s": statistics.median(r[1] for r in runs),
            "modules": int(runs[0][2]),
            "runs": repeat,
        }
        for (line, way), runs in found.items()
    ]


def deviation(model: str, pythons: dict[str, str]) -> float:
    """The largest deviation between the lines' outputs, in units of an output's standard deviation."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{line}.npz") for line in pythons]
        for file, python in zip(files, pythons.values(), strict=True):
            run(python, OUTPUTS.format(model=model, target=str(file)))
        ours, theirs = (np.load(file) for file in files)
        shapes = [ours[name].shape != theirs[name].shape or not ours[name].size for name in ours.files]
        if any(shapes):
            return float("inf")
        return max(float(np.abs(ours[n] - theirs[n]).max() / (ours[n].std() or 1)) for n in ours.files)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other", metavar="PYTHON", help="interpreter with the other line of libraries")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to keep the numbers, as JSON")
    arguments = parser.parse_args()
    pythons = {run(python, LINE): python for python in (sys.executable, arguments.other) if python}
    rows: list[dict[str, Any]] = []
    outputs: dict[str, float] = {}
    for model in MODELS:
        print(model)
        of_model = measure(model, pythons, arguments.repeat)
        for row in of_model:
            figures = f"{row['cpu_s']:6.2f} s CPU {row['wall_s']:6.2f} s wall {row['modules']:6d} modules"
            print(f"  {row['line']:10s} {row['imports']:6s} {figures}")
        rows += of_model
        if len(pythons) > 1:
            outputs[model] = deviation(model, pythons)
            print(f"  outputs of the lines differ by {outputs[model]:.1e} standard deviations")
    if arguments.out:
        versions = {line: json.loads(run(python, VERSIONS)) for line, python in pythons.items()}
        content = {"versions": versions, "rows": rows, "largest_deviation_std": outputs}
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    cpu = {(row["model"], row["line"], row["imports"]): row["cpu_s"] for row in rows}
    slower = any(cpu[m, line, "ours"] > cpu[m, line, "plain"] for m in MODELS for line in pythons)
    return int(slower or any(value > limit_of("values", "std", None) for value in outputs.values()))


if __name__ == "__main__":
    sys.exit(main())
