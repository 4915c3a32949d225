"""The compiled loops give what their counterparts in Python give."""

import io
import struct
import zlib
from array import array
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from bddzoo.datasets import native
from bddzoo.datasets.formats import mask as label_images
from bddzoo.datasets.formats.rle import RleError, decode_runs
from bddzoo.errors import MissingError
from bddzoo.evaluation.bitmask import word_pairs
from bddzoo.evaluation.metrics.average_precision import RECALL_POINTS, ap_scores
from bddzoo.evaluation.metrics.matching import IOU_THRESHOLDS, Candidates, FrameMatches, match_frame, unpacked
from bddzoo.evaluation.metrics.semseg import class_runs, confusion, decode_class_runs, runs_confusion
from hatch_build import compile_loops
from tests.evaluation import scenes
from tests.evaluation.scenes import seeds


@contextmanager
def using(loops):
    native._state["loaded"] = loops
    try:
        yield
    finally:
        native._state["loaded"] = None


def encodings(pixels):
    """The same image by writers that choose different row filters."""
    swapped = pixels[..., [2, 1, 0, 3]] if pixels.ndim == 3 else pixels
    for filters in (8, 16, 32, 64, 128, 248):
        done, content = cv2.imencode(".png", swapped, [cv2.IMWRITE_PNG_FILTER, filters])
        assert done
        yield content.tobytes()
    image = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    image.fromarray(pixels).save(out, "png")
    yield out.getvalue()


@settings(max_examples=40, deadline=None)
@given(seeds, st.booleans(), st.booleans(), st.booleans())
def test_images_are_decoded_alike(compiled, seed, noise, rgba, libdeflate):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    if noise:
        pixels = rng.integers(0, 256, (*shape, 4) if rgba else shape, np.uint8)
    else:
        pixels = scenes.class_map(rng, shape)
        pixels = np.stack([pixels, pixels // 2, pixels * 0, 255 - pixels], -1) if rgba else pixels
    with pytest.MonkeyPatch.context() as patch:
        if not libdeflate:
            patch.setattr(label_images, "_imagecodecs", lambda: None)
        for content in encodings(pixels):
            got = label_images._unfiltered(compiled, content, pixels.shape, Path("p.png"), "")
            np.testing.assert_array_equal(got, pixels)


@settings(max_examples=80, deadline=None)
@given(seeds, st.booleans())
def test_pixels_are_counted_alike(compiled, seed, dense):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 30)), int(rng.integers(1, 30)))
    gt = scenes.class_map(rng, shape, odd=(19, 30, 255))
    pred = rng.integers(0, 256, shape, np.uint8) if dense else scenes.disturbed(rng, gt)
    plain = confusion(gt, pred, 19)
    with using(compiled):
        fast = confusion(gt, pred, 19)
    np.testing.assert_array_equal(fast[0], plain[0])
    assert fast[1] == plain[1]


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_runs_are_counted_alike(compiled, seed):
    rng = np.random.default_rng(seed)
    sides = []
    for _ in range(2):
        truth = scenes.class_map(rng, classes=6)
        values = [v for v in np.unique(truth).tolist() if v < 6]
        counts = [coco.encode(np.asfortranarray(truth == v, np.uint8))["counts"] for v in values]
        with using(compiled):
            fast = decode_runs(counts, truth.size)
        plain = decode_runs(counts, truth.size)
        for name in ("starts", "ends", "masks"):
            np.testing.assert_array_equal(getattr(fast, name), getattr(plain, name))
        classes = np.array(values, np.uint8)
        sides.append(class_runs(plain, classes))
        with using(compiled):
            merged = decode_class_runs(counts, classes, truth.size)
        for name in ("starts", "values"):
            np.testing.assert_array_equal(getattr(merged, name), getattr(sides[-1], name))
    plain_counts = runs_confusion(*sides, 6)
    with using(compiled):
        np.testing.assert_array_equal(runs_confusion(*sides, 6), plain_counts)


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_overlapping_masks_are_painted_alike(compiled, seed):
    """The later mask wins, whatever the order of their pixels."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 50)), int(rng.integers(1, 60)))
    masks = [scenes.class_map(rng, shape, classes=2, odd=(0,)) for _ in range(int(rng.integers(1, 5)))]
    counts = [coco.encode(np.asfortranarray(m, np.uint8))["counts"] for m in masks]
    classes = rng.integers(0, 19, len(masks)).astype(np.uint8)
    wanted = np.full(shape, 255, np.uint8)
    for mask, value in zip(masks, classes, strict=True):
        wanted[mask > 0] = value
    for loops in (None, compiled):
        with using(loops):
            found = decode_class_runs(counts, classes, masks[0].size)
        lengths = np.diff(found.starts, append=masks[0].size)
        np.testing.assert_array_equal(np.repeat(found.values, lengths), wanted.ravel(order="F"))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=12), max_size=4))
def test_malformed_runs_are_refused_alike(compiled, counts):
    for decode_them in (
        lambda: decode_runs(counts, 100).starts.tolist(),
        lambda: decode_class_runs(counts, np.arange(len(counts), dtype=np.uint8), 100).starts.tolist(),
    ):
        outcomes = []
        for loops in (None, compiled):
            with using(loops):
                try:
                    outcomes.append(decode_them())
                except RleError as error:
                    outcomes.append(f"mask {error.args[0]}")
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("libdeflate", [True, False])
@pytest.mark.parametrize("change", ["short", "long", "filter", "noise", "cut"])
def test_broken_pixel_data_are_told(compiled, monkeypatch, change, libdeflate):
    if not libdeflate:
        monkeypatch.setattr(label_images, "_imagecodecs", lambda: None)
    rows = np.zeros((4, 9), np.uint8)
    if change == "filter":
        rows[2, 0] = 7
    body = rows.tobytes()
    body = {"short": body[:-1], "long": body + b"\0"}.get(change, body)
    packed = b"no zlib" if change == "noise" else zlib.compress(body)
    packed = packed[:-2] if change == "cut" else packed
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(packed)) + b"IDAT" + packed + b"\0" * 4
    with pytest.raises(MissingError, match=r"p\.png is damaged"):
        label_images._unfiltered(compiled, content, (4, 8), Path("p.png"), "")


@pytest.fixture
def fresh(monkeypatch):
    """Nothing loaded."""
    monkeypatch.setattr(native, "_state", {})
    monkeypatch.delenv("BDDZOO_NATIVE", raising=False)


def test_forbidden_loops_are_not_loaded(fresh, monkeypatch):
    monkeypatch.setenv("BDDZOO_NATIVE", "0")
    assert native.native() is None


def test_a_library_of_another_system_or_version_is_left_alone(tmp_path):
    (tmp_path / "_native.abi3.so").write_bytes(b"no library")
    assert native._load(tmp_path) is None
    assert native._load(tmp_path / "absent") is None


def test_without_a_compiler_the_package_is_built_all_the_same(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("CC", "/bin/false")
    monkeypatch.setattr("setuptools.command.build_ext.build_ext.run", _no_compiler)
    assert compile_loops(Path(__file__).parents[2], tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert "without compiled loops" in capfd.readouterr().err


def _no_compiler(command):
    raise OSError("no compiler")


@settings(max_examples=150, deadline=None)
@given(seeds, st.booleans())
def test_frames_are_matched_alike(compiled, seed, coco_rule):
    rng = np.random.default_rng(seed)
    detections, objects = rng.integers(0, 12, 2)
    given_frame = {
        # Few values, so that IoU, scores and areas have ties and lie on the limits.
        "iou": rng.choice([0.0, 0.3, 0.5, 0.55, 0.7, 0.95, 1.0], (detections, objects)),
        # A column of a table, which does not lie in one piece.
        "scores": rng.choice([0.1, 0.5, 0.9], (detections, 2))[:, 0],
        "pred_class": rng.integers(0, 4, detections),
        "pred_areas": rng.choice([10.0, 1024.0, 1025.0, 9216.0, 1e5], detections),
        "gt_class": rng.integers(0, 4, objects),
        "gt_areas": rng.choice([10.0, 1024.0, 1025.0, 9216.0, 1e5], objects),
        "gt_ignored": rng.random(objects) < 0.3,
        "gt_crowd": rng.random(objects) < 0.3,
    }
    given_frame = Candidates(**given_frame)
    plain = match_frame(given_frame, classes=3, coco=coco_rule)
    with using(compiled):
        fast = match_frame(given_frame, classes=3, coco=coco_rule)
    for name in ("classes", "scores", "hits", "ignored", "positives", "present"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(plain, name), err_msg=name)


def test_more_than_a_hundred_detections_of_a_class_are_cut_alike(compiled):
    rng = np.random.default_rng(0)
    frame = {
        "scores": rng.choice(np.linspace(0, 1, 9), 250),
        "pred_class": rng.integers(0, 2, 250),
        "pred_areas": np.full(250, 100.0),
        "gt_class": np.zeros(40, np.int64),
        "gt_areas": np.full(40, 100.0),
        "gt_ignored": np.zeros(40, np.bool_),
        "gt_crowd": np.zeros(40, np.bool_),
    }
    frame = Candidates(iou=rng.random((250, 40)), **frame)
    plain = match_frame(frame, classes=2, coco=True)
    with using(compiled):
        fast = match_frame(frame, classes=2, coco=True)
    assert plain.classes.tolist() == [0] * 100 + [1] * 100
    for name in ("classes", "scores", "hits", "ignored"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(plain, name), err_msg=name)


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_masks_overlap_as_in_pycocotools(compiled, seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    masks = [scenes.class_map(rng, shape, classes=2, odd=(0,)) > 0 for _ in range(6)]
    encoded = [coco.encode(np.asfortranarray(m, np.uint8)) for m in masks]
    classes, crowd = np.zeros(6, np.int64), rng.random(4) < 0.5
    found = compiled.mask_iou([e["counts"] for e in encoded], 2, masks[0].size, classes, crowd)
    areas, iou, sharing = found
    np.testing.assert_array_equal(areas, [m.sum() for m in masks])
    assert sharing == bool((masks[0] & masks[1]).any())
    if not sharing:
        np.testing.assert_array_equal(iou, coco.iou(encoded[:2], encoded[2:], crowd.astype(int).tolist()))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_malformed_masks_have_no_overlap(compiled, counts):
    found = compiled.mask_iou(
        counts, len(counts), 100, np.zeros(len(counts), np.int64), np.zeros(0, np.bool_)
    )
    try:
        wanted = decode_runs(counts, 100).areas().tolist()
    except RleError as error:
        wanted = error.args[0]
    assert (found if isinstance(found, int) else found[0].tolist()) == wanted


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 6000))
def test_pairs_of_words_are_counted_alike(compiled, seed, kinds):
    """Also when there are more of them than the first table has room for."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(0, 20000))
    first, second = (
        np.repeat(rng.integers(0, kinds, size), 1 + (seed % 3)).astype(np.uint32) for _ in range(2)
    )
    plain = word_pairs(first, second)
    with using(compiled):
        fast = word_pairs(first, second)
    np.testing.assert_array_equal(fast[0], plain[0])
    np.testing.assert_array_equal(fast[1], plain[1])


def test_without_imagecodecs_opencv_decodes(monkeypatch):
    monkeypatch.setattr(label_images, "_imagecodecs", lambda: None)
    pixels = scenes.paint([(300, 3, 5, 2, 9, 2, 9)])
    for content in encodings(pixels):
        np.testing.assert_array_equal(label_images.decode_bitmask(content, Path("p.png")), pixels)


def test_constants_are_those_of_numpy():
    np.testing.assert_array_equal(RECALL_POINTS, np.linspace(0.0, 1.0, 101))
    np.testing.assert_array_equal(IOU_THRESHOLDS, np.linspace(0.5, 0.95, 10))


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_precision_and_recall_alike(compiled, seed):
    """Few scores, so that there are ties within frames and between them; more than a limit in some frames."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(int(rng.integers(0, 6))):
        found = int(rng.choice([0, 1, 9, 40]))
        classes = np.sort(rng.integers(0, 3, found)).astype(np.uint8)
        scores = rng.choice([0.1, 0.5, 0.9, -0.0, 0.0], found)
        order = np.lexsort((-scores, classes))
        hits, ignored = rng.integers(0, 1024, (2, 4, found)).astype(np.uint16)
        positives = rng.integers(0, 20, (3, 4)) * (rng.random((3, 4)) < 0.8)
        frames.append(FrameMatches(classes, scores[order], hits, ignored, positives, positives[:, 0] > 0))
    plain = ap_scores(frames, ["a", "b", "c"], "det", "box_")
    with using(compiled):
        packed = [f.packed() if k % 2 else f for k, f in enumerate(frames)]
        fast = ap_scores(packed, ["a", "b", "c"], "det", "box_")
    assert repr(fast) == repr(plain)
    for frame in frames:
        again = unpacked(frame.packed(), 3)
        for name in FrameMatches.__struct_fields__:
            np.testing.assert_array_equal(getattr(again, name), getattr(frame, name), err_msg=name)


def test_what_was_not_written_of_frames_is_refused(compiled):
    for records in (b"\1", bytes(8), b"\xff" * 160, b"\1" + bytes(159)):
        with pytest.raises(ValueError, match="not what was written"):
            compiled.average_precision(records, 3, array("d", [0.5]), array("q", [100]))
