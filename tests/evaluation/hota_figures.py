"""Writes TrackEval's HOTA next to the cases in tests/data/tracking/hota.json; needs `pip install trackeval`.

It imports nothing of bddzoo: boxes are compared and tracks are numbered here.
"""

import json
from pathlib import Path

import numpy as np
import trackeval

CASES = Path(__file__).parents[1] / "data" / "tracking" / "hota.json"
CLASSES = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")


def boxes(labels):
    found = np.array([[*label["box2d"].values()] for label in labels], float).reshape(-1, 4)
    found[:, 2:] += 1
    return found


def iou(a, b):
    side = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.maximum(side, 0).prod(axis=2)
    area = [(x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b)]
    return common / (area[0][:, None] + area[1][None, :] - common)


def sequence(gt, pred, kind):
    numbers = ({}, {})
    data = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for pair in zip(gt, sorted(pred, key=lambda frame: frame["frameIndex"]), strict=True):
        both = [[k for k in frame["labels"] or [] if k["category"] == kind] for frame in pair]
        for key, labels, known in zip(("gt_ids", "tracker_ids"), both, numbers, strict=True):
            data[key].append(np.array([known.setdefault(k["id"], len(known)) for k in labels], int))
        data["similarity_scores"].append(iou(*map(boxes, both)))
    for side, key, known in zip(("gt", "tracker"), ("gt_ids", "tracker_ids"), numbers, strict=True):
        data[f"num_{side}_dets"] = sum(map(len, data[key]))
        data[f"num_{side}_ids"] = len(known)
    return data


def figures(found):
    return {metric: 100 * float(np.mean(found[metric])) for metric in ("HOTA", "DetA", "AssA")}


def main():
    cases = json.loads(CASES.read_text())
    metric = trackeval.metrics.HOTA()
    for case in cases:
        videos = sorted({frame["videoName"] for frame in case["gt"]})
        classes = {}
        for kind in CLASSES:
            found = {}
            for video in videos:
                sides = ([f for f in case[side] if f["videoName"] == video] for side in ("gt", "pred"))
                found[video] = metric.eval_sequence(sequence(*sides, kind))
            classes[kind] = metric.combine_sequences(found)
        case["expected"] = {
            **{kind: figures(found) for kind, found in classes.items()},
            "AVERAGE": figures(metric.combine_classes_class_averaged(classes)),
            "OVERALL": figures(metric.combine_classes_det_averaged(classes)),
        }
    CASES.write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
