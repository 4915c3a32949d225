"""The pipeline's way over a GPU, as far as a machine without one can tell: see `tests.support.pretend`."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import bddzoo
from bddzoo.engines.load import is_out_of_memory
from bddzoo.errors import MissingError
from bddzoo.inference.batches import Events
from bddzoo.inference.load import load_runner, resolve_device
from bddzoo.inference.pipeline import predict_frames
from bddzoo.inference.speedups import Speedups
from bddzoo.registry import load_registry
from tests.support.pretend import DEVICE, OnDevice, pretend_gpu
from tests.support.sampling import sampled

MODELS = {
    m.task: replace(m, protocol=replace(m.protocol, scale=(480, 270)))
    for m in load_registry(None).models
    if m.zoo.id == "demo" and m.task in ("sem_seg", "ins_seg")
}


def weights(task: str) -> Path:
    return Path(bddzoo.__file__).parent / "demo" / f"{MODELS[task].id}.pth"


@pytest.fixture(scope="module")
def images(mini_set, tmp_path_factory) -> list[tuple[str, Path]]:
    """Four images, half as high and wide."""
    return smaller(sorted((mini_set / "images").rglob("val/*.jpg"))[:4], 1 / 2, tmp_path_factory)


def smaller(paths, factor, tmp_path_factory) -> list[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("smaller")
    for path in paths:
        cv2.imwrite(str(folder / path.name), cv2.resize(cv2.imread(str(path)), None, fx=factor, fy=factor))
    return [(path.name, folder / path.name) for path in paths]


def predictions(task, device, images, *, speedups=None, **options):
    runner, place = load_runner(MODELS[task], weights(task), device, speedups)
    return list(predict_frames(runner, MODELS[task], images, device=place, **options))


@pytest.fixture(scope="module")
def on_cpu(images):
    return {task: predictions(task, "cpu", images) for task in MODELS}


@pytest.mark.parametrize("batch_size", sampled([1, 2, None], lambda size: size == 2))
def test_class_maps_are_those_of_the_cpu(images, on_cpu, batch_size):
    with pretend_gpu():
        found = predictions("sem_seg", "auto", images, batch_size=batch_size)
    assert [name for name, _ in found] == [name for name, _ in on_cpu["sem_seg"]]
    for (_, a), (_, b) in zip(found, on_cpu["sem_seg"], strict=True):
        assert (a != b).mean() < 1e-5


def test_instances_are_those_of_the_cpu(images, on_cpu):
    with pretend_gpu():
        found = predictions("ins_seg", "cuda:0", images, batch_size=2)
    for (_, a), (_, b) in zip(found, on_cpu["ins_seg"], strict=True):
        assert a.labels.tolist() == b.labels.tolist()
        assert a.scores == pytest.approx(b.scores, abs=3e-5)
        assert (a.masks != b.masks).mean() < 1e-5


def test_half_precision_runs_through_both_tasks(images, on_cpu):
    half = Speedups("amp-fp16")
    images = images[:2]  # half precision takes long on a CPU
    seen: set[torch.dtype] = set()

    def look(module, inputs, output):
        seen.add(output.dtype)

    with pretend_gpu():
        runner, place = load_runner(MODELS["sem_seg"], weights("sem_seg"), "cuda", half)
        next(m for m in runner.module.modules() if isinstance(m, torch.nn.Conv2d)).register_forward_hook(look)
        found = list(predict_frames(runner, MODELS["sem_seg"], images, device=place))
        detected = predictions("ins_seg", "cuda", images, speedups=half)
    assert seen == {torch.float16}
    equal = [(a == b).mean() for (_, a), (_, b) in zip(found, on_cpu["sem_seg"][:2], strict=True)]
    assert np.mean(equal) > 0.999
    for (_, a), (_, b) in zip(detected, on_cpu["ins_seg"][:2], strict=True):
        sure = b.scores > 0.3
        assert abs(int((a.scores > 0.3).sum()) - int(sure.sum())) <= 1


def test_a_gpu_that_is_full_is_no_bug():
    with (
        pretend_gpu(largest_bytes=1000),
        pytest.raises(MissingError, match=r"cuda:0 has too little memory for the network .*another --device"),
    ):
        load_runner(MODELS["sem_seg"], weights("sem_seg"), "cuda:0")


def test_a_gpu_that_cannot_be_used_is_no_bug(monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nCompile with ...")

    monkeypatch.setattr(torch.nn.Module, "to", fail)
    with (
        pretend_gpu(),
        pytest.raises(MissingError, match=r"^cuda:0 cannot be used: CUDA error: all .* unavailable \("),
    ):
        load_runner(MODELS["sem_seg"], weights("sem_seg"), "cuda:0")


def test_the_gpu_that_is_named_becomes_the_current_one():
    with pretend_gpu(current=1):
        assert resolve_device("cuda:0") == DEVICE
        assert torch.cuda.current_device() == 0


def test_results_are_waited_for_where_they_are_made(images):
    with pretend_gpu(current=1):
        found = list(predict_frames(Brightest(), MODELS["sem_seg"], images, device=DEVICE))
    assert len(found) == len(images)


@pytest.mark.parametrize(
    "said",
    [
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
        "Unable to find a valid cuDNN algorithm to run convolution",
        "CUDA error: out of memory",
    ],
)
def test_what_cudnn_says_when_memory_does_not_suffice(said):
    assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_too_little_memory_halves_the_batch(images, on_cpu):
    # The logits of two images do not fit, those of one do.
    height, width = on_cpu["sem_seg"][0][1].shape
    said = []
    with pretend_gpu(largest_bytes=1.5 * 19 * height * width * 4):
        found = predictions("sem_seg", "cuda", images, batch_size=4, events=Events(smaller_batch=said.append))
    assert said == [2, 1]
    assert [name for name, _ in found] == [name for name, _ in images]
    for (_, a), (_, b) in zip(found, on_cpu["sem_seg"], strict=True):
        assert (a != b).mean() < 1e-5


class Brightest:
    """The class of a pixel is its brightest channel; what it gets must be on the GPU."""

    gives = "class map"

    def logits(self, x, out_size):
        assert isinstance(x, OnDevice)
        return torch.nn.functional.interpolate(x, size=out_size)


@pytest.fixture(scope="module")
def small(images, tmp_path_factory):
    return smaller([path for _, path in images], 1 / 4, tmp_path_factory)


@settings(max_examples=20, deadline=None)
@given(batch_size=st.integers(1, 6), bad=st.sets(st.integers(0, 8)))
def test_results_that_come_a_batch_later_keep_their_order(small, tmp_path_factory, batch_size, bad):
    nonsense = tmp_path_factory.getbasetemp() / "nonsense.jpg"
    nonsense.write_bytes(b"nonsense")
    chosen = [
        (str(i), nonsense if i in bad else small[i // 2 % len(small)][1]) for i in range(9)
    ]  # pairs of neighbours are equal
    order = []
    events = Events(error=lambda name, _: order.append(name))
    with pretend_gpu():
        found = predict_frames(
            Brightest(), MODELS["sem_seg"], chosen, device=DEVICE, batch_size=batch_size, events=events
        )
        for name, class_map in found:
            order.append(name)
            assert class_map.dtype == np.uint8
            assert class_map.flags.owndata
    assert order == [name for name, _ in chosen]
