"""The registry's words as types: zoo, method, model, artifact, digest, network, protocol.

These are the *resolved* views that the rest of the program works with; how they are spelt in
`registry.yaml` is the business of `bddzoo.registry.schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Task = Literal["sem_seg", "ins_seg"]
ArtifactKind = Literal["weights", "scores-val", "scores-test", "preds", "masks", "visuals", "config"]
DigestOrigin = Literal["published", "filename", "observed", "computed"]


@dataclass(frozen=True)
class Digest:
    """A digest and where it is from.

    Attributes:
        algorithm: `md5` or `sha256`.
        hex: Lower-case hexadecimal digits; fewer than the full length when only a prefix is known.
        origin: `published` by the zoo, read off the `filename`, `observed` on a download, or
            `computed` by this project from files it made itself.
        date: ISO date of the observation, if any.
    """

    algorithm: Literal["md5", "sha256"]
    hex: str
    origin: DigestOrigin
    date: str | None = None


@dataclass(frozen=True)
class Artifact:
    """One file of a model.

    Attributes:
        kind: What it is.
        name: File name, also the name in the cache.
        sources: URLs, best first; empty when the zoo links nothing. `package:PATH` names a file
            that ships inside this package.
        digests: What is known of its content; empty means unknown.
        digest_url: Where the zoo publishes the MD5 (a `.md5` file), if it does.
        size_bytes: Size, or None when unknown.
    """

    kind: ArtifactKind
    name: str
    sources: tuple[str, ...] = ()
    digests: tuple[Digest, ...] = ()
    digest_url: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class Protocol:
    """Everything that changes a number besides the weights.

    Attributes:
        id: Name of the protocol in the registry.
        dataset: Data set layout, e.g. `bdd100k`, `cityscapes`.
        scale: Size `(width, height)` in pixels that images are resized into, aspect kept.
        float_resize: Convert to float32 before the resize (semantic segmentation upstream) or
            resize the uint8 image (instance segmentation upstream).
        mean: Per-channel mean, RGB order, in grey levels of 0..255.
        std: Per-channel standard deviation, same units.
        pad_divisor: Pad right and bottom with zeros to a multiple of this; 1 for none.
        mode: `whole` image or `slide`-ing windows.
        crop: Window `(height, width)` of `slide`.
        stride: Step `(height, width)` of `slide`.
        flip: Average with the mirrored image.
        evaluator: Which definition of the metrics the number follows.
        tolerance: Per-metric tolerance in points of the metric; overrides the default.
        note: Anything else that matters.
    """

    id: str
    dataset: str
    scale: tuple[int, int] | None = None
    float_resize: bool = True
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    pad_divisor: int = 1
    mode: Literal["whole", "slide"] = "whole"
    crop: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    flip: bool = False
    evaluator: str = "bdd100k"
    tolerance: Mapping[str, Decimal] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True)
class Network:
    """Architecture facts of a model, enough to build it.

    Attributes:
        engine: `mmseg`, `mmdet`, `vis4d` or `openseg`.
        arch: Class that holds the parts: `EncoderDecoder`, `CascadeEncoderDecoder`, `MaskRCNN`, `CascadeRCNN`.
        parts: Role (`backbone`, `neck`, `decode_head`, `auxiliary_head`, `rpn_head`, `roi_head`,
            `test_cfg` ...) to the constructor arguments of that part, references resolved and
            deep-copied: callers may change them. `decode_head` is a list for cascades.
        num_classes: Number of predicted classes, background not counted.
        align_corners: For semantic heads: the `align_corners` of every head.
        params: Number of parameters, as measured, or None.
        entries: Number of state-dict entries, as measured, or None.
    """

    engine: str
    arch: str
    parts: dict[str, Any]
    num_classes: int
    align_corners: bool = False
    params: int | None = None
    entries: int | None = None


@dataclass(frozen=True)
class Person:
    """An author, with a home page if the zoo links one."""

    name: str
    url: str | None = None


@dataclass(frozen=True)
class Link:
    """A titled link."""

    title: str
    url: str | None = None


@dataclass(frozen=True)
class Method:
    """A heading of a zoo: a method with its paper, or for openseg.pytorch a data set."""

    name: str
    paper: Link | None = None
    venue: str | None = None
    authors: tuple[Person, ...] = ()
    code: Link | None = None


@dataclass(frozen=True)
class Zoo:
    """A published collection."""

    id: str
    title: str
    url: str | None = None
    commit: str | None = None
    licence: str | None = None
    synthetic: bool = False


@dataclass(frozen=True)
class Reported:
    """One number that a zoo reports.

    Attributes:
        split: `train`, `val` or `test`.
        metric: Our name of the metric: `mIoU`, `AP` (mask), `box_AP`, `PixelACC`.
        column: The zoo's own column name, e.g. `Mask AP-val`.
        value: In percent, with the decimals that were printed; None where the cell is empty or `-`.
    """

    split: str
    metric: str
    column: str
    value: Decimal | None


@dataclass(frozen=True)
class Model:
    """One row of a zoo.

    Attributes:
        id: Unique id.
        settings: The row's other columns as printed, by column name, e.g. `{"Iters": "40K"}`.
        artifacts: Files, in the order weights, scores-val, scores-test, preds, masks, visuals, config.
        network: Architecture, or None when the zoo's row is text only.
        protocol: Test protocol, or None when unknown.
        notes: What is known to be odd about the row.
    """

    id: str
    zoo: Zoo
    task: Task
    method: Method
    backbone: str
    settings: Mapping[str, str]
    reported: tuple[Reported, ...]
    artifacts: tuple[Artifact, ...]
    network: Network | None = None
    protocol: Protocol | None = None
    notes: tuple[str, ...] = ()

    def artifact(self, kind: ArtifactKind) -> Artifact | None:
        """The artifact of that kind, or None."""
        return next((a for a in self.artifacts if a.kind == kind), None)

    def reported_value(self, metric: str, split: str = "val") -> Decimal | None:
        """The reported value of a metric on a split, or None where nothing was reported."""
        return next((r.value for r in self.reported if r.metric == metric and r.split == split), None)
