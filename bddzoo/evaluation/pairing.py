"""Which prediction belongs to which ground truth; many pairs matched at once, straight from their JSON."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

import msgspec

from bddzoo.datasets.formats.boxes import Kinds
from bddzoo.datasets.formats.frames import Frames
from bddzoo.datasets.images import frame_stem
from bddzoo.datasets.native import Side, native
from bddzoo.datasets.sources import Source
from bddzoo.errors import MissingError
from bddzoo.evaluation.jobs import FrameWarnings, listing
from bddzoo.evaluation.metrics.matching import MAX_DETECTIONS, SETTINGS
from bddzoo.evaluation.metrics.semseg import shape_text
from bddzoo.evaluation.options import Options


class MaskPair(msgspec.Struct, frozen=True, gc=False):
    """Ground truth and prediction of a frame, as members of their sources."""

    name: str
    gt: str
    pred: str | None


class FramePair(msgspec.Struct, frozen=True, gc=False):
    """Ground truth and prediction of a frame, as positions in their JSON files."""

    name: str
    gt: int
    pred: int | None


def stem(name: str) -> str:
    """Bare name of a file's frame: without folders, suffix, and what tells its files apart (`_train_id`)."""
    return frame_stem(PurePosixPath(name).stem)


def _bare(name: str) -> str:
    """File name without folders and suffix: what the toolkit matches masks by."""
    return PurePosixPath(name).stem


def pair_masks(
    gt: Source, pred: Source, options: Options, remarks: FrameWarnings, *, by_name: bool = False
) -> tuple[list[MaskPair], list[str]]:
    """Pairs in the order of the ground truth's paths, and the frames without a prediction.

    Args:
        gt: Ground truth.
        pred: Predictions.
        options: Strict refuses duplicates; official lets the last one win.
        remarks: Extra predictions are noted here.
        by_name: Official mode: ground truth with the same file name is one frame (ins_seg).

    Raises:
        MissingError: Nothing to score, or duplicate names.
    """
    truth, found = gt.with_suffix(".png"), pred.with_suffix(".png")
    if not options.official:
        if not truth:
            raise MissingError(
                f"{gt.path} has no PNG files", hint="ground truth and predictions must be alike"
            )
        for source, members in ((gt, truth), (pred, found)):
            _refuse_duplicates(source, members)
    name_of = _bare if options.official else stem
    by_stem = {name_of(m): m for m in found}
    if by_name:
        first = {PurePosixPath(m).name: m for m in reversed(truth)}
        last = {PurePosixPath(m).name: m for m in truth}
        pairs = [MaskPair(first[n], last[n], by_stem.get(name_of(n))) for n in last]
    else:
        pairs = [MaskPair(m, m, by_stem.get(name_of(m))) for m in truth]
    extra = by_stem.keys() - {name_of(m) for m in truth}
    for name in sorted(extra):
        remarks.add("extra", str(pred.where(by_stem[name])))
    return pairs, [p.name for p in pairs if p.pred is None]


def other_size(source: Source, pair: MaskPair, gt: tuple[int, ...], pred: tuple[int, ...]) -> MissingError:
    """The error for a prediction of another shape than its ground truth."""
    turned = gt[:2] == pred[1::-1]
    return MissingError(
        f"{source.where(pair.pred or '')} is {shape_text(pred)}, the ground truth is {shape_text(gt)}"
        + (" (transposed?)" if turned else ""),
        hint="predictions are scored at the size of the ground truth",
    )


def _refuse_duplicates(source: Source, members: Sequence[str]) -> None:
    groups: dict[str, list[str]] = defaultdict(list)
    for member in members:
        groups[stem(member)].append(member)
    twice = [g for g in groups.values() if len(g) > 1]
    if twice:
        raise MissingError(
            f"{source.path} has {len(twice)} file name(s) more than once: {listing(twice[0])}",
            hint="frames are matched by bare file name; one of them would be scored at random",
        )


def pair_frames(
    gt: Frames, pred: Frames, options: Options, remarks: FrameWarnings
) -> tuple[list[FramePair], list[str]]:
    """Pairs in the order of the ground truth, and the frames without a prediction.

    Strict mode also pairs names that differ only in their suffix.

    Raises:
        MissingError: Nothing to score, or duplicate names.
    """
    # Names may recur where every frame tells its video.
    videos = len(set(pred.names)) < len(pred) and all(pred.videos) and all(gt.videos)
    gt_keys = _keys(gt, videos)
    pred_keys = _keys(pred, videos)
    if not options.official:
        if not gt_keys:
            raise MissingError(f"{gt.source.path} has no frames")
        for frames, keys in ((gt, gt_keys), (pred, pred_keys)):
            if twice := [key for key, count in Counter(keys).items() if count > 1]:
                raise MissingError(f"{frames.source.path} has frame {twice[0]} more than once")
    index = {key: i for i, key in enumerate(pred_keys)}
    loose = {} if options.official else {_loose(key): i for i, key in enumerate(pred_keys)}
    pairs: list[FramePair] = []
    used: set[int] = set()
    names: set[str] = set()
    for i, key in enumerate(gt_keys):
        at = index.get(key)
        if at is None and (at := loose.get(_loose(key))) is not None:
            remarks.add("suffix", f"{pred_keys[at]} for {key}")
        # The same frame twice, which only the official mode allows, is counted twice.
        name = key if key not in names else f"{key}\0{i}"
        names.add(name)
        pairs.append(FramePair(name, i, at))
        if at is not None:
            used.add(at)
    for i, key in enumerate(pred_keys):
        if i not in used:
            remarks.add("extra", f"{pred.source.path}, frame {key}")
    return pairs, [p.name for p in pairs if p.pred is None]


def _keys(frames: Frames, videos: bool) -> list[str]:
    if not videos:
        return frames.names
    return [f"{v}/{n}" for v, n in zip(frames.videos, frames.names, strict=True)]


def _loose(key: str) -> str:
    for suffix in (".jpg", ".png", ".jpeg"):
        if key.endswith(suffix):
            return key[: -len(suffix)]
    return key


def match_batch(
    gt: Frames,
    pred: Frames,
    pairs: Sequence[FramePair],
    kinds: Kinds,
    classes: int,
    *,
    boxes: bool = False,
    near: float = 0,
    leading: int = 0,
) -> tuple[list[bytes | None], array[float]]:
    """Packed matches of pairs of frames straight from their JSON, as COCO matches masks (or boxes).

    There are compiled loops where this is called.

    Args:
        gt: Ground truth.
        pred: Predictions.
        pairs: What belongs together.
        kinds: Class of each category, and whether its objects are ignored.
        classes: Number of classes.
        boxes: Compare boxes instead of masks. Frames with more than 100 detections of a class are unusual,
            and those in which nothing on one side reaches beyond the second pixel.
        near: At this IoU and above, corners of boxes are compared.
        leading: In so many of the frames.

    Returns:
        The matches, None for frames that are unusual or wrong: they have to be read before `match_frame`. And
        x1, y1, x2, y2 of detections minus those of the objects that they are on.
    """
    loops = native()
    assert loops is not None
    return loops.match_frames(
        _side(gt, [p.gt for p in pairs], kinds),
        _side(pred, [p.pred for p in pairs], kinds),
        classes=classes,
        limit=MAX_DETECTIONS[-1],
        settings=SETTINGS,
        boxes=boxes,
        near=near,
        leading=leading,
    )


def _side(frames: Frames, indices: Sequence[int | None], kinds: Kinds) -> Side:
    known = {name: 2 * index + ignored for name, (index, ignored) in kinds.items() if name is not None}
    if frames.kind == "coco":
        numbers = {number: known[name] for number, name in frames.numbers.items() if name in known}
        return Side(*frames.contents(indices), array("q", numbers.values()), numbers=array("q", numbers))
    names = b"".join(name.encode() + b"\0" for name in known)
    return Side(*frames.contents(indices), array("q", known.values()), names)
