"""Check metrics and label values against a folder of openseg.pytorch's goldens.

Layout: `metrics/metrics.npz` and `metrics.json`: label and prediction files of each data set and the scores
of the zoo's own evaluators; `protocol/DATASET.npz` with the run's facts in `index.json`: what its trainer and
its tester made of one image. The networks are checked by `bddzoo.engines.selftest.openseg`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.openseg import DATA_SETS, DataSet
from bddzoo.engines.selftest.folder import read_arrays
from bddzoo.engines.selftest.measures import CheckResult, Measure, judged
from bddzoo.errors import IntegrityError
from bddzoo.evaluation.labelled import accumulator_of, count_labels
from bddzoo.reading import json_errors, read_limited

SUBJECT = "openseg/metrics"
# Sums of up to 171 ratios in float64 may be taken in another order.
METRIC_LIMIT = 1e-12
# The zoo's COCO-Stuff evaluator has one class too few and its tester writes the last one as 0, so that only
# its trainer's scores, of files with all ids, are the metric's.
_TRAINER = "trainer"
_CASES = {"coco_stuff": "coco_stuff_true_ids"}
COCO_LAST = 182


def check_metrics(folder: Path) -> list[CheckResult]:
    """Scores of label files, and values of labels, against every golden in the folder."""
    return [*_metrics(folder / "metrics"), *_protocols(folder)]


def score_map(dataset: str, truth: NDArray[np.uint8], class_map: NDArray[np.uint8]) -> dict[str, float]:
    """Scores of one predicted class map: mIoU and pixel accuracy as fractions, and the counted pixels.

    Args:
        dataset: One of the six.
        truth: (H, W) uint8, values of a label file.
        class_map: (H, W) uint8 class ids.
    """
    labels = DATA_SETS[dataset]
    scores = accumulator_of(labels)
    counts = count_labels(labels, truth, labels.to_files(class_map))
    scores.add("image", counts.matrix)
    summary = scores.compute().summary
    return {
        "mIoU": summary["mIoU"] / 100,
        "pixel_acc": summary["PixelACC"] / 100,
        "conf_total": float(counts.matrix.sum()),
    }


def _metrics(folder: Path) -> Iterator[CheckResult]:
    path = folder / "metrics.npz"
    if not path.is_file():
        return
    try:
        arrays, known = read_arrays(path), _read(folder / "metrics.json")
    except IntegrityError as error:
        yield CheckResult(SUBJECT, "metrics", "damaged", note=str(error))
        return
    for dataset in DATA_SETS.values():
        case = _CASES.get(dataset.id, dataset.id)
        theirs = known.get(f"{dataset.id}_{_TRAINER}") or known.get(dataset.id)
        if f"{case}_gt" not in arrays or theirs is None:
            continue
        finding = CheckResult(SUBJECT, dataset.id, "unknown")
        trainers = f"{dataset.id}_{_TRAINER}" in known
        with judged(finding, path):
            finding.measures = _compare(dataset, case, theirs, arrays, classes=not trainers)
        yield finding


def _compare(
    dataset: DataSet, case: str, theirs: Mapping[str, Any], arrays: Mapping[str, Any], *, classes: bool
) -> list[Measure]:
    scores = accumulator_of(dataset)
    total = 0
    for index, (gt, pred) in enumerate(zip(arrays[f"{case}_gt"], arrays[f"{case}_pred"], strict=True)):
        counts = count_labels(dataset, gt, pred)
        total += int(counts.matrix.sum())
        scores.add(str(index), counts.matrix)
    found = scores.compute()
    names = {"mIoU": "mIoU", "pixel_acc": "PixelACC", "mean_acc": "mRecall"}
    measures = [Measure("pixels", abs(total - int(theirs["total"])), 0, "count")]
    for name, ours in names.items():
        if name in theirs:
            measures.append(
                Measure(name, abs(found.summary[ours] / 100 - theirs[name]), METRIC_LIMIT, "score")
            )
    if classes and f"{case}_iou" in arrays:
        ours_by_class = np.array(list(found.table["IoU"].values())) / 100
        worst = float(np.nanmax(np.abs(ours_by_class - arrays[f"{case}_iou"])))
        measures.append(Measure("IoU of classes", worst, METRIC_LIMIT, "score"))
    return measures


def _protocols(folder: Path) -> Iterator[CheckResult]:
    path = folder / "index.json"
    runs: Mapping[str, Any] = _read(path).get("protocol", {}) if path.is_file() else {}
    for run in runs.values():
        dataset = DATA_SETS.get(str(run.get("dataset")))
        arrays_path = folder / "protocol" / f"{run.get('dataset')}.npz"
        if dataset is None or not arrays_path.is_file():
            continue
        finding = CheckResult(SUBJECT, f"labels {dataset.id}", "unknown")
        with judged(finding, arrays_path):
            finding.measures = list(_labels(dataset, run, read_arrays(arrays_path)))
        yield finding


def _labels(dataset: DataSet, run: Mapping[str, Any], arrays: Mapping[str, Any]) -> Iterator[Measure]:
    truth = arrays["gt_label"]
    counted = int((dataset.to_classes(truth) < len(dataset.ids)).sum())
    yield Measure("counted pixels", abs(counted - int(run["trainer_val"]["conf_total"])), 0, "px")
    if "single_logits_sample" not in arrays:  # else the tester did not do what the trainer did
        written = dataset.to_files(arrays["trainer_class_sample"])
        if dataset.id == "coco_stuff":
            written[written == COCO_LAST] = 0
        yield Measure("written labels", int((written != arrays["tester_label_png"]).sum()), 0, "px")


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = dict(json.loads(read_limited(path)))
    except json_errors(OSError, TypeError) as error:
        raise IntegrityError(
            f"{path} cannot be read: {error}", hint="copy the folder again, whole"
        ) from error
    return found
