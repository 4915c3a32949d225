"""From image files to predictions, in their order: read ahead by threads, batch, run."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from bddzoo.datasets.decode import read_image
from bddzoo.engines.registry_config import network_of
from bddzoo.errors import BddzooError, MissingError, UsageError
from bddzoo.inference.batches import Batches, Events, LoadedImage, prepare, whole_protocol
from bddzoo.inference.load import default_batch_size
from bddzoo.registry.model import Model
from bddzoo.registry.model import Protocol as TestProtocol

if TYPE_CHECKING:
    import torch

    from bddzoo.engines.load import Runner
    from bddzoo.inference.batches import Result


T = TypeVar("T")
R = TypeVar("R")


def prefetch(function: Callable[[T], R], items: Iterable[T], *, workers: int, depth: int) -> Iterator[R]:
    """Results of `function` over `items`, in order, computed by threads ahead of their use.

    Args:
        function: Runs in a thread; an error it raises comes out where its result would have.
        items: Taken one at a time, in the caller's thread.
        workers: Threads.
        depth: Results that may wait or be in the making at any time; bounds the memory.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="bddzoo-read")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= max(1, depth):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Sink(Generic[T]):
    """A thread that consumes values behind the caller, in order.

    Use as a context manager: leaving the block waits until everything is consumed. An error of the
    consumer is raised in the caller at its next `put`, or when the block is left; what was put after
    it is dropped. Where the block is left by an error, what waits is dropped, too, unless the error is
    one of `finish_on`.

    Args:
        consume: Called in the thread with each value.
        depth: Values that may wait; `put` blocks when they do.
        finish_on: Errors of the block upon which what waits is consumed all the same.
    """

    def __init__(
        self, consume: Callable[[T], None], *, depth: int = 2, finish_on: tuple[type[BaseException], ...] = ()
    ) -> None:
        self._consume = consume
        self._finish_on = finish_on
        self._queue: queue.Queue[T | None] = queue.Queue(maxsize=max(1, depth))
        self._error: BaseException | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="bddzoo-write", daemon=True)

    def __enter__(self) -> Sink[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abandoned = kind is not None and not issubclass(kind, self._finish_on)
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def put(self, value: T) -> None:
        """Hand a value to the thread."""
        self._raise()
        self._queue.put(value)

    def _run(self) -> None:
        while (value := self._queue.get()) is not None:
            if self._error is not None or self._abandoned:
                continue
            try:
                self._consume(value)
            except BaseException as error:  # handed over to the caller's thread
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            self._abandoned = True
            raise error


def predict_frames(
    runner: Runner,
    model: Model,
    images: Iterable[tuple[str, Path]],
    *,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    workers: int | None = None,
    events: Events | None = None,
) -> Iterator[tuple[str, Result]]:
    """Predictions for images of any size, in order, one at a time.

    Images are read and prepared by threads ahead of the network. Neighbours of equal size share a
    batch. At most a few batches are in memory, whatever the number of images.

    Args:
        runner: A runner of `bddzoo.engines` for the model, on `device`.
        model: Its task and test protocol.
        images: Names and image files; names come back with the predictions.
        device: Device that the runner is on.
        batch_size: Images per forward pass; by default one on a CPU and some on a GPU. Halved when
            memory does not suffice.
        workers: Reading threads.
        events: Callbacks; see there what happens to an image that cannot be used.

    Yields:
        Name, and class map (H, W) uint8, `Detections` in the zoo's order (class by class), which are
        `Instances` of instance segmentation, `PanopticMap`, or `Tag`.

    Raises:
        BddzooError: An image cannot be used and `events.error` is not set.
        UsageError: The model has no test protocol.
        MissingError: Memory does not suffice for a single image, and `events.error` is not set.
    """
    import torch

    events = events or Events()
    device = torch.device(device)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch size {batch_size} is less than 1")
    size = batch_size or default_batch_size(device)
    protocol = protocol_of(model)
    threads = workers or min(8, max(2, os.cpu_count() or 2))
    loaded = prefetch(
        lambda item: _load(item[0], item[1], protocol), images, workers=threads, depth=threads + size
    )
    run = Batches(runner, model, device, size, events)
    group: list[LoadedImage] = []
    for item in loaded:
        if item.prepared is None:
            assert item.error is not None
            # The order of names is kept: what came before the bad image goes out first.
            yield from run.flush(group)
            yield from run.rest()
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
    yield from run.rest()


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
        network_of(model)  # says why
    if not whole_protocol(model) and (model.protocol.flip or model.protocol.scales):
        raise UsageError(
            f"model {model.id}: its protocol tests mirrored or resized images, which is not supported",
            hint="only the engine openseg does",
        )
    return model.protocol


def _load(name: str, path: Path, protocol: TestProtocol) -> LoadedImage:
    try:
        image = read_image(path)
        return LoadedImage(name, prepare(image.pixels, protocol), image.remarks)
    except BddzooError as error:
        return LoadedImage(name, error=error)
    except MemoryError:
        return LoadedImage(name, error=MissingError(f"there is too little memory to read {path}"))


def _group(item: LoadedImage) -> tuple[object, ...]:
    assert item.prepared is not None
    return item.prepared.group
