"""Prediction files: equal, byte for byte, to what the zoo's own test.py writes."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.datasets.classes import INS_SEG, SEM_SEG
from bddzoo.datasets.formats.mask import paint_bitmask, paint_ids, read_bitmask, score_entries, write_rgba
from bddzoo.datasets.formats.rle import decode_rle, encode_rle
from bddzoo.datasets.formats.scalabel import DetJsonWriter, Instances, RleJsonWriter, ScoreJsonWriter
from bddzoo.errors import MissingError
from tests.shared import shared
from tests.support.instances import no_instances

CLI = Path(__file__).resolve().parents[1] / "data" / "cli"


def golden(name: str) -> bytes:
    return gzip.decompress((CLI / name).read_bytes())


def golden_frames() -> list[tuple[str, Instances]]:
    """The detections of the golden files, masks empty."""
    frames = []
    for frame in json.loads(golden("mask_rcnn_r50_fpn_1x.det.json.gz"))["frames"]:
        labels = frame["labels"]
        boxes = [[la["box2d"][k] for k in ("x1", "y1", "x2", "y2")] for la in labels]
        frames.append(
            (
                frame["name"],
                Instances(
                    np.asarray(boxes, np.float32) + np.array([0, 0, 1, 1], np.float32),
                    np.array([la["score"] for la in labels], np.float32),
                    np.array([INS_SEG.index(la["category"]) for la in labels]),
                    np.zeros((len(labels), 2, 2), bool),
                ),
            )
        )
    return frames


def test_det_and_score_files_equal_upstreams(tmp_path):
    with DetJsonWriter(tmp_path / "det.json") as det, ScoreJsonWriter(tmp_path / "score.json") as score:
        for name, instances in golden_frames():
            det.add_instances(name, instances)
            score.add_instances(name, instances)
    assert (tmp_path / "det.json").read_bytes() == golden("mask_rcnn_r50_fpn_1x.det.json.gz")
    assert (tmp_path / "score.json").read_bytes() == golden("mask_rcnn_r50_fpn_1x.score.json.gz")


def test_sem_seg_file_equals_upstreams(tmp_path):
    want = golden("deeplabv3+_r50-d8_512x1024_40k.sem_seg.json.gz")
    (frame,) = json.loads(want)["frames"]
    class_map = np.full((720, 1280), 255, np.uint8)
    for label in frame["labels"]:
        class_map[decode_rle(label["rle"])] = SEM_SEG.index(label["category"])
    assert (class_map < 19).all()
    with RleJsonWriter(tmp_path / "sem_seg.json") as writer:
        writer.add_mask(frame["name"], class_map)
    assert (tmp_path / "sem_seg.json").read_bytes() == want


def test_bitmask_equals_upstreams(tmp_path):
    """Every instance given only its visible pixels: category and id channels are those of the zoo."""
    want = read_bitmask(CLI / "mask_rcnn_r50_fpn_1x.bitmask_golden_0.png")
    ids = want[..., 2].astype(int) << 8 | want[..., 3]
    (_, instances), *_ = golden_frames()
    masks = np.stack([ids == i + 1 for i in range(len(instances))])
    instances = Instances(instances.boxes, instances.scores, instances.labels, masks)
    write_rgba(tmp_path / "a.png", paint_bitmask(instances))
    assert score_entries(instances)[2] == {"index": 3, "score": pytest.approx(0.5900923)}
    assert np.array_equal(read_bitmask(tmp_path / "a.png"), want)


def test_empty_files_are_well_formed(tmp_path):
    with RleJsonWriter(tmp_path / "a.json"), ScoreJsonWriter(tmp_path / "b.json") as score:
        pass
    assert score.frames == 0
    assert json.loads((tmp_path / "a.json").read_text()) == {"frames": [], "groups": None, "config": None}
    assert json.loads((tmp_path / "b.json").read_text()) == []


def test_a_frame_without_instances_is_listed(tmp_path):
    with ScoreJsonWriter(tmp_path / "s.json") as writer:
        writer.add_instances("a.jpg", no_instances(4, 4))
    text = (tmp_path / "s.json").read_text()
    (frame,) = json.loads(text)
    assert frame["labels"] == []
    assert text == json.dumps([frame], indent=2)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_file_does_not_appear(tmp_path, error):
    def write():
        with RleJsonWriter(tmp_path / "a.json") as writer:
            writer.add_mask("a.jpg", np.zeros((2, 2), np.uint8))
            raise error

    (tmp_path / "a.json").write_text("old")
    with pytest.raises(error):
        write()
    assert (tmp_path / "a.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def random_instances(rng: np.random.Generator, count: int, height: int = 12, width: int = 17) -> Instances:
    scores = rng.choice([0.2, 0.4, 0.6, 0.8], count).astype(np.float32)
    masks = rng.random((count, height, width)) < rng.choice([0.0, 0.1, 0.7], (count, 1, 1))
    return Instances(rng.random((count, 4), np.float32), scores, rng.integers(0, 8, count), masks)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 9))
def test_painting_by_ascending_score(seed, count):
    instances = random_instances(np.random.default_rng(seed), count)
    ids = np.zeros(instances.size, int)
    for score, position in sorted(zip(instances.scores.tolist(), range(count), strict=True)):
        assert score == instances.scores[position]
        ids[instances.masks[position]] = position + 1
    assert np.array_equal(paint_ids(instances), ids)
    bitmask = paint_bitmask(instances)
    assert np.array_equal(bitmask[..., 2].astype(int) << 8 | bitmask[..., 3], ids)
    assert np.array_equal(bitmask[..., 0], np.concatenate([[0], instances.labels + 1])[ids])
    assert not bitmask[..., 1].any()
    assert [e["index"] for e in score_entries(instances)] == list(range(1, count + 1))


def test_ids_above_255_use_the_blue_channel(tmp_path):
    count = 300
    masks = np.zeros((count, 1, count), bool)
    masks[np.arange(count), 0, np.arange(count)] = True
    instances = Instances(
        np.zeros((count, 4), np.float32),
        np.linspace(0, 1, count, dtype=np.float32),
        np.zeros(count, int),
        masks,
    )
    write_rgba(tmp_path / "a.png", paint_bitmask(instances))
    back = read_bitmask(tmp_path / "a.png").astype(int)
    assert np.array_equal(back[0, :, 2] << 8 | back[0, :, 3], np.arange(1, count + 1))


def test_order_of_the_zoo_is_class_by_class():
    rng = np.random.default_rng(3)
    instances = random_instances(rng, 9)
    ordered = instances.by_class()
    keys = list(zip(ordered.labels.tolist(), strict=True))
    assert keys == sorted(keys)
    for label in range(8):
        assert np.array_equal(
            ordered.scores[ordered.labels == label], instances.scores[instances.labels == label]
        )


def test_instances_that_do_not_fit_together():
    with pytest.raises(ValueError, match="do not fit together"):
        Instances(
            np.zeros((2, 4), np.float32),
            np.zeros(1, np.float32),
            np.zeros(1, np.int64),
            np.zeros((1, 2, 2), bool),
        )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 30), width=st.integers(1, 30))
def test_rle_survives_a_round_trip(seed, height, width):
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < rng.random()
    rle = encode_rle(mask)
    assert json.loads(json.dumps(rle)) == rle
    assert np.array_equal(decode_rle(rle), mask)


@settings(max_examples=150, deadline=None)
@given(counts=st.binary(max_size=12))
def test_malformed_rle_is_refused_not_decoded(counts):
    try:
        mask = decode_rle({"counts": counts, "size": [5, 7]}, "frame a, label 3")
    except MissingError as error:
        assert "frame a, label 3" in error.message  # noqa: PT017 - either outcome is fine, a crash is not
    else:
        assert mask.shape == (5, 7)


@pytest.mark.parametrize(
    "rle", [{}, {"counts": "a"}, {"counts": None, "size": [2, 2]}, {"counts": "0", "size": [2]}]
)
def test_rle_without_its_parts(rle):
    with pytest.raises(MissingError, match="not an RLE"):
        decode_rle(rle)


def test_long_runs_agree_with_real_files():
    for frame in json.loads(shared("evalcases/zoo-format-a/out/sem_seg.json").read_text())["frames"]:
        total = sum(decode_rle(label["rle"]).sum() for label in frame["labels"])
        assert total == 720 * 1280
        for label in frame["labels"]:
            assert encode_rle(decode_rle(label["rle"])) == label["rle"]
