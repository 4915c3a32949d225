"""Run a network on batches of images, whatever memory there is."""

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
from bddzoo.inference.preprocess import Prepared
from bddzoo.registry.model import Model

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

    found = logits.argmax(dim=1).to(torch.uint8)
    if found.device.type == "cpu":
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
