"""Images become openseg's own inputs, to the bit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bddzoo.errors import UsageError
from bddzoo.inference.batches import prepare, resized_size
from bddzoo.inference.pipeline import protocol_of
from bddzoo.registry import load_registry
from bddzoo.registry.model import Protocol
from tests.shared import shared


@pytest.mark.parametrize("dataset", ["ade20k", "lip"])
def test_input_of_the_zoos_own_loader(dataset: str) -> None:
    golden = np.load(shared(f"golden/openseg/protocol/{dataset}.npz"))
    image = cv2.imread(str(shared("golden/input_720x1280.png")))[100:475, 200:701]
    protocol = load_registry().find(f"openseg_{dataset}_hrnet_w48_ocr").protocol
    assert protocol is not None
    found = prepare(image, protocol)
    assert found.original_size == (375, 501)
    assert found.pixels.shape == {"ade20k": (3, 520, 696), "lip": (3, 473, 473)}[dataset]
    assert found.image_size == {"ade20k": (520, 695), "lip": (473, 473)}[dataset]
    assert np.array_equal(found.pixels[:, 3::40, 3::40], golden["net_input_sample"])
    assert (found.pixels[:, :, found.image_size[1] :] == 0).all()


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), side=st.integers(8, 600), exact=st.booleans())
def test_sizes(width: int, height: int, side: int, exact: bool) -> None:
    protocol = Protocol("p", "ade20k", scale=(side, side), resize="exact" if exact else "short-side")
    new_width, new_height = resized_size(width, height, protocol)
    if exact:
        assert (new_width, new_height) == (side, side)
        return
    assert min(new_width, new_height) == side
    assert abs(new_width - width * side / min(width, height)) <= 0.5
    assert abs(new_height - height * side / min(width, height)) <= 0.5


def test_order_of_channels_and_division() -> None:
    """Each step is one operation in float32, in the order division, mean, deviation."""
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    plain = Protocol(
        "p", "cityscapes", div_value=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    for order in ("BGR", "RGB"):
        found = prepare(image, replace(plain, channel_order=order)).pixels  # type: ignore[arg-type]
        pixels = image if order == "BGR" else image[:, :, ::-1]
        expected = pixels.astype(np.float32) / np.float32(255)
        expected = (expected - np.array(plain.mean, np.float32)) / np.array(plain.std, np.float32)
        assert np.array_equal(found, expected.transpose(2, 0, 1))


def test_what_other_engines_cannot_do() -> None:
    registry = load_registry()
    lip = registry.find("openseg_lip_hrnet_w48_ocr")
    assert protocol_of(lip) is lip.protocol
    other = registry.find("fcn_r50-d8_512x1024_40k_sem_seg_bdd100k")
    for protocol in (registry.protocols["lip-hrnet48"], registry.protocols["ade20k-hrnet48-ms"]):
        with pytest.raises(UsageError, match="tests mirrored or resized images"):
            protocol_of(replace(other, protocol=protocol))
    with pytest.raises(UsageError, match=r"cannot be built \(no-backbone-code\)"):
        protocol_of(registry.find("fcn-mobilenetv2-cityscapes"))
