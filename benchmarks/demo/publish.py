"""Make the files that the demo zoo publishes next to its weights: predictions and scores of the val split.

    bddzoo data mini -o mini
    bddzoo eval demo --data mini --out out
    python benchmarks/demo/publish.py --data mini --predictions out --out bddzoo/demo

The same predictions always give the same bytes. Size and digests, for the registry, are printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2

from bddzoo.evaluation.det_frames import score_detections
from bddzoo.evaluation.disk import evaluate
from bddzoo.evaluation.metrics.scores import Scores
from bddzoo.evaluation.prediction_files import find_detections
from bddzoo.files import zip_info

# What of the predictions is published, and the ground truth.
MODELS = {
    "demo_semfpn_r18n_sem_seg": ("sem_seg", ("sem_seg.json",), "sem_seg/masks/val"),
    "demo_mask_rcnn_r18n_ins_seg": (
        "ins_seg",
        ("bitmasks/*.png", "score.json", "det.json"),
        "ins_seg/bitmasks/val",
    ),
    "demo_semfpn_r18n_drivable": ("drivable", ("drivable.json",), "drivable/masks/val"),
    "demo_faster_rcnn_r18n_det": ("det", ("det.json",), "det_20/det_val.json"),
}


def compact(value: Any) -> bytes:
    """JSON without spaces and without keys that say nothing."""

    def lean(item: Any) -> Any:
        if isinstance(item, dict):
            return {k: lean(v) for k, v in item.items() if v is not None}
        return [lean(v) for v in item] if isinstance(item, list) else item

    return json.dumps(lean(value), separators=(",", ":")).encode()


def small(path: Path) -> bytes:
    """The same pixels in as few bytes as PNG allows."""
    how = [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED]
    done, encoded = cv2.imencode(".png", cv2.imread(str(path), cv2.IMREAD_UNCHANGED), how)
    assert done
    return encoded.tobytes()


def pack(target: Path, members: dict[str, bytes]) -> None:
    """Write a zip archive whose bytes depend on nothing but its members."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(members.items()):
            entry = zip_info(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def official(scores: Scores, *more: Scores) -> dict[str, Any]:
    """The official toolkit's result, and box AP in the same shape."""
    out = scores.to_official()
    for other in more:
        for metric, classes in other.table.items():
            out[metric] = [dict(classes), {"OVERALL": other.summary[metric]}]
    return out


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "predictions", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    for model, (task, patterns, labels) in MODELS.items():
        found = given.predictions / model
        paths = [path for pattern in patterns for path in found.glob(pattern)]
        members = {
            path.relative_to(found).as_posix(): small(path)
            if path.suffix == ".png"
            else compact(json.loads(path.read_bytes()))
            for path in paths
        }
        archive, truth = given.out / f"{model}.zip", given.data / "labels" / labels
        pack(archive, members)
        scores = [evaluate(task, truth, archive).scores]
        boxes = find_detections(archive) if task == "ins_seg" else None
        if boxes is not None:
            scores.append(score_detections(truth, *boxes))
        (given.out / f"{model}.json").write_text(json.dumps(official(*scores), indent=1) + "\n")
    for path in sorted(given.out.glob("demo_*")):
        content = path.read_bytes()
        digests = [f"{name}:{hashlib.new(name, content).hexdigest()}" for name in ("md5", "sha256")]
        print(path.name, len(content), *digests)


if __name__ == "__main__":
    main()
