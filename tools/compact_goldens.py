"""Make the packaged goldens of openseg.pytorch's networks from the whole ones.

Of each network's outputs with weights of variant n every second point of the logits is kept (of more than 64
classes every third class, too); of its facts what the self-test reads, and what made them.

    python tools/compact_goldens.py DIR
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TARGET = Path(__file__).parents[1] / "bddzoo/engines/golden/openseg"
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


def main() -> int:
    """Write outputs, manifests and index."""
    source = Path(sys.argv[1])
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
