"""Scores of image tagging: one class of weather, scene or time of day for each frame.

The zoo's accuracy is mmcls' top-1 over all frames; `undefined` is a class like the others. The official
toolkit does not evaluate it. Scalabel does (`scalabel.eval.tagging`); its accuracy is the same but for
frames without a prediction: it takes them for right. Precision, recall and F1 are Scalabel's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bddzoo.datasets.attributes import UNKNOWN, read_attribute_files
from bddzoo.datasets.classes import TAGS
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation.jobs import FrameWarnings, listing
from bddzoo.evaluation.metrics.semseg import SemSegAccumulator
from bddzoo.evaluation.options import Evaluation, Options
from bddzoo.reading import json_errors


class _Results(msgspec.Struct):
    """What mmcls' `test.py --out` writes: predictions in the order of the label file."""

    pred_class: list[str]


def evaluate_tags(gt: Path, pred: Path, options: Options) -> Evaluation:
    """Score predicted attributes of frames.

    Args:
        gt: Label JSON whose frames have attributes, or a folder or archive of such files.
        pred: The same, or the `preds.json` that the zoo's own script writes, without names of frames.
        options: How strictly, and which attribute; it is told by the predictions where none is chosen.

    Raises:
        UsageError: The predictions hold several attributes.
        MissingError: Something cannot be read, is not a class, or lacks.
    """
    attribute = options.attribute
    truth = read_attribute_files(gt)
    remarks = FrameWarnings()
    source = open_source(pred)
    texts = source.with_suffix(".json")
    if not texts:
        raise MissingError(f"{pred} has no JSON files", hint="tags come as JSON")
    listed = _listed(source, texts[0]) if len(texts) == 1 else None
    if listed is not None:
        found, attribute = _in_order(listed, truth, gt, pred, attribute)
        remarks.add("unnamed", str(pred))
    else:
        found = read_attribute_files(pred)
        attribute = attribute or _only_attribute(found, pred)
    classes = TAGS[attribute]
    tagged = {name: values[attribute] for name, values in truth.items() if _has(values, attribute)}
    for name in sorted(truth.keys() - tagged.keys()):
        remarks.add("untagged", name)
    if not tagged:
        raise MissingError(f"{gt} has no frame with a {attribute}")
    for name in sorted(found.keys() - truth.keys()):
        remarks.add("extra", name)
    missing = [name for name in tagged if not _has(found.get(name, {}), attribute)]
    if len(missing) == len(tagged):
        raise MissingError(f"{pred} has no {attribute} for any frame of {gt}")
    if missing and not options.allow_partial:
        raise MissingError(
            f"{pred} has no {attribute} for {len(missing)} of {len(tagged)} frames: {listing(missing)}",
            hint="--allow-partial scores the rest and says so",
        )
    scores = SemSegAccumulator(classes, "tagging", "tagging")
    for name, value in tagged.items():
        if not _has(found.get(name, {}), attribute):
            continue
        predicted = found[name][attribute]
        _class(predicted, classes, pred, name)
        scores.add(name, tag_counts(classes, value, predicted, gt, name))
    result = Evaluation(scores.compute(), scores, "attributes", remarks.lines(), missing)
    if missing:
        result.scores = replace(result.scores, partial=True)
        right = int(np.diagonal(scores.matrix).sum()) + len(missing)
        result.official_note = (
            f"Scalabel takes frames without a prediction for right: accuracy {100 * right / len(tagged):.2f}"
        )
    return result


def tag_counts(
    classes: Sequence[str], actual: str, predicted: str, gt: Path, frame: str
) -> NDArray[np.int64]:
    """The confusion matrix (classes, classes + 1) of one frame.

    Args:
        classes: Names of the classes.
        actual: The frame's class by its label.
        predicted: The predicted one.
        gt: Label file, for messages.
        frame: Name of the frame, for messages.

    Raises:
        MissingError: The label is not one of the classes.
    """
    counts = np.zeros((len(classes), len(classes) + 1), np.int64)
    counts[_class(actual, classes, gt, frame), classes.index(predicted)] = 1
    return counts


def _has(values: Mapping[str, str], attribute: str) -> bool:
    return values.get(attribute, UNKNOWN) != UNKNOWN


def _class(name: str, classes: Sequence[str], path: Path, frame: str) -> int:
    if name not in classes:
        raise MissingError(
            f"{path}, frame {frame}: no such class: {name!r}", hint="known are " + ", ".join(classes)
        )
    return classes.index(name)


def _listed(source: Source, member: str) -> list[str] | None:
    """Predicted classes where the file is a list of them without names of frames, otherwise None."""
    content = source.read_text(member)
    if b'"pred_class"' not in content:
        return None
    try:
        return msgspec.json.decode(content, type=_Results).pred_class
    except json_errors() as error:
        raise MissingError(f"{source.where(member)} is not a file of predicted classes: {error}") from None


def _in_order(
    listed: Sequence[str], truth: Mapping[str, object], gt: Path, pred: Path, attribute: str | None
) -> tuple[dict[str, dict[str, str]], str]:
    """Predictions by frame, in the order of the ground truth, and the attribute that they are of."""
    if len(listed) != len(truth):
        raise MissingError(
            f"{pred} has {len(listed)} predictions without names, {gt} has {len(truth)} frames",
            hint="they belong together by their order alone: give the label file that was predicted",
        )
    fitting = [key for key, classes in TAGS.items() if set(listed) <= set(classes)]
    attribute = attribute or (fitting[0] if len(fitting) == 1 else None)
    if attribute is None:
        raise UsageError(
            f"{pred} does not tell its attribute", hint="say which with --attribute: " + ", ".join(TAGS)
        )
    return {name: {attribute: value} for name, value in zip(truth, listed, strict=True)}, attribute


def _only_attribute(found: Mapping[str, Mapping[str, str]], pred: Path) -> str:
    """The one attribute of all predictions."""
    known = [key for key in TAGS if any(key in values for values in found.values())]
    if len(known) == 1:
        return known[0]
    held = " and ".join(known) or "none of " + ", ".join(TAGS)
    raise UsageError(f"{pred} holds {held}", hint="say which with --attribute")
