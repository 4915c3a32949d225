"""Order, batches, bad images and memory of the pipeline, with a network that is easy to foresee."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bddzoo.datasets.formats.scalabel import Instances
from bddzoo.engines.load import check_device_name, find_device
from bddzoo.errors import MissingError, UsageError
from bddzoo.inference.batches import Events
from bddzoo.inference.load import resolve_device
from bddzoo.inference.pipeline import predict_frames
from bddzoo.registry.model import Method, Model, Protocol, Zoo
from tests.support.instances import no_instances

SIZES = ((20, 30), (24, 16), (30, 20))


def model(task="sem_seg", **fields) -> Model:
    protocol = Protocol("p", "bdd100k", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), **fields)
    return Model("m", Zoo("z", "Z"), task, Method("M"), "B", {}, (), (), protocol=protocol)


class Brightest:
    """The class of a pixel is its brightest channel: 0 red, 1 green, 2 blue."""

    gives = "class map"

    def __init__(self, room=10**9):
        self.room = room
        self.batches = []

    def logits(self, x, out_size):
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        self.batches.append(len(x))
        return torch.nn.functional.interpolate(x, size=out_size)


class OneBox:
    """Finds one instance per class, in falling order of class; the box tells the sizes it was given."""

    gives = "detections"

    def detect(self, x, img_shapes, ori_shapes, scale_factors):
        found = []
        for image, original, scale in zip(img_shapes, ori_shapes, scale_factors, strict=True):
            boxes = np.array([[*image, *scale]] * 3, np.float32)
            masks = np.ones((3, *original), bool)
            found.append(Instances(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([2, 1, 0]), masks))
        return found


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("images")
    items = []
    for index in range(12):
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (*SIZES[(index // 2) % 3], 3)).astype(np.uint8)
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), image)
        items.append((path.name, path))
    return items


def expected(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1].argmax(axis=-1)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch_size=st.integers(1, 5), workers=st.integers(1, 4), order=st.permutations(range(12)))
def test_every_image_once_in_order_whatever_the_batches(images, batch_size, workers, order):
    chosen = [images[i] for i in order]
    runner = Brightest()
    results = list(predict_frames(runner, model(), chosen, batch_size=batch_size, workers=workers))
    assert [name for name, _ in results] == [name for name, _ in chosen]
    for (_, result), (_, path) in zip(results, chosen, strict=True):
        assert result.dtype == np.uint8
        assert np.array_equal(result, expected(path))
    assert max(runner.batches) <= batch_size
    assert sum(runner.batches) == 12


def test_neighbours_of_equal_size_share_a_batch(images):
    runner = Brightest()
    list(predict_frames(runner, model(), images, batch_size=4))
    assert runner.batches == [2] * 6


def test_results_are_at_the_original_size(images):
    for scale in ((60, 40), (7, 5)):
        for (_, result), (_, path) in zip(
            predict_frames(Brightest(), model(scale=scale), images), images, strict=True
        ):
            assert result.shape == expected(path).shape


def test_instances_come_class_by_class_with_the_sizes_of_their_image(images):
    task = model("ins_seg", scale=(60, 40), float_resize=False, pad_divisor=32)
    for (_, found), (_, path) in zip(
        predict_frames(OneBox(), task, images, batch_size=3), images, strict=True
    ):
        height, width = expected(path).shape
        assert found.labels.tolist() == [0, 1, 2]
        assert found.scores.tolist() == pytest.approx([0.7, 0.8, 0.9])
        assert found.size == (height, width)
        image_height, image_width, x, y = found.boxes[0].tolist()
        assert max(image_height, image_width) <= 60
        assert (x, y) == pytest.approx((image_width / width, image_height / height))


def test_a_bad_image_is_reported_in_its_place(images, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nonsense")
    chosen = [*images[:3], ("bad.jpg", bad), *images[3:5]]
    said = []
    events = Events(error=lambda name, error: said.append((name, error.message)))
    names = [name for name, _ in predict_frames(Brightest(), model(), chosen, batch_size=4, events=events)]
    assert names == [name for name, _ in images[:5]]
    assert [name for name, _ in said] == ["bad.jpg"]
    assert "bad.jpg is damaged or not an image" in said[0][1]
    results = predict_frames(Brightest(), model(), chosen, batch_size=4)
    assert [next(results)[0] for _ in range(3)] == [name for name, _ in images[:3]]
    with pytest.raises(MissingError, match=r"bad\.jpg"):
        next(results)


def test_remarks_are_passed_on(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((8, 8), np.uint8))
    said = []
    events = Events(remark=lambda name, text: said.append((name, text)))
    list(predict_frames(Brightest(), model(), [("g", tmp_path / "grey.png")], events=events))
    assert said == [("g", "grey: its one channel is used three times")]


def test_too_little_memory_halves_the_batch_and_loses_nothing(tmp_path):
    items = []
    for index in range(11):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((8, 8, 3), index, np.uint8))
        items.append((str(index), tmp_path / f"{index}.png"))
    sizes = []
    runner = Brightest(room=2)
    events = Events(smaller_batch=sizes.append)
    results = list(predict_frames(runner, model(), items, batch_size=8, events=events))
    assert [name for name, _ in results] == [name for name, _ in items]
    assert sizes == [4, 2]
    assert max(runner.batches) == 2
    with pytest.raises(MissingError, match=r"cpu has too little memory for 0 as a 8x8 input"):
        list(predict_frames(Brightest(room=0), model(), items, batch_size=8))


def test_an_image_too_large_for_memory_is_one_bad_image(tmp_path):
    class Small(Brightest):
        def logits(self, x, out_size):
            if x.shape[2] > 100:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
            return super().logits(x, out_size)

    items = []
    for index, height in enumerate((8, 200, 8, 300, 300, 8)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((height, 8, 3), index, np.uint8))
        items.append((str(index), tmp_path / f"{index}.png"))
    failed = []
    events = Events(error=lambda name, error: failed.append((name, str(error))))
    results = list(predict_frames(Small(), model(), items, batch_size=2, events=events))
    assert [name for name, _ in results] == ["0", "2", "5"]
    assert [name for name, _ in failed] == ["1", "3", "4"]
    assert "too little memory for 1 as a 8x200 input" in failed[0][1]


def test_other_errors_of_the_network_are_not_taken_for_memory(images):
    class Broken:
        gives = "class map"

        def logits(self, x, out_size):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(predict_frames(Broken(), model(), images))


def test_only_a_few_images_are_in_memory(images):
    taken = 0

    def endless():
        nonlocal taken
        for index in range(600):
            taken += 1
            yield f"{index}", images[index % 12][1]

    workers, batch = 3, 2
    for used, _ in enumerate(
        predict_frames(Brightest(), model(), endless(), batch_size=batch, workers=workers), 1
    ):
        assert taken - used <= workers + 2 * batch
    assert taken == 600


def test_no_images_no_predictions():
    assert list(predict_frames(Brightest(), model(), [])) == []


def test_the_first_of_equal_logits_wins():
    from bddzoo.inference.batches import class_maps

    logits = torch.zeros(2, 19, 3, 4)
    logits[1, 5:] = 1
    first, second = class_maps(logits)()
    assert first.max() == 0
    assert (second == 5).all()
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, 1, 5, 6), (2, 19, 7, 9), (1, 150, 33, 17)):
        logits = torch.randint(0, 3, shape, generator=generator).float()
        logits[0, -1, 2, 2] = torch.nan
        for layout in (torch.contiguous_format, torch.channels_last):
            found = class_maps(logits.contiguous(memory_format=layout))()
            assert np.array_equal(found, logits.numpy().argmax(axis=1))


def test_requests_that_make_no_sense(images):
    with pytest.raises(UsageError, match="batch size 0"):
        list(predict_frames(Brightest(), model(), images, batch_size=0))
    unknown = Model("m", Zoo("z", "Z"), "sem_seg", Method("M"), "B", {}, (), ())
    with pytest.raises(UsageError, match="test protocol is unknown"):
        list(predict_frames(Brightest(), unknown, images))
    with pytest.raises(UsageError, match="mirrored"):
        list(predict_frames(Brightest(), model(flip=True), images))


@pytest.mark.parametrize(
    "name",
    ["gpu", "cuda:", "cuda:-1", "cpu:0", "mps", "", "auto ", "cuda:256", "cuda:00", "cuda:07", "cuda:\u0663"],
)
def test_names_that_are_no_device(name):
    """PyTorch takes `cuda:256` for the first GPU."""
    for check in (check_device_name, find_device):
        with pytest.raises(UsageError, match="no device is called"):
            check(name)


def test_devices():
    assert resolve_device("cpu").type == "cpu"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    assert resolve_device("auto").type == ("cuda" if count else "cpu")
    with pytest.raises(MissingError, match="does not exist"):
        resolve_device("cuda:99")


def test_empty_instances_are_ordered_too():
    assert len(no_instances(3, 4).by_class()) == 0
