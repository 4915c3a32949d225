"""Run a model on images; write what it predicts and draw it; what an interrupted run has done is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bddzoo.datasets.classes import ClassSet
from bddzoo.datasets.decode import read_image
from bddzoo.datasets.formats.scalabel import Detections, PanopticMap, Tag
from bddzoo.datasets.images import Sample
from bddzoo.datasets.layouts import labels_of
from bddzoo.datasets.openseg import class_set_of
from bddzoo.errors import MissingError, UsageError
from bddzoo.inference.outputs import PredictionSet, Unfinished, read_unfinished, remove_note
from bddzoo.painting.colouring import Style, draw_class_map, write_plate
from bddzoo.painting.objects import draw_instances, draw_panoptic
from bddzoo.registry.model import Model
from bddzoo.results.record import WeightsUsed
from bddzoo.runs.loop import MeasureOptions, Watcher
from bddzoo.runs.workers import no_interrupts
from bddzoo.text import number_of


@dataclass
class Describer:
    """Writes predictions; where overlays are drawn, also says what is in them, a row for each image.

    Attributes:
        model: The model.
        drawing: How overlays are drawn; None for predictions alone, for which no image is read again.
        rows: See `describe`.
    """

    model: Model
    drawing: Style | None
    rows: list[dict[str, Any]] = field(default_factory=list)
    keeps_partial: bool = True

    def consume(self, frame: Sample, result: Any, writer: PredictionSet | None) -> None:
        """Write a prediction and describe it."""
        assert writer is not None
        writer.add(frame.name, result)
        if self.drawing is not None:
            drawn, row = describe(frame, result, class_set_of(self.model), self.drawing)
            writer.add_overlay(frame.name, drawn)
            self.rows.append(row)

    def merge(self, other: Describer) -> None:
        """Add what another process has described."""
        self.rows += other.rows


@dataclass(frozen=True)
class Predicted:
    """What came of it.

    Attributes:
        rows: A description of each image that was written by this run, where overlays are drawn.
        failures: Name and reason of each image that could not be used.
        earlier: Names of the images that an interrupted run had done.
        written: Images whose predictions are in the folder.
        trouble: What kept it: Ctrl-C, or a process that died. None if nothing did.
    """

    rows: tuple[dict[str, Any], ...]
    failures: tuple[tuple[str, str], ...]
    earlier: tuple[str, ...]
    written: int
    trouble: BaseException | None


class Prediction:
    """One model over images; what can be checked without its weights is checked when it is made.

    Args:
        model: A model with network facts and a test protocol.
        images: Name to file.
        options: How it is run; `out` is needed.
        drawing: How overlays are drawn; None for none.
        resume: Go on with what an interrupted run left in the folder.

    Raises:
        UsageError: The model cannot be run, or the folder holds other predictions.
    """

    def __init__(
        self,
        model: Model,
        images: Mapping[str, Path],
        options: MeasureOptions,
        drawing: Style | None = None,
        *,
        resume: bool = False,
    ) -> None:
        from bddzoo.inference.pipeline import protocol_of

        assert options.out is not None
        protocol_of(model)
        class_set_of(model)
        self.model, self.images, self.options, self.drawing = model, images, options, drawing
        self.out: Path = options.out
        self.earlier = _earlier(self.out, options.overwrite, resume)
        self._set = PredictionSet(
            self.out,
            model.task,
            rle=drawing is not None,
            overlays=drawing is not None,
            overwrite=options.overwrite,
            resume=self.earlier is not None,
            labels=labels_of(model),
        )

    def run(self, weights: Path, used: WeightsUsed, watcher: Watcher) -> Predicted:
        """Predict and write.

        Ctrl-C or a process that dies ends it early: what was done is written, with a note for `resume`.

        Raises:
            MissingError: No image could be used.
            KeyboardInterrupt: Ctrl-C before anything was done.
        """
        from bddzoo.inference.load import default_batch_size, resolve_device
        from bddzoo.runs.workers import run_frames

        speedups, earlier = self.options.speedups, self.earlier
        made_with: dict[str, Any] = {
            "model": self.model.id,
            "weights": used.sha256,
            "precision": speedups.precision,
            "options": speedups.options,
        }
        if self.drawing is None:
            made_with["overlays"] = False
        rest = earlier.rest(self.out, made_with, self.images) if earlier else dict(self.images)
        done = dict(earlier.done) if earlier else {}
        batch_size = self.options.batch_size or default_batch_size(resolve_device(self.options.device))
        watcher.step("loading the network")
        with ExitStack() as after, self._set as writer:
            shared = run_frames(
                self.model,
                [Sample(name, path) for name, path in rest.items()],
                weights,
                replace(self.options, processes=min(self.options.processes, max(1, len(rest)))),
                batch_size,
                Describer(self.model, self.drawing),
                watcher,
                writer,
            )
            if not shared.done and rest:
                raise shared.trouble or MissingError(
                    f"not one of {number_of(len(rest), 'image')} could be used"
                )
            after.enter_context(no_interrupts())  # until everything is in its place
            done |= {name: str(self.images[name].resolve()) for name in shared.done}
            if shared.trouble is not None:
                Unfinished(made_with, done, len(self.images)).write(self.out)
        if shared.trouble is None:
            remove_note(self.out)
        return Predicted(
            rows=tuple(shared.consumer.rows),
            failures=tuple(shared.failures),
            earlier=tuple(sorted(earlier.done)) if earlier else (),
            written=len(done),
            trouble=shared.trouble,
        )


def _earlier(out: Path, force: bool, resume: bool) -> Unfinished | None:
    """What an interrupted run left in a folder, where this one is to go on from it."""
    if force and resume:
        raise UsageError("--force begins again, --resume goes on", hint="give one of them")
    if force:
        return None
    earlier = read_unfinished(out)
    if earlier is not None and not resume:
        raise UsageError(
            f"{out} holds {len(earlier.done)} of {earlier.total} images of an interrupted run",
            hint="go on with --resume, or begin again with --force",
        )
    return earlier


Image = npt.NDArray[np.uint8]


def describe(frame: Sample, result: Any, classes: ClassSet, style: Style) -> tuple[Image, dict[str, Any]]:
    """Draw a prediction over its image, and say what is in it.

    Args:
        frame: The image. It is read again rather than carried along: decoding costs less than a queue of
            images would hold.
        result: What the model predicted of it.
        classes: The classes of the model.
        style: How it is drawn.

    Returns:
        (H, W, 3) uint8, BGR; and name, width, height, and what there is: shares of classes, or numbers of
        objects, or both, or the frame's attribute.
    """
    image = read_image(frame.image).pixels
    draw = next(draw for kind, draw in _DRAWN.items() if isinstance(result, kind))
    drawn, found = draw(image, result, classes, style)
    return drawn, {"name": frame.name, "width": image.shape[1], "height": image.shape[0], **found}


def _class_map(
    image: Image, class_map: Image, classes: ClassSet, style: Style
) -> tuple[Image, dict[str, Any]]:
    drawn = draw_class_map(image, class_map, classes, style)
    return drawn, {"classes": _shares(class_map, classes)}


def _objects(
    image: Image, result: Detections, classes: ClassSet, style: Style
) -> tuple[Image, dict[str, Any]]:
    drawn = draw_instances(image, result, classes, style)
    shown = result.labels[result.scores >= style.min_score]
    return drawn, {"instances": len(result), "drawn": _numbers(shown, classes)}


def _panoptic(
    image: Image, result: PanopticMap, classes: ClassSet, style: Style
) -> tuple[Image, dict[str, Any]]:
    things = result.classes[result.things]
    found = {"classes": _shares(result.class_map(), classes), "drawn": _numbers(things, classes)}
    return draw_panoptic(image, result, style), {"instances": len(things), **found}


def _tag(image: Image, tag: Tag, classes: ClassSet, style: Style) -> tuple[Image, dict[str, Any]]:
    drawn = image.copy()
    colour = classes.palette[classes.index(tag.name)]
    write_plate(drawn, f"{tag.attribute}: {tag.name} {tag.score:.2f}", [(0, 0)], colour)
    return drawn, {"attributes": {tag.attribute: tag.name}, "score": round(tag.score, 4)}


def _shares(class_map: Image, classes: ClassSet) -> dict[str, float]:
    counts = np.bincount(class_map.ravel(), minlength=256)[: len(classes)]
    shares = counts / class_map.size
    return {classes.names[i]: round(float(shares[i]), 4) for i in np.argsort(-counts) if counts[i]}


def _numbers(labels: npt.NDArray[np.int64], classes: ClassSet) -> dict[str, int]:
    return {classes.names[i]: int((labels == i).sum()) for i in np.unique(labels)}


_DRAWN: dict[type, Callable[..., tuple[Image, dict[str, Any]]]] = {
    np.ndarray: _class_map,
    Detections: _objects,
    PanopticMap: _panoptic,
    Tag: _tag,
}
