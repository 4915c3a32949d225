"""The registry's words as types: zoo, method, model, artifact, digest, network, protocol.

These are the *resolved* types that the rest of the program works with; `bddzoo.registry.structs` has how they
are written in `registry.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from bddzoo.registry.tasks import Task

ArtifactKind = Literal["weights", "scores-val", "scores-test", "preds", "masks", "visuals", "config"]
DigestOrigin = Literal["published", "filename", "observed", "computed"]
# What is known of a file: it has a known digest; it has the first digits of one, which are all that is known;
# its digest was recorded when it first came; nothing.
DigestState = Literal["verified", "prefix", "observed", "unknown"]


class Digest(Struct, frozen=True):
    """A digest and where it is from.

    Attributes:
        algorithm: `md5` or `sha256` of the file, or `tensors`: of the weights in it, whatever the
            container (`bddzoo.artifacts.tensors`).
        hex: Lower-case hexadecimal digits; fewer than the full length when only a prefix is known.
        origin: `published` by the zoo, read off the `filename`, `observed` on a download, or
            `computed` by this project from files it made itself.
        date: ISO date of the observation, if any.
    """

    algorithm: Literal["md5", "sha256", "tensors"]
    hex: str
    origin: DigestOrigin
    date: str | None = None


class Artifact(Struct, frozen=True):
    """One file of a model.

    Attributes:
        kind: What it is.
        name: File name, also the name in the cache.
        sources: URLs, best first; empty when the zoo links nothing. `package:PATH` names a file
            that ships inside this package.
        digests: What is known of its content; empty means unknown.
        problem: Why the file cannot be used as it is, if that is known.
        digest_url: Where the zoo publishes the MD5 (a `.md5` file), if it does.
        size_bytes: Size, or None when unknown.
        size_origin: Where the size is from; None when unknown.
        size_date: ISO date on which it was observed, if any.
        page: Web page that shows the file to people, where it differs from its download.
        printed: The link as the zoo's own table prints it, where it is relative.
        licence: Licence of this file, if known.
    """

    kind: ArtifactKind | Literal["document"]
    name: str
    sources: tuple[str, ...] = ()
    digests: tuple[Digest, ...] = ()
    digest_url: str | None = None
    size_bytes: int | None = None
    page: str | None = None
    printed: str | None = None
    licence: str | None = None
    problem: str | None = None
    size_origin: DigestOrigin | None = None
    size_date: str | None = None


class GroundTruth(Struct, frozen=True):
    """What is known of the images and labels that a number was measured on.

    Attributes:
        images: Digest of the list of image names, see `bddzoo.datasets.identity.digest_names`.
        labels: Digest of the labels' pixels, see `bddzoo.datasets.identity.digest_labels`.
    """

    images: Digest | None = None
    labels: Digest | None = None


class Protocol(Struct, frozen=True):
    """Everything that changes a number besides the weights.

    Attributes:
        id: Name of the protocol in the registry.
        dataset: Data set layout, e.g. `bdd100k`, `cityscapes`.
        scale: Size `(width, height)` in pixels that images are resized to, as `resize` says; None for none.
        resize: `fit` inside `scale` with the aspect kept, `short-side`: the shorter side becomes
            `min(scale)` with the aspect kept, `short-side-floor`: the same with the other side rounded
            down, or `exact`: `scale` itself.
        interpolation: Of the image, as OpenCV names them.
        float_resize: Convert to float32 before the resize (semantic segmentation upstream) or
            resize the uint8 image (instance segmentation upstream).
        channel_order: Order in which the network gets its channels.
        div_value: Grey levels are divided by this before anything else.
        mean: Per-channel mean, in `channel_order`, in grey levels over `div_value`.
        std: Per-channel standard deviation, same order and units.
        pad_divisor: Pad right and bottom with zeros to a multiple of this; 1 for none.
        center_crop: `(height, width)` that is cut out of the middle, after the resize; None for all.
        mode: `whole` image or `slide`-ing windows.
        crop: Window `(height, width)` of `slide`.
        stride: Step `(height, width)` of `slide`.
        flip: Average with the mirrored image; with `scales`, sum.
        flip_swap: Pairs of classes whose channels change places in what the mirrored image gives.
        scales: Logits are summed over the network's input resized by each of these; empty for one pass.
        logits_resize: How logits come back to the image's own size.
        evaluator: Which definition of the metrics the number follows.
        tolerance: Per-metric tolerance in points of the metric; overrides the default.
        ground_truth: Split to the digests of its images and labels.
        note: Anything else that matters.
    """

    id: str
    dataset: str
    scale: tuple[int, int] | None = None
    resize: Literal["fit", "short-side", "short-side-floor", "exact"] = "fit"
    interpolation: Literal["linear", "cubic"] = "linear"
    float_resize: bool = True
    channel_order: Literal["RGB", "BGR"] = "RGB"
    div_value: float = 1.0
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    pad_divisor: int = 1
    center_crop: tuple[int, int] | None = None
    mode: Literal["whole", "slide"] = "whole"
    crop: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    flip: bool = False
    flip_swap: tuple[tuple[int, int], ...] = ()
    scales: tuple[float, ...] = ()
    logits_resize: Literal["bilinear", "cv2-cubic"] = "bilinear"
    evaluator: str = "bdd100k"
    tolerance: Mapping[str, Decimal] = field(default_factory=dict)
    ground_truth: Mapping[str, GroundTruth] = field(default_factory=dict)
    note: str | None = None


class Network(Struct, frozen=True):
    """Architecture facts of a model, enough to build it.

    Attributes:
        engine: `mmseg`, `mmdet`, `mmpretrain`, `vis4d` or `openseg`; `mmpose`, which nothing here builds.
        arch: Class that holds the parts: `EncoderDecoder`, `CascadeEncoderDecoder`, `MaskRCNN`,
            `CascadeRCNN`.
        parts: Role (`backbone`, `neck`, `decode_head`, `auxiliary_head`, `rpn_head`, `roi_head`,
            `test_cfg` ...) to the constructor arguments of that part, references resolved and
            deep-copied: callers may change them. `decode_head` is a list for cascades.
        num_classes: Number of predicted classes, background not counted.
        align_corners: For semantic heads: the `align_corners` of every head.
        params: Number of parameters, as measured, or None.
        entries: Number of state-dict entries, as measured, or None.
        gflops: Operations of one 1280x720 image under the model's protocol, in 10^9, or None; see
            `bddzoo.engines.flops`.
    """

    engine: str
    arch: str
    parts: dict[str, Any]
    num_classes: int
    align_corners: bool = False
    params: int | None = None
    entries: int | None = None
    gflops: float | None = None


class Person(Struct, frozen=True):
    """An author, with a home page if the zoo links one; `mark` is `*` for equal contribution."""

    name: str
    url: str | None = None
    mark: str = ""


class Link(Struct, frozen=True):
    """A titled link."""

    title: str
    url: str | None = None


class Paper(Struct, frozen=True):
    """What a model is cited by; the first of several venues is the one that presented the method."""

    title: str
    url: str | None = None
    venue: str | None = None
    authors: tuple[Person, ...] = ()


class Method(Struct, frozen=True):
    """A heading of a zoo: a method with its paper, or for openseg.pytorch a data set.

    Attributes:
        paper_id: Name of the paper in the registry.
        caption: What the zoo says next to the heading, e.g. how it tested.
        table: Name of the table style of the heading's table.
        attribute: The attribute of a frame that the models predict (tagging), or None.
        notes: What is known to be odd about the heading or its paper.
        lint_ok: Acknowledged findings of `bddzoo registry lint`: code to reason.
    """

    name: str
    paper: Link | None = None
    venue: str | None = None
    authors: tuple[Person, ...] = ()
    code: Link | None = None
    paper_id: str | None = None
    caption: str | None = None
    table: str = "default"
    attribute: str | None = None
    notes: tuple[str, ...] = ()
    lint_ok: Mapping[str, str] = field(default_factory=dict)


class Zoo(Struct, frozen=True):
    """A published collection."""

    id: str
    title: str
    url: str | None = None
    commit: str | None = None
    licence: str | None = None
    synthetic: bool = False
    weights_licence: str | None = None
    notes: tuple[str, ...] = ()


class Training(Struct, frozen=True):
    """How the weights were trained, as the zoo's config says.

    Attributes:
        schedule: Name of the schedule in the registry.
        optimizer: The schedule's facts: optimizer, learning-rate policy, steps.
        iters: Iterations, where the schedule counts them.
        epochs: Epochs, where the schedule counts them.
        crop: Training crop `(height, width)`.
        init: What the backbone started from.
        lr: Learning rate, where it differs from the schedule's.
        batch: Images per step over all GPUs.
        fp16: Trained in mixed precision.
        multi_scale: Trained on several scales.
    """

    schedule: str | None = None
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    iters: int | None = None
    epochs: int | None = None
    crop: tuple[int, int] | None = None
    init: str | None = None
    lr: float | None = None
    batch: int | None = None
    fp16: bool = False
    multi_scale: bool = False


class Reported(Struct, frozen=True):
    """One number that a zoo reports.

    Attributes:
        split: `train`, `val` or `test`.
        metric: Our name of the metric; see `bddzoo.registry.tasks`. `AP` is that of masks.
        column: The zoo's own column name, e.g. `Mask AP-val`.
        value: In percent (of `tasks.COUNTS`: a count), with the decimals that were printed; None where the
            cell is empty or `-`.
    """

    split: str
    metric: str
    column: str
    value: Decimal | None


class Elsewhere(Struct, frozen=True):
    """Numbers for a row that were published in another place or at another time.

    They never stand in for the row's own numbers.

    Attributes:
        source: Where, in words.
        url: Where, pinned.
        date: When, ISO date.
        reported: The numbers; `column` is empty.
        protocol_differs: How the protocol or schedule differs from the row's; None: it does not.
        protocol: Name of the protocol that the numbers were tested with, where it is another one and known.
        weights: URL of the weights that gave the numbers, if they were published with them.
        model: Id of the model that these weights are in this registry, if they are.
        note: Anything else.
    """

    source: str
    reported: tuple[Reported, ...]
    url: str | None = None
    date: str | None = None
    protocol_differs: str | None = None
    protocol: str | None = None
    weights: str | None = None
    model: str | None = None
    note: str | None = None


class Fills(Struct, frozen=True):
    """The row of another document that a model's weights belong to.

    Attributes:
        model: Id of the row.
        differs: In what method, schedule and protocol of the two differ; empty where they agree.
    """

    model: str
    differs: tuple[str, ...] = ()


class NotBuildable(Struct, frozen=True):
    """Why a row's network cannot be built.

    Attributes:
        reason: For machines: a code of `bddzoo.registry.model`.
        text: The same for people.
    """

    reason: str
    text: str


class Model(Struct, frozen=True):
    """One row of a zoo.

    Attributes:
        id: Unique id.
        settings: The row's other columns as printed, by column name, e.g. `{"Iters": "40K"}`.
        artifacts: Files, in the order weights, scores-val, scores-test, preds, masks, visuals, config.
        network: Architecture, or None when the zoo's row is text only.
        protocol: Test protocol, or None when unknown.
        notes: What is known to be odd about the row.
        document: The zoo's Markdown document that the row is printed in, pinned; None when unknown.
        paper_id: Name in the registry of the paper of the row's method; the heading's unless the row says.
        paper: That paper.
        protocols: Id to protocol, of those that `elsewhere` names.
        training: How the weights were trained, or None when unknown.
        elsewhere: Numbers that were published in other places.
        lint_ok: Acknowledged findings of `bddzoo registry lint`: code to reason.
        former_ids: Names that its files had before they were renamed.
        fills: The row of another document that this model's weights belong to, or None.
        not_buildable: Why its network cannot be built; None where it can be, or was never tried.
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
    training: Training | None = None
    elsewhere: tuple[Elsewhere, ...] = ()
    lint_ok: Mapping[str, str] = field(default_factory=dict)
    former_ids: tuple[str, ...] = ()
    fills: Fills | None = None
    not_buildable: NotBuildable | None = None
    document: Artifact | None = None
    paper_id: str | None = None
    paper: Paper | None = None
    protocols: Mapping[str, Protocol] = field(default_factory=dict)

    @property
    def runnable(self) -> bool:
        """Whether its network is known, and nothing is in the way of running it."""
        return self.network is not None and self.not_buildable is None

    @property
    def dataset(self) -> str:
        """Id of the data set that it is tested on; BDD100K's where its protocol is unknown."""
        return self.protocol.dataset if self.protocol else "bdd100k"

    def tested_by(self, name: str, protocol: Protocol | None = None) -> Model:
        """The same model under another protocol, with the numbers that were published for it.

        The protocol itself is needed where it may be none of `protocols`.
        """
        if self.protocol is not None and name == self.protocol.id:
            return self
        published = (number for e in self.elsewhere if e.protocol == name for number in e.reported)
        return replace(self, protocol=protocol or self.protocols.get(name), reported=tuple(published))

    def artifact(self, kind: ArtifactKind) -> Artifact | None:
        """The artifact of that kind, or None."""
        return next((a for a in self.artifacts if a.kind == kind), None)

    def reported_value(self, metric: str, split: str = "val") -> Decimal | None:
        """The reported value of a metric on a split, or None where nothing was reported."""
        return next((r.value for r in self.reported if r.metric == metric and r.split == split), None)


class Column(Struct, frozen=True):
    """A column of a zoo's tables.

    Attributes:
        name: Its name in the registry.
        kind: What its cells hold.
        metric: For `metric`: split and metric.
        links: For `links`: link text to artifact kind (`weights.md5` is the digest's link).
    """

    name: str
    kind: Literal["backbone", "setting", "metric", "links"] = "setting"
    metric: tuple[str, str] | None = None
    links: Mapping[str, str] = field(default_factory=dict)


class TableStyle(Struct, frozen=True):
    """How a zoo prints a table, its oddities of spacing included.

    Attributes:
        columns: Columns in order.
        titles: Column name to printed header, where they differ.
        missing: What an empty cell holds.
        missing_by_column: The same for single columns.
        empty_links: Columns whose text is printed as a link to nowhere.
        escape: Asterisks are printed with a backslash.
        pad: Column name to the number of spaces before and after a cell's text; `(1, 1)` if absent.
        header_pad: The same for the header's cells.
        header_tail: Spaces after the header's last bar.
        separator: Cells of the line below the header, spaces included; the last one is repeated.
        pad_unless: Column and text of the rows that `pad` leaves alone.
        row_tails: Model id to the number of spaces after the row's last bar.
        centred: Every column is as wide as its widest text, texts stand in its middle.
    """

    columns: tuple[Column, ...]
    titles: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""
    missing_by_column: Mapping[str, str] = field(default_factory=dict)
    empty_links: frozenset[str] = frozenset()
    escape: bool = False
    pad: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    header_pad: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    header_tail: int = 0
    separator: tuple[str, ...] = (" :-: ",)
    pad_unless: Mapping[str, str] = field(default_factory=dict)
    row_tails: Mapping[str, int] = field(default_factory=dict)
    centred: bool = False


class Section(Struct, frozen=True):
    """A zoo's models of one task, as one document prints them.

    Attributes:
        page: Web page of the zoo's document, pinned; None when unknown.
        server: Web page of the server that scores predictions of the test split; None where there is none.
        layout: Methods under `headings` with papers, or tables in a plain `list`.
        columns: All columns by name.
        styles: Table styles by name.
        methods: Headings in published order.
        models: Models in published order.
        batch: Images per training step, as the document says for all its rows.
    """

    zoo: Zoo
    task: Task
    page: str | None
    server: str | None
    layout: Literal["headings", "list"]
    columns: Mapping[str, Column]
    styles: Mapping[str, TableStyle]
    methods: tuple[Method, ...]
    models: tuple[Model, ...]
    notes: tuple[str, ...] = ()
    batch: int = 16

    def models_of(self, method: Method) -> list[Model]:
        """Models under one heading, in published order."""
        return [m for m in self.models if m.method is method]


# Why the network of a published row cannot be built: a code, and a sentence for people.
REASONS = {
    "no-backbone-code": "the zoo's repository has no file of this backbone at any commit",
    "fixed-aux-width": "the network's class expects auxiliary features of 1024 channels, which this backbone "
    "does not give",
    "no-network-class": "the zoo's repository has no class for this method on this backbone at any commit",
    "no-such-network": "the zoo has no network of this name on this backbone",
    "input-not-known": "nobody has recorded how the zoo normalises this backbone's input on this data set",
    "no-person-boxes": "its networks look at boxes of people; the zoo's own were lost with its host",
    "no-video-state": "it follows objects through a video; the engines here look at one image at a time",
    "no-library-class": "its classes are in no library that the engines here build from",
    "norm-not-known": "nobody has measured how this backbone's state is named with this kind of "
    "batch normalisation",
}
