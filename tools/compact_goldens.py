"""Make the packaged goldens from the whole ones.

    python tools/compact_goldens.py DIR         openseg.pytorch's networks
    python tools/compact_goldens.py DIR TASK... networks of these tasks of bdd100k-models

Of openseg.pytorch's outputs with weights of variant n every second point of the logits is kept (of more than
64 classes every third class, too); of a task's goldens those of the two crops. Of the facts of either what
the self-test reads.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

GOLDEN = Path(__file__).parents[1] / "bddzoo/engines/golden"
TARGET = GOLDEN / "openseg"
FACTS = (
    "id",
    "model_name",
    "backbone",
    "num_classes",
    "bn_type",
    "input_mode",
    "normalize",
    "gain",
    "num_params",
    "num_entries",
    "weights_sha256",
)
MADE_BY = "openseg.pytorch's own code, {source_tree}, config {config}, on PyTorch 1.13.1"
MANY_CLASSES = 64
# Full height of the crop, for which the goldens' grids were made; a grid begins half its distance inside.
CROP_ROWS = {"even": 128, "odd": 97}


def compact(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The arrays that ship."""
    kept = {}
    for crop, rows in CROP_ROWS.items():
        for output in ("main", "aux"):
            name = f"{crop}_{output}"
            if name not in arrays:
                continue
            whole = arrays[name]
            step = next(s for s in (8, 16, 32) if len(range(s // 2, rows, s)) == whole.shape[1])
            classes = 3 if len(whole) > MANY_CLASSES else 1
            kept[name] = whole[::classes, ::2, ::2]
            kept[f"{name}_stats"] = arrays[f"{name}_stats"]
            kept[f"{name}_grid"] = np.array([classes, step // 2, step * 2])
    return kept


def copy_tasks(source: Path, tasks: list[str]) -> None:
    """Write the goldens of the crops, the manifests of their networks, and an index, for each task."""
    for task in tasks:
        index = json.loads((source / f"{task}_index.json").read_text())
        goldens = {path.stem: path for path in sorted((source / f"{task}_small_b").glob("*.npz"))}
        manifests = GOLDEN / "manifests" / task
        for folder in (GOLDEN / f"{task}_small_b", manifests):
            folder.mkdir(exist_ok=True)
        kept: dict[str, Any] = {}
        for name, facts in index.items():
            golden = facts["golden"]
            if golden not in goldens:
                continue
            kept[name] = {"golden": golden}
            if name == golden:
                kept[name] |= {"gain": facts["gain"], "weights_sha256": facts["weights_sha256"]}
                kept[name]["goldens"] = {"small_b": {"noise": facts["goldens"]["small_b"]["noise"]}}
            shutil.copyfile(goldens[golden], GOLDEN / f"{task}_small_b" / goldens[golden].name)
            manifest = source / "manifests" / task / f"{golden}.json.gz"
            shutil.copyfile(manifest, manifests / manifest.name)
        (GOLDEN / f"{task}_index.json").write_text(json.dumps(kept, indent=1) + "\n")


def main() -> int:
    """Write outputs, manifests and index."""
    source = Path(sys.argv[1])
    if sys.argv[2:]:
        copy_tasks(source, sys.argv[2:])
        return 0
    networks = json.loads((source / "index.json").read_text())["networks"]
    for network in networks:
        manifest, outputs = (f"manifests/{network['id']}.json.gz", f"outputs/{network['id']}__n.npz")
        shutil.copyfile(source / manifest, TARGET / manifest)
        with np.load(source / outputs) as arrays:
            kept: dict[str, Any] = compact({k: arrays[k] for k in arrays.files})
            np.savez_compressed(TARGET / outputs, **kept)
    facts = [{**{k: n[k] for k in FACTS}, "made_by": MADE_BY.format(**n)} for n in networks]
    (TARGET / "index.json").write_text(json.dumps({"networks": facts}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
