"""From picture files to predictions: read ahead, batch, run, in the order of the input."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bddzoo.datasets.instances import Instances
from bddzoo.errors import BddzooError, MissingError, UsageError
from bddzoo.inference.background import map_ahead
from bddzoo.inference.decode import read_picture
from bddzoo.inference.device import default_batch_size
from bddzoo.inference.preprocess import Prepared, prepare
from bddzoo.registry.types import Model
from bddzoo.registry.types import Protocol as TestProtocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    ClassMap = npt.NDArray[np.uint8]


_TOO_LITTLE = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "could not create a memory object",
    "could not create a primitive",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


class SemSegRunner(Protocol):
    """What the pipeline needs of a semantic segmentation network."""

    def logits(self, x: torch.Tensor, out_size: tuple[int, int]) -> torch.Tensor:
        """(N, C, H, W) logits at `out_size` for a normalised (N, 3, h, w) input."""
        ...


class InsSegRunner(Protocol):
    """What the pipeline needs of an instance segmentation network."""

    def detect(
        self,
        x: torch.Tensor,
        img_shapes: Sequence[tuple[int, int]],
        ori_shapes: Sequence[tuple[int, int]],
        scale_factors: Sequence[tuple[float, float]],
    ) -> list[Instances]:
        """Instances of each picture for a normalised, padded (N, 3, h, w) input."""
        ...


@dataclass
class Events:
    """Called by the pipeline, in the caller's thread, when something is worth saying.

    Attributes:
        error: A picture could not be used, or memory does not suffice for it alone; without this
            callback the error is raised.
        remark: A picture was read in a way its owner may not expect.
        smaller_batch: The device ran out of memory; the batch size from now on.
    """

    error: Callable[[str, BddzooError], None] | None = None
    remark: Callable[[str, str], None] | None = None
    smaller_batch: Callable[[int], None] | None = None


@dataclass(frozen=True)
class _Loaded:
    name: str
    prepared: Prepared | None = None
    remarks: tuple[str, ...] = ()
    error: BddzooError | None = None


def predict_frames(
    runner: Any,
    model: Model,
    images: Iterable[tuple[str, Path]],
    *,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    workers: int | None = None,
    events: Events | None = None,
) -> Iterator[tuple[str, ClassMap | Instances]]:
    """Predictions for pictures of any size, in order, one at a time.

    Pictures are read and prepared by threads ahead of the network. Neighbours of equal size share a
    batch. At most a few batches are in memory, whatever the number of pictures.

    Args:
        runner: A runner of `bddzoo.engines` for the model, on `device`.
        model: Its task and test protocol.
        images: Names and picture files; names come back with the predictions.
        device: Device that the runner is on.
        batch_size: Pictures per forward pass; by default one on a CPU and some on a GPU. Halved when
            memory does not suffice.
        workers: Reading threads.
        events: Callbacks; see there what happens to a picture that cannot be used.

    Yields:
        Name and class map (H, W) uint8, or name and `Instances` in the zoo's order (class by class).

    Raises:
        BddzooError: A picture cannot be used and `events.error` is not set.
        UsageError: The model has no test protocol.
        MissingError: Memory does not suffice for a single picture, and `events.error` is not set.
    """
    import torch

    events = events or Events()
    device = torch.device(device)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch size {batch_size} is less than 1")
    size = batch_size or default_batch_size(device)
    protocol = protocol_of(model)
    threads = workers or min(8, max(2, os.cpu_count() or 2))
    loaded = map_ahead(
        lambda item: _load(item[0], item[1], protocol), images, workers=threads, ahead=threads + size
    )
    run = _Run(runner, model, device, size, events)
    group: list[_Loaded] = []
    for item in loaded:
        if item.prepared is None:
            assert item.error is not None
            # The order of names is kept: what came before the bad picture goes out first.
            yield from run.flush(group)
            group = []
            if events.error is None:
                raise item.error
            events.error(item.name, item.error)
            continue
        if events.remark is not None:
            for remark in item.remarks:
                events.remark(item.name, remark)
        if group and (len(group) >= run.batch_size or _group(group[0]) != _group(item)):
            yield from run.flush(group)
            group = []
        group.append(item)
    yield from run.flush(group)


def protocol_of(model: Model) -> TestProtocol:
    """The model's test protocol.

    Raises:
        UsageError: It is unknown, or asks for something that inference cannot do.
    """
    if model.protocol is None:
        raise UsageError(
            f"model {model.id}: its test protocol is unknown, so it cannot be run",
            hint="'bddzoo info' shows what is known",
        )
    if model.not_buildable is not None:
        raise UsageError(
            f"model {model.id}: cannot be built ({model.not_buildable.reason}): {model.not_buildable.text}",
            hint="'bddzoo list --where \"engine = *\"' shows what can run",
        )
    if not _whole_protocol(model) and (model.protocol.flip or model.protocol.scales):
        raise UsageError(
            f"model {model.id}: its protocol tests mirrored or resized images, which is not supported",
            hint="only the engine openseg does",
        )
    return model.protocol


def _whole_protocol(model: Model) -> bool:
    """Whether the model's runner does flips and scales, and takes the padding off before it resizes."""
    return model.network is not None and model.network.engine == "openseg"


def _load(name: str, path: Path, protocol: TestProtocol) -> _Loaded:
    try:
        picture = read_picture(path)
        return _Loaded(name, prepare(picture.pixels, protocol), picture.remarks)
    except BddzooError as error:
        return _Loaded(name, error=error)
    except MemoryError:
        return _Loaded(name, error=MissingError(f"there is too little memory to read {path}"))


def _group(item: _Loaded) -> tuple[object, ...]:
    assert item.prepared is not None
    return item.prepared.group


class _Run:
    """Runs batches; halves them when memory does not suffice."""

    def __init__(
        self, runner: Any, model: Model, device: torch.device, batch_size: int, events: Events
    ) -> None:
        self.runner = runner
        self.task = model.task
        self.whole_protocol = _whole_protocol(model)
        self.device = device
        self.batch_size = batch_size
        self.events = events

    def flush(self, group: list[_Loaded]) -> Iterator[tuple[str, ClassMap | Instances]]:
        """Predictions of a group of pictures of equal size."""
        rest = group
        while rest:
            part = rest[: self.batch_size]
            try:
                results = self._forward([item.prepared for item in part if item.prepared is not None])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                results = None
            if results is None:
                # Outside of the except block, whose traceback would keep the tensors alive.
                self._free()
                if len(part) == 1:
                    self._give_up(part[0])
                    rest = rest[1:]
                else:
                    self._halve(len(part))
                continue
            yield from zip((item.name for item in part), results, strict=True)
            rest = rest[len(part) :]

    def _free(self) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _give_up(self, item: _Loaded) -> None:
        assert item.prepared is not None
        height, width = item.prepared.pixels.shape[1:]
        error = MissingError(
            f"{self.device} has too little memory for {item.name} as a {width}x{height} input",
            hint="use another --device, or close what else is using the memory",
        )
        if self.events.error is None:
            raise error
        self.events.error(item.name, error)

    def _halve(self, failed: int) -> None:
        self.batch_size = max(1, failed // 2)
        if self.events.smaller_batch is not None:
            self.events.smaller_batch(self.batch_size)

    def _forward(self, batch: list[Prepared]) -> list[ClassMap | Instances]:
        import torch

        first = batch[0]
        with torch.inference_mode():
            x = _to_device(batch, self.device)
            if self.task == "ins_seg":
                found = self.runner.detect(
                    x,
                    [p.image_size for p in batch],
                    [p.original_size for p in batch],
                    [p.scale_factor for p in batch],
                )
                return [instances.by_class() for instances in found]
            if self.whole_protocol:
                logits = self.runner.logits(x, first.original_size, first.image_size)
            else:
                logits = self.runner.logits(x, first.original_size)
            return list(class_maps(logits))


def class_maps(logits: torch.Tensor) -> npt.NDArray[np.uint8]:
    """(N, H, W) uint8 of the class with the largest logit, the first of equals; taken on the device."""
    import torch

    return logits.argmax(dim=1).to(torch.uint8).cpu().numpy()


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an error of PyTorch or oneDNN says that memory does not suffice, on a GPU or on the CPU."""
    import torch

    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in said for words in _TOO_LITTLE
    )


def _to_device(batch: list[Prepared], device: torch.device) -> torch.Tensor:
    import torch

    parts = [torch.from_numpy(p.pixels) for p in batch]
    if device.type == "cpu":
        return parts[0][None] if len(parts) == 1 else torch.stack(parts)
    pinned = torch.empty((len(parts), *parts[0].shape), dtype=torch.float32, pin_memory=True)
    torch.stack(parts, out=pinned)
    return pinned.to(device, non_blocking=True)
