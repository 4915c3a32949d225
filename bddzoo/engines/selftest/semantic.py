"""Check a semantic segmentation network, or a classifier, against its goldens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bddzoo.engines.selftest.folder import CROPS, Arrays, Golden, GoldenFolder
from bddzoo.engines.selftest.measures import Measure, Noise, Stages, strided
from bddzoo.registry.model import Model, Protocol

if TYPE_CHECKING:
    import numpy.typing as npt

    from bddzoo.engines.classify import TagRunner
    from bddzoo.engines.semantic import SemSegRunner

Prepare = Callable[["npt.NDArray[np.uint8]", Protocol], Any]


@dataclass(frozen=True)
class Case:
    """A golden, and what makes a network's input as it was made for it.

    Attributes:
        folder: Where the images are.
        golden: Which it is.
        arrays: What it holds.
        prepare: The preprocessing, from an image and a protocol to a network's input.
    """

    folder: GoldenFolder
    golden: Golden
    arrays: Arrays
    prepare: Prepare

    @property
    def noise(self) -> Noise | None:
        """How far legitimate arithmetic moves each measure."""
        return self.golden.noise

    def crops(self, needed: str = "") -> Iterator[tuple[str, Arrays]]:
        """The crops that the golden has something of (`needed`: this array), with their arrays."""
        for crop in CROPS:
            own = {k.removeprefix(f"{crop}_"): v for k, v in self.arrays.items() if k.startswith(f"{crop}_")}
            if needed in own if needed else own:
                yield crop, own

    def ready(self, model: Model) -> Any:
        """The whole image, as the model's protocol prepares it."""
        image = self.folder.image(self.golden.kind.variant)
        assert image is not None
        assert model.protocol is not None
        return self.prepare(image, model.protocol)


def check_small(runner: SemSegRunner, case: Case) -> list[Measure]:
    """Logits and class maps of the plain network on the two crops."""
    arrays, stages, wrong = case.arrays, Stages(case.noise), 0
    for crop, _ in case.crops("logits"):
        logits = runner.encode(as_input(normalise(case.folder.crop(crop)), runner.module))[0]
        std = float(arrays[f"{crop}_stats"][1])
        stages.compare(f"{crop} logits", to_numpy(logits[:, 4::8, 4::8]), arrays[f"{crop}_logits"], std)
        wrong += wrong_pixels(logits, arrays[f"{crop}_class"], stages.limit("logits") * std)
    return [*stages.measures(), Measure("class map", wrong, 0, "px")]


def check_full(runner: SemSegRunner, case: Case) -> list[Measure]:
    """The whole protocol on a full image: preprocessing, windows, stages, logits, class map."""
    ready, arrays = case.ready(runner.model), case.arrays
    x = as_input(ready.pixels, runner.module)
    stages = Stages(case.noise)
    compare_input(stages, x, arrays)
    with recorded(runner.module) as record:
        logits = runner.logits(x, ready.original_size)[0]
    protocol = runner.model.protocol
    if protocol is not None and protocol.mode == "whole":
        _compare_stages(stages, record, arrays)
    std = float(arrays["logits_stats"][1])
    grid = to_numpy(logits)[:, arrays["rows"]][:, :, arrays["cols"]]
    stages.compare("logits", grid, arrays["logits"], std)
    measures = stages.measures()
    labels = case.folder.class_map(case.golden)
    if labels is not None:
        wrong = wrong_pixels(logits, labels, stages.limit("logits") * std)
        measures.append(Measure("class map", wrong, 0, "px"))
    return measures


def check_tags(runner: TagRunner, case: Case) -> list[Measure]:
    """The whole protocol on the image, and the network alone on the two crops.

    Networks that need an input of 224x224 have no logits of the crops; shipped goldens of those that need
    none have no others.
    """
    arrays, stages, wrong = case.arrays, Stages(case.noise), 0
    protocol = runner.model.protocol
    assert protocol is not None
    inputs = {
        f"{crop}_logits": normalise(case.folder.crop(crop), protocol) for crop, _ in case.crops("logits")
    }
    if "logits" in arrays:
        inputs["logits"] = case.prepare(case.folder.sampled_image(arrays), protocol).pixels
        compare_input(stages, as_input(inputs["logits"], runner.module), arrays)
    for name, pixels in inputs.items():
        logits = to_numpy(runner.run_module(as_input(pixels, runner.module)))
        stages.compare(name.replace("_", " "), logits, arrays[name])
        wrong += int(logits.argmax() != arrays[name].argmax())
    return [*stages.measures(), Measure("class", wrong, 0, "count")]


def normalise(image: npt.NDArray[np.uint8], protocol: Protocol | None = None) -> npt.NDArray[np.float32]:
    """A BGR crop as (3, h, w) network input by a protocol's mean and deviation, not resized."""
    known = protocol or Protocol("", "")
    step = 1 if known.channel_order == "BGR" else -1
    mean, deviation = np.array(known.mean, np.float32), np.array(known.std, np.float32)
    pixels = (image[:, :, ::step].astype(np.float32) - mean) / deviation
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def as_input(pixels: npt.NDArray[np.float32], module: torch.nn.Module) -> Tensor:
    """(3, h, w) pixels as a batch of one, where and in the type in which the network computes."""
    like = next(module.parameters())
    return torch.from_numpy(pixels)[None].to(like.device, like.dtype)


def to_numpy(tensor: Tensor) -> npt.NDArray[Any]:
    """A tensor's values on the CPU."""
    array: npt.NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def compare_input(stages: Stages, x: Tensor, arrays: Arrays) -> None:
    """Compare a network's input with a sample of the golden's, in units of about one deviation."""
    sample = arrays["input_sample"]
    if tuple(x.shape) != tuple(arrays["input_shape"].tolist()):
        stages.take("input", float("inf"))
    else:
        stages.compare("input", strided(to_numpy(x), sample.size), sample, 1.0)


def _compare_stages(stages: Stages, record: dict[str, Any], arrays: Arrays) -> None:
    for index, features in enumerate(flatten(record.get("backbone", ()))):
        if f"backbone{index}_sample" in arrays:
            stages.compare_sampled(f"backbone{index}", to_numpy(features), arrays)
    for name in ("coarse_raw0", "decode_raw0"):
        if f"{name}_sample" in arrays and record.get(name) is not None:
            stages.compare_sampled(name, to_numpy(record[name]), arrays)


def flatten(outputs: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, in order."""
    if isinstance(outputs, Tensor):
        yield outputs
    else:
        for item in outputs:
            yield from flatten(item)


@contextmanager
def recorded(module: Any) -> Iterator[dict[str, Any]]:
    """Keep what the backbone and the head put out during a run.

    The head's `forward` is wrapped rather than hooked, because upstream calls it by that name.
    """
    record: dict[str, Any] = {}
    cascade = isinstance(module.decode_head, torch.nn.ModuleList)
    head, name = (module.decode_head[0], "coarse_raw0") if cascade else (module.decode_head, "decode_raw0")
    forward = head.forward

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        record[name] = forward(*args, **kwargs)
        return record[name]

    hook = module.backbone.register_forward_hook(lambda _m, _i, out: record.update(backbone=out))
    head.forward = wrapped
    try:
        yield record
    finally:
        del head.forward
        hook.remove()


def wrong_pixels(logits: Tensor, labels: npt.NDArray[np.uint8], tolerance: float) -> int:
    """Pixels of another class whose margin is larger than what the tolerance can turn.

    Args:
        logits: (C, H, W).
        labels: (H, W), the golden's classes.
        tolerance: How far a logit may be from the golden's.
    """
    best, classes = logits.max(dim=0)
    golden = torch.from_numpy(labels.astype(np.int64)).to(logits.device)
    if classes.shape != golden.shape:
        return golden.numel()
    theirs = logits.gather(0, golden[None])[0]
    return int(((classes != golden) & (best - theirs > 2 * tolerance)).sum())
