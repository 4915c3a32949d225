"""What may be written in `registry.yaml`: its mappings, and its single values with their limits.

Every mapping of the file is one `Doc`; unknown keys are errors. `bddzoo.registry.resolve` turns these
documents into the types of `bddzoo.registry.model` that the rest of the program works with.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from bddzoo.files import is_inside
from bddzoo.registry.model import ArtifactKind
from bddzoo.registry.tasks import Metric, Task

Text = Annotated[str, Meta(min_length=1, max_length=2000)]
# `bddzoo.registry.resolve` checks these patterns; here they only reach the JSON Schema for editors: msgspec
# 0.22 crashes when the process ends, or later, with `Meta(pattern=...)` in a union (msgspec issue 717).
IDENT = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,119}$"
IDENT_WORDS = "letters, digits and . _ + - only, starting with a letter or digit"
DIGEST = (
    r"^(md5:[0-9a-f]{6,32}|sha256:[0-9a-f]{6,64}|tensors:[0-9a-f]{64})"
    r" (published|filename|observed|computed)( [0-9]{4}-[0-9]{2}-[0-9]{2})?$"
)
DIGEST_WORDS = (
    "ALGORITHM:HEX ORIGIN [DATE], e.g. md5:0123... observed 2025-01-31, "
    "where ORIGIN is published, filename, observed or computed"
)
Ident = Annotated[
    str, Meta(min_length=1, max_length=120, description=IDENT_WORDS, extra_json_schema={"pattern": IDENT})
]
FileName = Annotated[str, Meta(min_length=1, max_length=200, description="a plain file name, no folders")]
_LENGTH = Meta(min_length=8, max_length=600)
_PACKAGE = "or package:PATH (a file inside this package)"
Url = Annotated[str, _LENGTH, Meta(description=f"https://, http:// {_PACKAGE}")]
Source = Annotated[str, _LENGTH, Meta(description=f"https://, http://, s3://, gs://, hf:// {_PACKAGE}")]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Printed = Annotated[
    int | Decimal | None, Meta(description="percent or a count, with the decimals that were printed")
]
Engine = Literal["mmseg", "mmdet", "mmpretrain", "mmpose", "vis4d", "openseg"]
Number = int | Decimal
Size = tuple[Positive, Positive]
Triple = tuple[float, float, float]
Split = Literal["train", "val", "test"]
DigestText = Annotated[str, Meta(description=DIGEST_WORDS, extra_json_schema={"pattern": DIGEST})]
SIZE = r"^([0-9]{1,15}) (published|observed|computed)( [0-9]{4}-[0-9]{2}-[0-9]{2})?$"
SIZE_WORDS = "BYTES or BYTES ORIGIN [DATE], e.g. 1234 observed 2025-01-31"
SizeText = Annotated[str, Meta(description=SIZE_WORDS, extra_json_schema={"pattern": SIZE})]


Part = Ident | dict[str, Any]


class Doc(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A mapping of the file."""


class PaperDoc(Doc):
    """A paper; authors as `Name` or `Name <home page>`, `*` after a name for equal contribution."""

    title: Text
    url: Url | None = None
    venue: Text | None = None
    authors: list[Text] = []
    note: Text | None = None
    lint_ok: dict[Ident, Text] = {}


class GroundTruthDoc(Doc):
    """Digests of the images and labels of a split, as records have them.

    `images`: of the list of image names; `labels`: of the labels' pixels.
    """

    images: DigestText | None = None
    labels: DigestText | None = None


class ProtocolDoc(Doc):
    """Everything that changes a number besides the weights."""

    dataset: Ident
    scale: Size | None = None
    resize: Literal["fit", "short-side", "short-side-floor", "exact"] = "fit"
    interpolation: Literal["linear", "cubic"] = "linear"
    float_resize: bool = True
    channel_order: Literal["RGB", "BGR"] = "RGB"
    div_value: float = 1.0
    mean: Triple = (123.675, 116.28, 103.53)
    std: Triple = (58.395, 57.12, 57.375)
    pad_divisor: Positive = 1
    center_crop: Size | None = None
    mode: Literal["whole", "slide"] = "whole"
    crop: Size | None = None
    stride: Size | None = None
    flip: bool = False
    flip_swap: tuple[tuple[Count, Count], ...] = ()
    scales: tuple[float, ...] = ()
    logits_resize: Literal["bilinear", "cv2-cubic"] = "bilinear"
    evaluator: Ident = "bdd100k"
    tolerance: dict[Ident, Decimal] = {}
    ground_truth: dict[Literal["train", "val", "test"], GroundTruthDoc] = {}
    note: Text | None = None


class PartsDoc(Doc):
    """Pools of network parts, by name; `base: NAME` starts from another part of the same pool."""

    backbones: dict[Ident, dict[str, Any]] = {}
    necks: dict[Ident, dict[str, Any]] = {}
    heads: dict[Ident, dict[str, Any]] = {}
    detectors: dict[Ident, dict[str, Any]] = {}


class NetworkDoc(Doc):
    """A network: parts by name, or spelt out, or spelt out over a `base`."""

    arch: Ident | None = None
    engine: Engine | None = None
    detector: Part | None = None
    backbone: Part | None = None
    neck: Part | list[Part] | None = None
    decode_head: Part | list[Part] | None = None
    auxiliary_head: Part | None = None
    head: Part | None = None
    rpn_head: dict[str, Any] | None = None
    roi_head: dict[str, Any] | None = None
    train_cfg: dict[str, Any] | None = None
    test_cfg: dict[str, Any] | None = None
    align_corners: bool = False
    num_classes: Positive | None = None


class CountsDoc(Doc):
    """What building the network counted: parameters, entries of its state dict, operations of an image."""

    params: Count | None = None
    entries: Count | None = None
    gflops: float | None = None


class TrainingDoc(Doc):
    """How the weights were trained, as the zoo's config says."""

    schedule: Ident | None = None
    iters: Positive | None = None
    epochs: Positive | None = None
    crop: Size | None = None
    init: Text | None = None
    lr: float | None = None
    batch: Positive | None = None
    fp16: bool = False
    multi_scale: bool = False


class TemplateDoc(Doc):
    """One kind of file of a task.

    `{id}`, `{commit}`, `{attribute}` (of the heading) and, in URLs, `{name}` are filled in per model.
    """

    name: FileName = "{id}"
    url: Source | None = None
    page: Url | None = None
    printed: Text | None = None
    md5: Url | None = None
    optional: bool = False


class ArtifactDoc(Doc):
    """One file of a model, where it differs from its task's template."""

    name: FileName | None = None
    sources: list[Source] | None = None
    page: Url | None = None
    printed: Text | None = None
    md5: Url | None = None
    digests: list[DigestText] = []
    size: Count | SizeText | None = None
    licence: Text | None = None
    problem: Text | None = None


class ElsewhereDoc(Doc):
    """Numbers of the same row that were published in another place or at another time."""

    source: Text
    reported: dict[Split, dict[Metric, Printed]]
    url: Url | None = None
    date: Text | None = None
    protocol_differs: Text | None = None
    protocol: Ident | None = None
    weights: Url | None = None
    model: Ident | None = None
    note: Text | None = None


class FillsDoc(Doc):
    """The row of another document that a model's weights belong to, and in what the two differ."""

    model: Ident
    differs: tuple[Text, ...] = ()


class ModelDoc(Doc):
    """One row."""

    id: Ident
    backbone: Text
    settings: dict[Text, str | int] = {}
    reported: dict[Split, dict[Metric, Printed]] = {}
    network: NetworkDoc | None = None
    counts: CountsDoc | None = None
    paper: Ident | None = None
    protocol: Ident | None = None
    training: TrainingDoc | None = None
    artifacts: dict[ArtifactKind, bool | ArtifactDoc] = {}
    commit: Text | None = None
    elsewhere: list[ElsewhereDoc] = []
    former_ids: tuple[Ident, ...] = ()
    fills: FillsDoc | None = None
    not_buildable: Ident | None = None
    lint_ok: dict[Ident, Text] = {}
    notes: tuple[Text, ...] = ()


class MethodDoc(Doc):
    """A heading with its rows."""

    name: Text
    paper: Ident | None = None
    code: Url | None = None
    table: Ident = "default"
    attribute: Ident | None = None
    protocol: Ident | None = None
    caption: Text | None = None
    lint_ok: dict[Ident, Text] = {}
    notes: tuple[Text, ...] = ()
    models: list[ModelDoc] = []


class ColumnDoc(Doc):
    """What a column of the zoo's tables holds; a column that is not listed holds a setting."""

    backbone: bool = False
    metric: tuple[Split, Metric] | None = None
    links: dict[Text, ArtifactKind | Literal["weights.md5"]] | None = None


class StyleDoc(Doc):
    """How a zoo prints a table: columns, and the oddities of its spacing.

    `pad` is the number of spaces before and after a cell's text, `[1, 1]` unless given by column.
    """

    base: Ident | None = None
    columns: list[Text] = []
    titles: dict[Text, Text] = {}
    missing: str = ""
    missing_by_column: dict[Text, str] = {}
    empty_links: list[Text] = []
    escape: bool = False
    pad: dict[Text, tuple[Count, Count]] = {}
    header_pad: dict[Text, tuple[Count, Count]] = {}
    header_tail: Count = 0
    separator: list[Text] = []
    pad_unless: dict[Text, str] = {}
    row_tails: dict[Ident, Count] = {}
    centred: bool = False


class SectionDoc(Doc):
    """A zoo's models of one task."""

    page: Url | None = None
    document: ArtifactDoc | None = None
    server: Url | None = None
    engine: Engine | None = None
    arch: Ident | None = None
    num_classes: Positive | None = None
    protocol: Ident | None = None
    batch: Positive = 16
    not_buildable: Ident | None = None
    layout: Literal["headings", "list"] = "headings"
    artifacts: dict[ArtifactKind, TemplateDoc] = {}
    columns: dict[Text, ColumnDoc] = {}
    tables: dict[Ident, StyleDoc] = {}
    lint_ok: dict[Ident, Text] = {}
    notes: tuple[Text, ...] = ()
    methods: list[MethodDoc] = []


class ZooDoc(Doc):
    """A published collection."""

    id: Ident
    title: Text
    url: Url | None = None
    commit: Text | None = None
    licence: Text | None = None
    weights_licence: Text | None = None
    synthetic: bool = False
    lint_ok: dict[Ident, Text] = {}
    notes: tuple[Text, ...] = ()
    tasks: dict[Task, SectionDoc] = {}


class RegistryDoc(Doc):
    """The whole file."""

    schema: Literal[1]
    protocols: dict[Ident, ProtocolDoc] = {}
    schedules: dict[Ident, dict[str, Any]] = {}
    parts: PartsDoc = field(default_factory=PartsDoc)
    papers: dict[Ident, PaperDoc] = {}
    lint_ok: dict[Ident, Text] = {}
    zoos: list[ZooDoc] = []


_WEB = ("https://", "http://", "package:")
# Object stores and model hubs: a file can lie there, a page or a digest that browsers open cannot.
STORES = ("s3://", "gs://", "hf://")
# Neither in a file name on every system, nor unescaped in a URL; braces would be fields of a template.
_AWKWARD = frozenset('\\<>"|?*{}') | {chr(code) for code in (*range(32), 127)}
_TEMPLATE_FIELDS = re.compile(r"\{(?:id|name|commit|attribute)\}")


def url_problem(url: str, *, source: bool = False) -> str | None:
    """What is wrong with a URL, or None.

    Args:
        url: The URL; fields of a template may be in it.
        source: Whether a file is read from it; that may lie in an object store or on a model hub.
    """
    if not url.startswith((*_WEB, *STORES) if source else _WEB) or url.split() != [url]:
        known = "https://, http://, s3://, gs://, hf://" if source else "https://, http://"
        return f'expected an {known} or package: URL, got "{url}"'
    plain = _TEMPLATE_FIELDS.sub("x", url)
    if url.startswith("package:"):
        return (
            f'expected a path inside the package, got "{url}"' if unsafe(plain[len("package:") :]) else None
        )
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        return f'expected a URL with a host, got "{url}"'
    if "@" in parts.netloc:
        return f'expected a URL without a user name, got one of "{parts.hostname}"'
    if not _AWKWARD.isdisjoint(plain.replace("?", "", 1)) or ".." in parts.path.split("/"):
        return f'expected a URL without "..", with odd characters percent-encoded, got "{url}"'
    return None


def unsafe(path: str) -> bool:
    """Whether a relative path leaves its folder, or cannot be a path on every system."""
    return not is_inside(path) or path.startswith("-") or not (_AWKWARD | {":"}).isdisjoint(path)
