"""The network's input equals the one that upstream's own pipeline made."""

import hashlib
import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bddzoo.inference.batches import frame_input_size, prepare, rescaled_size, resized_size
from bddzoo.registry.model import Protocol
from tests.shared import shared

WHOLE = Protocol("whole", "bdd100k", scale=(1280, 720))
SLIDE = Protocol("slide", "bdd100k", scale=(1281, 721), mode="slide")
BOXES = Protocol("boxes", "bdd100k", scale=(1280, 720), float_resize=False, pad_divisor=32)


def golden_image(name: str) -> np.ndarray:
    return cv2.imread(str(shared(f"golden/{name}")), cv2.IMREAD_COLOR)


def strided(array: np.ndarray, count: int) -> np.ndarray:
    flat = array.ravel()
    count = min(count, flat.size)
    return flat[np.arange(count) * (flat.size // count) + flat.size // (2 * count)]


@pytest.mark.parametrize(
    ("task", "model", "protocol"),
    [
        ("sem_seg", "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k", WHOLE),
        ("ins_seg", "mask_rcnn_r50_fpn_1x_ins_seg_bdd100k", BOXES),
        ("ins_seg_b", "mask_rcnn_r50_fpn_3x_ins_seg_bdd100k", BOXES),
    ],
)
def test_input_is_upstreams_to_the_bit(task, model, protocol):
    row = json.loads(shared(f"golden/{task}_index.json").read_text())[model]
    image = golden_image("input_b_600x1000.png" if task.endswith("_b") else "input_720x1280.png")
    prepared = prepare(image, protocol)
    assert [1, *prepared.pixels.shape] == row["input_shape"]
    assert hashlib.sha256(prepared.pixels.tobytes()).hexdigest() == row["input_sha256"]


@pytest.mark.parametrize(
    ("folder", "model", "protocol", "image"),
    [
        ("sem_seg", "deeplabv3_r50-d8_769x769_40k_sem_seg_bdd100k", SLIDE, "input_720x1280.png"),
        ("sem_seg_b", "fcn_r50-d8_512x1024_40k_sem_seg_bdd100k", WHOLE, "input_b_600x1000.png"),
    ],
)
def test_float_resize_is_upstreams(folder, model, protocol, image):
    """Resized inputs depend on OpenCV's release by an ulp; resizing in uint8 is off by a hundredth."""
    golden = np.load(shared(f"golden/{folder}/{model}.npz"))
    prepared = prepare(golden_image(image), protocol)
    assert [1, *prepared.pixels.shape] == golden["input_shape"].tolist()
    np.testing.assert_allclose(strided(prepared.pixels, 256), golden["input_sample"], rtol=0, atol=2e-6)
    rough = prepare(golden_image(image), Protocol("x", "y", scale=protocol.scale, float_resize=False))
    assert np.abs(rough.pixels - prepared.pixels).max() > 1e-3


@pytest.mark.parametrize(
    ("key", "scale"), [("101x61", (101, 61)), ("160x96", (160, 96)), ("50x30", (50, 30))]
)
def test_rescale_is_mmcvs(key, scale):
    golden = np.load(shared("golden/ops/image_ops.npz"))
    image = golden["crop_uint8_bgr"]
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "scale": scale}
    for float_resize, name, limit in ((False, "u8", 0), (True, "f32", 1e-4)):
        prepared = prepare(image, Protocol("x", "y", float_resize=float_resize, **plain))
        want = golden[f"rescale_{key}_{name}"]
        got = prepared.pixels.transpose(1, 2, 0)[..., ::-1]
        assert got.shape == want.shape
        assert np.abs(got - want.astype(np.float32)).max() <= limit
    assert prepared.scale_factor == pytest.approx([float(golden[f"rescale_{key}_factor"])] * 2, rel=0.02)


def test_normalise_and_pad_are_mmcvs():
    golden = np.load(shared("golden/ops/image_ops.npz"))
    image = golden["crop_uint8_bgr"]
    prepared = prepare(image, Protocol("x", "y", pad_divisor=32))
    height, width = image.shape[:2]
    assert np.array_equal(prepared.pixels[:, :height, :width].transpose(1, 2, 0), golden["normalize_rgb"])
    assert list(prepared.pixels.shape[1:]) == golden["pad32"].tolist()[:2]
    assert not prepared.pixels[:, height:].any()
    assert not prepared.pixels[:, :, width:].any()


@pytest.mark.parametrize(
    ("size", "scale", "want"),
    [
        ((1280, 720), (1280, 720), (1280, 720)),
        ((1280, 720), (1281, 721), (1281, 721)),
        ((1000, 600), (1280, 720), (1200, 720)),
        ((720, 1280), (1280, 720), (720, 1280)),  # a scale has a long and a short side, not a width
        ((640, 640), (1280, 720), (720, 720)),
        ((1242, 375), (1280, 720), (1280, 386)),
        ((1, 1), (1280, 720), (720, 720)),
        ((9000, 3), (1280, 720), (1280, 1)),
    ],
)
def test_rescaled_size(size, scale, want):
    assert rescaled_size(*size, scale) == want


@given(width=st.integers(1, 6000), height=st.integers(1, 6000))
def test_rescaled_size_fits_and_keeps_the_aspect(width, height):
    new_width, new_height = rescaled_size(width, height, (1280, 720))
    assert 1 <= min(new_width, new_height) <= 720
    assert max(new_width, new_height) <= 1280
    factor = min(1280 / max(width, height), 720 / min(width, height))
    assert abs(new_width - width * factor) <= 0.5 + 1e-6 or new_width == 1
    assert abs(new_height - height * factor) <= 0.5 + 1e-6 or new_height == 1
    assert rescaled_size(height, width, (1280, 720)) == (new_height, new_width)


TAGS = Protocol("tags", "bdd100k", scale=(256, 256), resize="short-side-floor", center_crop=(224, 224))
CUT = Protocol("cut", "bdd100k", center_crop=(640, 640))


@pytest.mark.parametrize(
    ("model", "protocol"),
    [("dla34_5x_224x224_scene_tag_bdd100k", TAGS), ("resnet18_4x_scene_tag_bdd100k", CUT)],
)
def test_input_of_classifiers_is_upstreams_to_the_bit(model, protocol):
    golden = np.load(shared(f"golden/tasks2/tagging_tag/{model}.npz"))
    found = prepare(golden_image("input_720x1280.png"), protocol)
    assert found.pixels.shape == tuple(golden["input_shape"][1:])
    assert np.array_equal(strided(found.pixels, 256), golden["input_sample"])
    assert found.original_size == (720, 1280)
    assert frame_input_size(protocol) == found.pixels.shape[1:]


@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 700), st.integers(1, 700))
def test_what_is_cut_out_is_the_middle(height, width, high, wide):
    image = np.arange(height * width, dtype=np.uint32).view(np.uint8).reshape(height, width, 4)[..., :3]
    plain = Protocol("plain", "bdd100k", mean=(0, 0, 0), std=(1, 1, 1))
    whole = prepare(image, plain).pixels
    cut = prepare(image, replace(plain, center_crop=(high, wide))).pixels
    assert cut.shape == (3, min(height, high), min(width, wide))
    top, left = (height - cut.shape[1]) / 2, (width - cut.shape[2]) / 2
    tops, lefts = ({int(np.floor(v)), int(np.ceil(v))} for v in (top, left))
    assert any(
        np.array_equal(cut, whole[:, y : y + cut.shape[1], x : x + cut.shape[2]]) for y in tops for x in lefts
    )


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_the_short_side_is_met_and_the_other_rounded_down(width, height):
    new_width, new_height = resized_size(width, height, TAGS)
    assert min(new_width, new_height) == 256
    assert max(new_width, new_height) == int(256 * max(width, height) / min(width, height))
