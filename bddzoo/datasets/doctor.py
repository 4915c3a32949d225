"""The data-set doctor: what of a data set's folder is there, what is missing, what is broken.

Looks at every split of every task on its own, so that a folder with validation data alone is fine.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bddzoo.datasets.classes import BDD100K, BITMASK_TASKS, values_of_no_class
from bddzoo.datasets.decode import read_image
from bddzoo.datasets.formats.mask import read_bitmask, read_mask
from bddzoo.datasets.formats.other_task import refuse_other_task
from bddzoo.datasets.formats.readers import LabelSet, open_labels
from bddzoo.datasets.identity import published_images
from bddzoo.datasets.images import SPLITS, Listing, Sample
from bddzoo.datasets.layouts import TASKS, Layout, open_layout
from bddzoo.datasets.mini import read_marker
from bddzoo.datasets.openseg import DATA_SETS, DataSet
from bddzoo.datasets.sources import open_source
from bddzoo.errors import MissingError, UsageError

MAX_EXAMPLES = 5
Progress = Callable[[int, int], None]


@dataclass
class Fault:
    """One thing that is wrong, with the first few files it is wrong with.

    Attributes:
        what: In words.
        count: Number of files.
        examples: Some of them, or the full explanation of each.
        fatal: Whether an evaluation of the split cannot go on with it.
    """

    what: str
    count: int = 0
    examples: list[str] = field(default_factory=list)
    fatal: bool = True

    def add(self, example: str) -> None:
        """Count one more file."""
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(example)


@dataclass
class SplitReport:
    """What one split of one task holds.

    Attributes:
        task, split: Which.
        state: `complete` as published, `partial` (usable, but not all of the published images), `surplus`
            (usable, but more images than were published), `broken` (a fault that stops an evaluation), or
            `absent`.
        images, labels: Files found.
        expected: Images of the published data set, or of the mini set as it was made.
        attributes: Frames whose weather, scene and time of day are known.
        sizes: Image sizes `WxH` and how many images have them.
        findings: What is wrong.
        note: Why it is absent.
    """

    task: str
    split: str
    state: str = "absent"
    images: int = 0
    labels: int = 0
    expected: int = 0
    attributes: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    findings: list[Fault] = field(default_factory=list)
    note: str | None = None

    @property
    def usable(self) -> bool:
        """Whether an evaluation can run on it."""
        return self.state in ("complete", "partial", "surplus")


@dataclass
class DataReport:
    """What the doctor found.

    Attributes:
        root: The folder.
        mini: How it was made, if it is a mini set.
        splits: One report for each task and split that was looked at.
        dataset: Data set whose layout it was read in.
    """

    root: Path
    mini: dict[str, Any] | None
    splits: list[SplitReport]
    dataset: str = BDD100K

    @property
    def usable(self) -> bool:
        """Something can be evaluated, and nothing that is there is broken."""
        return any(s.usable for s in self.splits) and not any(s.state == "broken" for s in self.splits)


def examine(
    root: Path,
    tasks: Iterable[str] = TASKS,
    splits: Iterable[str] = SPLITS,
    *,
    quick: bool = False,
    progress: Progress | None = None,
    dataset: str | None = None,
) -> DataReport:
    """Examine a data set's folder.

    Args:
        root: The folder.
        tasks: Tasks to look at.
        splits: Splits to look at.
        quick: Names and counts alone; no file is opened.
        progress: Called with (files read, files in all).
        dataset: Data set that it should hold, see `open_layout`; None: BDD100K, or what a mini set says.

    Raises:
        MissingError: There is no such folder, or it is laid out for something else.
        UsageError: No such data set, or one that has none of the tasks.
    """
    mini = read_marker(Path(root))
    dataset = dataset or (mini or {}).get("dataset") or BDD100K
    labels = DATA_SETS.get(dataset)
    if labels is not None:
        tasks = _only_semantic(labels, tuple(tasks))
    layout = open_layout(root, dataset)
    found: list[tuple[SplitReport, Listing | None]] = []
    for task in tasks:
        for split in splits:
            found.append(_list(layout, dataset, task, split, mini))
    if not quick:
        for report, listing in found if labels is None else ():
            folder = layout.labels(report.task, report.split)
            if listing is not None and folder.is_dir():
                try:
                    refuse_other_task(report.task, open_source(folder), stills=True)
                except MissingError as error:
                    report.findings.append(Fault(error.message, 1))
        # Several tasks share their images.
        size_of = lru_cache(maxsize=None)(lambda path: read_image(path).size)
        jobs = [(report, frame) for report, listing in found if listing for frame in listing.frames]
        boxes = {
            report.split: open_labels(layout.labels("det", report.split), "det")
            for report, listing in found
            if report.task == "det" and listing is not None and report.labels
        }
        # OpenCV and zlib release the interpreter while they work.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done, finding in enumerate(
                pool.map(lambda job: _read(job[0], job[1], labels, boxes, size_of), jobs), 1
            ):
                finding()
                if progress:
                    progress(done, len(jobs))
    for report, listing in found:
        if listing is not None:
            report.state = _state(report, len(listing.frames))
    return DataReport(layout.root, mini, [report for report, _ in found], dataset)


def _only_semantic(labels: DataSet, tasks: tuple[str, ...]) -> tuple[str, ...]:
    if "sem_seg" not in tasks:
        raise UsageError(f"{labels.title} has no {', '.join(tasks)}", hint="it has sem_seg")
    return ("sem_seg",)


def _list(
    layout: Layout, dataset: str, task: str, split: str, mini: dict[str, Any] | None
) -> tuple[SplitReport, Listing | None]:
    expected = published_images(dataset, task, split) or 0
    if mini is not None:
        expected = int(mini.get(split, 0))
    report = SplitReport(task, split, expected=expected)
    folders = [layout.image_folder(task, split), layout.labels(task, split)]
    try:
        listing = layout.listing(task, split)
    except MissingError as error:
        report.note = str(error)
        # Both halves are there and do not make a split: that is a fault, not an absence.
        if folders[0].is_dir() and folders[1].exists():
            report.state = "broken"
            report.findings.append(Fault(error.message, 1))
        return report, None
    report.images = len(listing.frames) + len(listing.without_label)
    report.labels = sum(f.label is not None for f in listing.frames) + len(listing.without_image)
    report.attributes = sum(bool(f.attributes) for f in listing.frames)
    for stems, what, fatal in (
        (listing.without_image, "labels without an image", True),
        (listing.without_label, "images without a label", False),
    ):
        if stems:
            report.findings.append(Fault(what, len(stems), list(stems[:MAX_EXAMPLES]), fatal))
    return report, listing


def _state(report: SplitReport, frames: int) -> str:
    if any(f.fatal for f in report.findings):
        return "broken"
    if frames > report.expected > 0:
        return "surplus"
    return "complete" if report.images >= report.expected and not report.findings else "partial"


def _finding(report: SplitReport, what: str) -> Fault:
    for finding in report.findings:
        if finding.what == what:
            return finding
    report.findings.append(Fault(what))
    return report.findings[-1]


def _read(
    report: SplitReport,
    frame: Sample,
    labels: DataSet | None,
    boxes: Mapping[str, LabelSet],
    size_of: Callable[[Path], tuple[int, int]],
) -> Callable[[], None]:
    """Read an image and its label; what is returned notes in the report what was found."""
    try:
        height, width = size_of(frame.image)
    except MissingError as error:
        text = str(error)
        return lambda: _finding(report, "images that cannot be read").add(text)
    faults: list[tuple[str, str]] = []
    if report.task == "det" and frame.label is not None:
        try:
            outside = _boxes_outside(boxes[report.split], frame.name, (height, width))
            faults += [("boxes outside of their image", f"{frame.name}: {box}") for box in outside]
        except MissingError as error:
            faults.append(("labels that cannot be read", str(error)))
    elif report.task != "tagging" and (label := frame.label) is not None:
        try:
            shape, strange, guess = _label(report.task, label, labels)
        except MissingError as error:
            faults.append(("labels that cannot be read", str(error)))
        else:
            if shape != (height, width):
                text = f"{label}: {shape[1]}x{shape[0]}, its image is {width}x{height}"
                faults.append(("labels of another size than their image", text))
            if strange:
                text = f"{label}: {', '.join(map(str, strange[:MAX_EXAMPLES]))}"
                text += f"; {guess}" if guess else ""
                faults.append(("labels with values that are not a class", text))

    def note() -> None:
        sizes = Counter(report.sizes)
        sizes[f"{width}x{height}"] += 1
        report.sizes = dict(sizes.most_common())
        for what, example in faults:
            _finding(report, what).add(example)

    return note


def _boxes_outside(labels: LabelSet, name: str, size: tuple[int, int]) -> list[str]:
    """Boxes of a frame that hold no pixel of the image, as text."""
    key = labels.find(Path(name).stem)
    found = labels.read(key).items if key is not None else []
    height, width = size
    boxes = [item.box for item in found if item.box is not None]
    inside = [min(x2, width) > max(x1, 0) and min(y2, height) > max(y1, 0) for x1, y1, x2, y2 in boxes]
    return [" ".join(f"{value:g}" for value in box) for box, ok in zip(boxes, inside, strict=True) if not ok]


def _label(task: str, path: Path, labels: DataSet | None) -> tuple[tuple[int, int], list[int], str]:
    """Height and width of a label, the values in it that mean nothing, and whose they may be."""
    if labels is not None:
        pixels = read_mask(path)
        found = np.bincount(pixels.ravel(), minlength=256).nonzero()[0].tolist()
        strange = labels.foreign(found)
        return (pixels.shape[0], pixels.shape[1]), strange, labels.explain(found) if strange else ""
    pixels = read_bitmask(path) if task in BITMASK_TASKS else read_mask(path)
    strange = values_of_no_class(task, pixels[..., 0] if pixels.ndim == 3 else pixels)
    return (pixels.shape[0], pixels.shape[1]), strange, ""
