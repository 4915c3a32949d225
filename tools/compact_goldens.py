"""Make the packaged goldens from the whole ones.

    python tools/compact_goldens.py DIR         openseg.pytorch's networks
    python tools/compact_goldens.py DIR TASK... networks of these tasks of bdd100k-models

Of openseg.pytorch's outputs with weights of variant n every second point of the logits is kept (of more than
64 classes every third class, too); of a task's goldens those of the two crops. Of image tagging the logits of
the crops, and where a network takes no crops those of the image, with the pixels of it that enter. Of the
facts of either what the self-test reads.
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
        kind = "tag" if task == "tagging" else "small_b"
        target, manifests = GOLDEN / f"{task}_{kind}", GOLDEN / "manifests" / task
        goldens = {path.stem: path for path in sorted((source / target.name).glob("*.npz"))}
        for folder in (target, manifests):
            folder.mkdir(exist_ok=True)
        kept: dict[str, Any] = {}
        for name, facts in index.items():
            golden = facts["golden"]
            if golden not in goldens:
                continue
            kept[name] = {"golden": golden}
            if name == golden:
                kept[name] |= {"gain": facts["gain"], "weights_sha256": facts["weights_sha256"]}
                kept[name]["goldens"] = {kind: {"noise": facts["goldens"][kind]["noise"]}}
            if kind == "tag":
                np.savez_compressed(target / goldens[golden].name, **of_classifier(goldens[golden]))  # type: ignore[arg-type]
            else:
                shutil.copyfile(goldens[golden], target / goldens[golden].name)
            manifest = source / "manifests" / task / f"{golden}.json.gz"
            shutil.copyfile(manifest, manifests / manifest.name)
        (GOLDEN / f"{task}_index.json").write_text(json.dumps(kept, indent=1) + "\n")


def of_classifier(golden: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a classifier that ship: logits of the crops, or of the image and where its pixels are."""
    arrays = dict(np.load(golden))
    crops = {name: arrays[name] for name in ("even_logits", "odd_logits") if name in arrays}
    if crops:
        return crops
    kept = {name: arrays[name] for name in ("input_shape", "input_sample", "logits")}
    return {**kept, "image_rows": entering(720, 256), "image_columns": entering(1280, 455)}


def entering(length: int, resized: int) -> npt.NDArray[np.int16]:
    """The rows or columns of an image that enter the middle 224 of its resized ones."""
    first = round((resized - 224) / 2)
    centres = (np.arange(first, first + 224) + 0.5) * length / resized - 0.5
    return np.unique(np.concatenate([np.floor(centres), np.floor(centres) + 1])).astype(np.int16)


def write_pixels(source: Path) -> None:
    """Write the pixels of the first image that enter classifiers of 224x224."""
    import cv2

    image = cv2.imread(str(source.parent / "input_720x1280.png"))
    assert image is not None
    cv2.imwrite(str(GOLDEN / "pixels_224.png"), image[np.ix_(entering(720, 256), entering(1280, 455))])


def main() -> int:
    """Write outputs, manifests and index."""
    source = Path(sys.argv[1])
    if sys.argv[2:]:
        copy_tasks(source, sys.argv[2:])
        if "tagging" in sys.argv:
            write_pixels(source)
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
