"""Checks and packs predictions of a test set, whose labels nobody has."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from bddzoo.datasets.classes import BDD100K, CLASS_SETS, values_of_no_class
from bddzoo.datasets.formats.boxes import CLASS_OF, boxes_of
from bddzoo.datasets.formats.frames import JsonFrames, coco_kind
from bddzoo.datasets.formats.mask import decode_bitmask, decode_mask
from bddzoo.datasets.formats.other_task import refuse_other_task
from bddzoo.datasets.formats.png import PALETTE
from bddzoo.datasets.identity import published_images
from bddzoo.datasets.openseg import scheme_hint
from bddzoo.datasets.sources import Source, open_source
from bddzoo.errors import MissingError, UsageError
from bddzoo.evaluation.bitmask import segments
from bddzoo.evaluation.det_frames import read_objects
from bddzoo.evaluation.jobs import listing, raise_all, run_jobs
from bddzoo.evaluation.options import JSON_TASKS, MASK_HEIGHT, MASK_WIDTH, Options
from bddzoo.evaluation.rle_frames import prediction_problem
from bddzoo.files import atomic_open, zip_info

JSON_HINT = "bddzoo convert-labels --to {} makes a file that it reads"
PACKED = ("sem_seg", "drivable", "ins_seg", "pan_seg", "det")
MASKS_HINT = "bddzoo convert-labels --to masks makes files that it reads"


@dataclass
class Packed:
    """What was packed: frames, files, and the size of the archive."""

    frames: int
    files: int
    size_bytes: int
    warnings: list[str] = field(default_factory=list)


def pack(
    task: str,
    predictions: Path,
    out: Path,
    *,
    score_file: Path | None = None,
    images: Path | None = None,
    count: int | None = None,
    workers: int = 1,
) -> Packed:
    """Check predictions as a server would, and pack them into a zip.

    Args:
        task: `sem_seg`, `drivable`, `ins_seg`, `pan_seg` or `det`.
        predictions: Folder of PNGs, or RLE JSON; of detection a JSON file of boxes.
        out: Archive to write.
        score_file: Scores of bitmasks (ins_seg).
        images: Folder of the test images: their names must be those of the predictions.
        count: Number of frames expected; the official test set's where neither is given.
        workers: Threads.

    Raises:
        UsageError: There is no server for the task.
        MissingError: Anything that the server would refuse, or score as wrong; all bad frames are named.
    """
    if task not in PACKED:
        raise UsageError(
            f"BDD100K has no challenge of {task}, so nothing takes a submission",
            hint=f"'bddzoo score -t {task}' scores predictions of the val split",
        )
    source = open_source(predictions)
    pngs, texts = source.with_suffix(".png"), source.with_suffix(".json")
    strays = [m for m in source.members if m not in pngs and m not in texts]
    if strays:
        raise MissingError(f"{source.path} has files that are not predictions: {listing(strays)}")
    if bool(pngs) == bool(texts):
        raise MissingError(f"{source.path} must hold PNG files or JSON files, and only these")
    if texts and coco_kind(source, texts[0]):
        raise MissingError(
            f"{source.where(texts[0])} is a COCO file, which the server does not read",
            hint=JSON_HINT.format("boxes" if task in JSON_TASKS else "rle"),
        )
    if pngs and task in JSON_TASKS:
        raise MissingError(f"{source.path} has no JSON files", hint="boxes come as JSON")
    names = [PurePosixPath(m).stem for m in pngs]
    jobs: list[tuple[str, str | int]] = [(n, m) for n, m in zip(names, pngs, strict=True)]
    check: Callable[[tuple[str, str | int]], None]
    files = [(f"{n}.png", source, m) for n, m in zip(names, pngs, strict=True)]
    if texts:
        frames = JsonFrames(source, texts)
        refuse_other_task(task, frames, stills=True)
        names = [PurePosixPath(n).stem for n in frames.names]
        jobs = list(zip(names, range(len(frames)), strict=True))
        check = _json_check(_box_problem if task in JSON_TASKS else partial(prediction_problem, task), frames)
        files = [(PurePosixPath(m).name, source, m) for m in texts]
    else:
        refuse_other_task(task, source, stills=True)
        scores = _scores(task, source, score_file, names, files)
        check = _png_check(task, source, scores)
    expected = published_images(BDD100K, task, "test") if count is None and not images else count
    _names(names, source, images, expected)
    raise_all(
        [r for _, r in run_jobs(check, jobs, workers) if isinstance(r, MissingError)], "frames", "packed"
    )
    _write(out, files)
    return Packed(len(names), len(files), out.stat().st_size)


def _names(names: list[str], source: Source, images: Path | None, count: int | None) -> None:
    """Refuse duplicates, missing and surplus frames."""
    if twice := [name for name, number in Counter(names).items() if number > 1]:
        raise MissingError(f"{source.path} has frames more than once: {listing(twice)}")
    if images:
        expected = {PurePosixPath(m).stem for m in open_source(images).members}
        missing, surplus = sorted(expected - set(names)), sorted(set(names) - expected)
        if missing:
            raise MissingError(
                f"{source.path} lacks {len(missing)} of {len(expected)} frames: {listing(missing)}"
            )
        if surplus:
            raise MissingError(f"{source.path} has frames that are not in {images}: {listing(surplus)}")
    if count is not None and len(names) != count:
        raise MissingError(
            f"{source.path} has {len(names)} frames, the test set {count}",
            hint=f"--images FOLDER says which are {'missing' if len(names) < count else 'too many'}; "
            "--count N for another set",
        )


def _scores(
    task: str, source: Source, score_file: Path | None, names: list[str], files: list[tuple[str, Source, str]]
) -> tuple[JsonFrames, dict[str, int]] | None:
    if task != "ins_seg":
        return None
    if not score_file:
        raise MissingError(f"{source.path} holds bitmasks, which carry no scores", hint="give --score-file")
    place = open_source(score_file)
    frames = JsonFrames(place, place.members)
    index = {PurePosixPath(n).stem: i for i, n in enumerate(frames.names)}
    absent = [n for n in names if n not in index]
    if absent:
        raise MissingError(f"{score_file} has no scores for {listing(absent)}")
    files.append(("score.json", place, place.members[0]))
    return frames, index


def _png_check(
    task: str, source: Source, scores: tuple[JsonFrames, dict[str, int]] | None
) -> Callable[[tuple[str, str | int]], None]:
    def check(job: tuple[str, str | int]) -> None:
        name, member = job[0], str(job[1])
        path = source.where(member)
        content = source.read(member)
        if task in ("sem_seg", "drivable"):
            pixels, header = decode_mask(content, path, "pred")
            if header.colour == PALETTE:
                raise MissingError(
                    f"{path} is a palette PNG; the server may read its colours", hint=MASKS_HINT
                )
            if strange := values_of_no_class(task, pixels):
                raise MissingError(
                    f"{path} has pixels of value {strange[0]}; classes are 0 to {len(CLASS_SETS[task]) - 1}",
                    hint=scheme_hint(np.unique(pixels)),
                )
        else:
            pixels = decode_bitmask(content, path, "pred")
            found = segments(pixels, str(path))
            limit = len(CLASS_SETS[task])
            odd = found.categories[(found.categories < 1) | (found.categories > limit)]
            if odd.size:
                raise MissingError(
                    f"{path} has an instance of category {int(odd[0])}; known are 1 to {limit}"
                )
            if scores:
                _scored(found.ids.tolist(), *scores, name, str(path))
        if pixels.shape[:2] != (MASK_HEIGHT, MASK_WIDTH):
            raise MissingError(
                f"{path} is {pixels.shape[1]}x{pixels.shape[0]}, not {MASK_WIDTH}x{MASK_HEIGHT}"
            )

    return check


def _scored(ids: list[int], frames: JsonFrames, index: dict[str, int], name: str, path: str) -> None:
    bare = sorted(set(ids) - frames.scores(index[name]).keys())
    if bare:
        raise MissingError(f"{path}: instances without a score: {listing(map(str, bare), 5)}")


def _json_check(
    problem_of: Callable[[JsonFrames, int], str | None], frames: JsonFrames
) -> Callable[[tuple[str, str | int]], None]:
    def check(job: tuple[str, str | int]) -> None:
        at = int(job[1])
        problem = problem_of(frames, at)
        if problem is None and not frames.names[at].endswith(".jpg"):
            problem = "it would be taken for missing: the server's frames end in .jpg"
        if problem:
            raise MissingError(f"{frames.where(at)}: {problem}")

    return check


def _box_problem(frames: JsonFrames, at: int) -> str | None:
    """What is wrong with the boxes of a frame, or None.

    Raises:
        MissingError: Labels that cannot be read, or are not boxes of detection.
    """
    if boxes_of(frames, at).boxless:
        return "a label without a box"
    found = read_objects(frames, at, CLASS_OF, Options())
    if any(score is None or not np.isfinite(score) for score in found.scores):
        return "a box without a score"
    if found.reach is not None and found.reach <= 2:
        return "not one box reaches beyond the first pixel; coordinates are in pixels"
    return None


def _write(out: Path, files: list[tuple[str, Source, str]]) -> None:
    # PNGs are compressed already.
    with atomic_open(out) as file, zipfile.ZipFile(file, "w") as archive:
        for name, source, member in sorted(files, key=lambda f: f[0]):
            info = zip_info(name)
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as target:
                for piece in source.chunks(member, 1 << 22):
                    target.write(piece)
