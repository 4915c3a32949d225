"""From images to the input of a network, and the network run on batches, whatever memory there is.

The order of preprocessing is that of the zoo's test pipelines: float conversion (where the pipeline resizes
floats), resize, cut out of the middle, division of the grey levels, subtraction of the mean and division by
the standard deviation in float32, padding with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.formats.scalabel import Detections, PanopticMap, Tag
from bddzoo.datasets.openseg import class_set_of
from bddzoo.engines.load import is_out_of_memory
from bddzoo.errors import BddzooError, MissingError
from bddzoo.registry.model import Model, Protocol

if TYPE_CHECKING:
    import torch

    ClassMap = npt.NDArray[np.uint8]
    Result = ClassMap | Detections | PanopticMap | Tag
    Results = Callable[[], Sequence[Result]]


@dataclass
class Events:
    """Called by the pipeline, in the caller's thread, when something is worth saying.

    Attributes:
        error: An image could not be used, or memory does not suffice for it alone; without this
            callback the error is raised.
        remark: An image was read in a way its owner may not expect.
        smaller_batch: The device ran out of memory; the batch size from now on.
    """

    error: Callable[[str, BddzooError], None] | None = None
    remark: Callable[[str, str], None] | None = None
    smaller_batch: Callable[[int], None] | None = None


@dataclass(frozen=True)
class LoadedImage:
    """An image made ready, or why it could not be.

    Attributes:
        name: Of the image.
        prepared: The network's input.
        remarks: See `Image`.
        error: Set where `prepared` is not.
    """

    name: str
    prepared: Prepared | None = None
    remarks: tuple[str, ...] = ()
    error: BddzooError | None = None


class Batches:
    """Runs batches; halves them when memory does not suffice.

    Args:
        runner: A runner for the model, on the device.
        model: Its task and test protocol.
        device: Where to run.
        batch_size: Images per forward pass, at most.
        events: Told about smaller batches, and about images that are too large for memory.
    """

    def __init__(
        self, runner: Any, model: Model, device: torch.device, batch_size: int, events: Events
    ) -> None:
        self.runner = runner
        self.model = model
        self.device = device
        self.batch_size = batch_size
        self.events = events
        self._started: tuple[list[str], Results] | None = None

    def flush(self, group: list[LoadedImage]) -> Iterator[tuple[str, Result]]:
        """Start on a group of images of equal size; yields what has been started on before.

        A GPU works on one batch while the next is made ready and the one before is fetched: its results
        come one call later, see `rest`.
        """
        left = group
        while left:
            part = left[: self.batch_size]
            try:
                prepared = [item.prepared for item in part if item.prepared is not None]
                results = start_batch(self.runner, self.model, self.device, prepared)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                results = None
            if results is None:
                # Outside of the except block, whose traceback would keep the tensors alive.
                yield from self.rest()
                self._free()
                if len(part) == 1:
                    self._give_up(part[0])
                    left = left[1:]
                else:
                    self._halve(len(part))
                continue
            left = left[len(part) :]
            yield from self.rest()
            self._started = ([item.name for item in part], results)
            if self.device.type == "cpu":
                yield from self.rest()

    def rest(self) -> Iterator[tuple[str, Result]]:
        """What was started on and has not been given out."""
        if self._started is not None:
            names, results = self._started
            self._started = None
            yield from zip(names, results(), strict=True)

    def _free(self) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _give_up(self, item: LoadedImage) -> None:
        assert item.prepared is not None
        height, width = item.prepared.pixels.shape[1:]
        error = MissingError(
            f"{self.device} has too little memory for {item.name} as a {width}x{height} input",
            hint="use another --device, or close other programs that use the memory",
        )
        if self.events.error is None:
            raise error
        self.events.error(item.name, error)

    def _halve(self, failed: int) -> None:
        self.batch_size = max(1, failed // 2)
        if self.events.smaller_batch is not None:
            self.events.smaller_batch(self.batch_size)


def start_batch(runner: Any, model: Model, device: torch.device, batch: list[Prepared]) -> Results:
    """Run the network on images of equal size; what is returned waits for the results and fetches them."""
    import torch

    with torch.inference_mode():
        return _STARTED[runner.gives](runner, model, _to_device(batch, device), batch)


def _class_maps(runner: Any, model: Model, x: torch.Tensor, batch: list[Prepared]) -> Results:
    first = batch[0]
    if whole_protocol(model):
        return class_maps(runner.logits(x, first.original_size, first.image_size))
    return class_maps(runner.logits(x, first.original_size))


def _detections(runner: Any, model: Model, x: torch.Tensor, batch: list[Prepared]) -> Results:
    found = [instances.by_class() for instances in runner.detect(x, *_sizes(batch))]
    return lambda: found


def _panoptic_maps(runner: Any, model: Model, x: torch.Tensor, batch: list[Prepared]) -> Results:
    found = [PanopticMap(values) for values in runner.segment(x, *_sizes(batch))]
    return lambda: found


def _tags(runner: Any, model: Model, x: torch.Tensor, batch: list[Prepared]) -> Results:
    classes, probabilities = class_set_of(model), runner.run_module(x).float().softmax(1)
    return lambda: [Tag(classes, one) for one in probabilities.cpu().numpy()]


def _sizes(batch: list[Prepared]) -> tuple[list[Any], list[Any], list[Any]]:
    return ([p.image_size for p in batch], [p.original_size for p in batch], [p.scale_factor for p in batch])


# By what a runner gives.
_STARTED: dict[str, Callable[[Any, Model, torch.Tensor, list[Prepared]], Results]] = {
    "class map": _class_maps,
    "detections": _detections,
    "panoptic map": _panoptic_maps,
    "tags": _tags,
}


def class_maps(logits: torch.Tensor) -> Callable[[], list[ClassMap]]:
    """The class with the largest logit, the first of equals; taken on the device.

    Args:
        logits: (N, C, H, W).

    Returns:
        A function that waits for the results: (H, W) uint8 each. On a GPU their way to the host is under
        way when this returns, behind the work that makes them.
    """
    import torch

    on_cpu = logits.device.type == "cpu"
    # The same indices; on a CPU `argmax` takes up to four times as long.
    found = (logits.max(dim=1).indices if on_cpu else logits.argmax(dim=1)).to(torch.uint8)
    if on_cpu:
        return lambda: list(found.numpy())
    host = torch.empty(found.shape, dtype=torch.uint8, pin_memory=True)
    host.copy_(found, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    # Of the GPU that works on it, which need not be the current one.
    done.record(torch.cuda.current_stream(found.device))

    def fetch() -> list[ClassMap]:
        done.synchronize()
        # Copied out, because pinned memory is scarce and the results may be kept for long.
        return [one.copy() for one in host.numpy()]

    return fetch


def _to_device(batch: list[Prepared], device: torch.device) -> torch.Tensor:
    import torch

    parts = [torch.from_numpy(p.pixels) for p in batch]
    if device.type == "cpu":
        return parts[0][None] if len(parts) == 1 else torch.stack(parts)
    pinned = torch.empty((len(parts), *parts[0].shape), dtype=torch.float32, pin_memory=True)
    torch.stack(parts, out=pinned)
    return pinned.to(device, non_blocking=True)


def whole_protocol(model: Model) -> bool:
    """Whether the model's runner does flips and scales, and takes the padding off before it resizes."""
    return model.network is not None and model.network.engine == "openseg"


@dataclass(frozen=True)
class Prepared:
    """Input of a network for one image, and the sizes that lead back from it.

    Attributes:
        pixels: (3, h, w) float32, normalised, padded at right and bottom.
        image_size: `(height, width)` before padding.
        original_size: `(height, width)` of the image.
        scale_factor: `(x, y)`, resized over original size.
    """

    pixels: npt.NDArray[np.float32]
    image_size: tuple[int, int]
    original_size: tuple[int, int]
    scale_factor: tuple[float, float]

    @property
    def group(self) -> tuple[object, ...]:
        """Images with equal groups can share a batch."""
        return (self.pixels.shape, self.image_size, self.original_size)


def rescaled_size(width: int, height: int, scale: tuple[int, int]) -> tuple[int, int]:
    """The size `(width, height)` that an image is resized into so that it fits into `scale`.

    The long side of the result is at most the long side of `scale`, the short side at most its
    short side, and the aspect is kept up to rounding half up (mmcv's `imrescale`). A side never
    falls below one pixel.
    """
    factor = min(max(scale) / max(width, height), min(scale) / min(width, height))
    return max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5))


def resized_size(width: int, height: int, protocol: Protocol) -> tuple[int, int]:
    """The size `(width, height)` that a protocol resizes an image into."""
    if protocol.scale is None:
        return width, height
    if protocol.resize == "exact":
        return protocol.scale
    if protocol.resize == "short-side":
        # Python's rounding, half to even, as openseg.pytorch's DefaultLoader has it.
        factor = min(protocol.scale) / min(width, height)
        return max(1, round(width * factor)), max(1, round(height * factor))
    if protocol.resize == "short-side-floor":
        short = min(protocol.scale)
        if width < height:  # in the order of mmpretrain's ResizeEdge
            return short, int(short * height / width)
        return int(short * width / height), short
    return rescaled_size(width, height, protocol.scale)


def prepare(image: npt.NDArray[np.uint8], protocol: Protocol) -> Prepared:
    """Make the network's input from an image.

    Args:
        image: (H, W, 3) uint8, BGR.
        protocol: Size and kind of resize, what is cut out, order of the channels, divisor, mean and standard
            deviation, padding.

    Returns:
        Input in float32, in the protocol's order of channels. Mean and deviation are rounded to
        float32 first; then the result is bit by bit that of mmcv's `imnormalize` and of the data
        preprocessors of mmsegmentation 1.x and mmdet 3.x.
    """
    import cv2

    height, width = image.shape[:2]
    resized: npt.NDArray[np.generic] = image
    new_width, new_height = resized_size(width, height, protocol)
    scale_factor = new_width / width, new_height / height
    if (new_width, new_height) != (width, height):
        source = image.astype(np.float32) if protocol.float_resize else image
        how = cv2.INTER_CUBIC if protocol.interpolation == "cubic" else cv2.INTER_LINEAR
        resized = cv2.resize(source, (new_width, new_height), interpolation=how)
    if protocol.center_crop is not None:
        rows, columns = (
            middle(new_height, protocol.center_crop[0]),
            middle(new_width, protocol.center_crop[1]),
        )
        resized = resized[rows, columns]
        new_height, new_width = resized.shape[:2]
    pixels = np.zeros((3, *padded_size(new_width, new_height, protocol)), np.float32)
    order = (0, 1, 2) if protocol.channel_order == "BGR" else (2, 1, 0)
    for channel, place in enumerate(order):
        target = pixels[channel, :new_height, :new_width]
        levels: npt.NDArray[np.generic] = resized[:, :, place]
        if protocol.div_value != 1.0:
            levels = np.divide(levels, np.float32(protocol.div_value), out=target, dtype=np.float32)
        # Dividing, not multiplying by the reciprocal: the two differ in the last bit.
        np.subtract(levels, np.float32(protocol.mean[channel]), out=target, dtype=np.float32)
        np.divide(target, np.float32(protocol.std[channel]), out=target)
    return Prepared(pixels, (new_height, new_width), (height, width), scale_factor)


def middle(length: int, wanted: int) -> slice:
    """The middle of a side, or all of a shorter one; halves are rounded to even, as by mmcv's CenterCrop."""
    start = max(0, round((length - wanted) / 2))
    return slice(start, min(length, start + wanted))


def frame_image_size(protocol: Protocol) -> tuple[int, int]:
    """Height and width of a frame of BDD100K, 1280x720, in the network's input."""
    width, height = resized_size(1280, 720, protocol)
    if protocol.center_crop is not None:
        height, width = min(height, protocol.center_crop[0]), min(width, protocol.center_crop[1])
    return height, width


def frame_input_size(protocol: Protocol) -> tuple[int, int]:
    """Height and width of the network's input for a frame of BDD100K, 1280x720, with its padding."""
    height, width = frame_image_size(protocol)
    return padded_size(width, height, protocol)


def padded_size(width: int, height: int, protocol: Protocol) -> tuple[int, int]:
    """Height and width of the network's input for a resized image."""
    divisor = protocol.pad_divisor
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor
