"""One view of a model's facts: what terminal, Markdown, tables and site print of it, each fact once.

Every function returns plain text, with no markup but what the registry itself holds.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

from bddzoo.datasets.classes import MINI
from bddzoo.registry.model import Artifact, Digest, Model, Protocol, Zoo

if TYPE_CHECKING:
    from bddzoo.results.verdict import MetricVerdict

UNKNOWN = "–"
TICK = "✓"
_ORIGINS = {
    "published": "published by the zoo",
    "filename": "read off the file name",
    "observed": "observed on a download",
    "computed": "computed by this project from its own file",
}
# Facts of training and of losses say nothing about what a part computes.
_QUIET = ("type", "init_cfg", "loss_cls", "loss_bbox", "loss_mask", "loss_decode")


def synthetic_mark(zoo: Zoo) -> str:
    """What is written behind the title of a zoo of synthetic data that does not say so itself."""
    return " (synthetic)" if zoo.synthetic and "synthetic" not in zoo.title.lower() else ""


def dataset_name(model: Model) -> str:
    """The data set that a model's numbers are for."""
    return model.protocol.dataset if model.protocol else "unknown"


def number_text(model: Model, split: str, metric: str) -> str:
    """A reported number as printed, or a dash."""
    value = model.reported_value(metric, split)
    return UNKNOWN if value is None else str(value)


def settings_text(model: Model) -> str:
    """The row's other columns in one cell: `40K, 512 × 1024, GN`."""
    parts = []
    for name, text in model.settings.items():
        if text == TICK:
            parts.append(name)
        elif text not in ("", "-"):
            plain = text.replace(" * ", " × ")
            # A bare number says nothing without its column's name.
            parts.append(f"{name} {plain}" if plain.isdigit() else plain)
    return ", ".join(parts)


def params_text(model: Model) -> str:
    """Number of parameters in millions, or a dash."""
    if model.network is None or model.network.params is None:
        return UNKNOWN
    return f"{model.network.params / 1e6:.1f} M"


def gflops_text(model: Model) -> str:
    """Operations of one image in 10^9, or a dash."""
    if model.network is None or model.network.gflops is None:
        return UNKNOWN
    return f"{model.network.gflops:.0f}" if model.network.gflops >= 10 else f"{model.network.gflops:.2f}"


def config_page(model: Model) -> str | None:
    """Where people can read the model's config, pinned."""
    config = model.artifact("config")
    return None if config is None else url_of(config)


def url_of(artifact: Artifact) -> str | None:
    """The page of a file, or its first web source."""
    web = [s for s in artifact.sources if s.startswith(("https://", "http://"))]
    return artifact.page or (web[0] if web else None)


def network_rows(model: Model) -> list[tuple[str, str]]:
    """What the network is made of, by name; a part that comes several times has a row each."""
    network = model.network
    if network is None:
        return []
    params = "unknown" if network.params is None else f"{network.params:,}"
    rows = [
        ("engine", f"{network.engine}, {network.arch}, {network.num_classes} classes"),
        ("parameters", f"{params} in {network.entries or 'unknown'} state-dict entries"),
    ]
    if network.gflops is not None:
        rows.append(("operations", f"{network.gflops:,} GFLOP, one 1280x720 image by the protocol"))
    if network.align_corners:
        rows.append(("heads", "align_corners"))
    for role, part in network.parts.items():
        if role != "train_cfg":
            rows += [(role, describe_part(one)) for one in (part if isinstance(part, list) else [part])]
    return rows


def describe_part(part: Any) -> str:
    """A part in one line: `ResNetV1c(depth=50, strides=1 2 1 1)`."""
    if not isinstance(part, Mapping):
        return _value(part)
    inner = ", ".join(f"{k}={_value(v)}" for k, v in part.items() if k not in _QUIET)
    name = part.get("type")
    return f"{name}({inner})" if name else inner


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return describe_part(value) if "type" in value else "{" + describe_part(value) + "}"
    if isinstance(value, list | tuple):
        if all(isinstance(v, str | int | float) for v in value):
            return " ".join(str(v) for v in value)
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return "none" if value is None else str(value)


def protocol_rows(model: Model) -> list[tuple[str, str]]:
    """What is done around the network when its number is measured, by name; empty where unknown."""
    protocol = model.protocol
    if protocol is None:
        return []
    rows = [
        ("name", protocol.id),
        ("data set", f"{protocol.dataset}, scored by the definitions of {protocol.evaluator}"),
    ]
    if model.network is not None:
        # Without a network nobody has written down how its input is made.
        if protocol.scale:
            rows.append(("resize", _resize_text(protocol, protocol.scale)))
        if protocol.center_crop:
            size = " x ".join(str(n) for n in protocol.center_crop)
            rows.append(("cut out", f"{size} of the middle (height x width)"))
        mean, std = (" ".join(f"{v:.9g}" for v in t) for t in (protocol.mean, protocol.std))
        units = f", of grey levels / {protocol.div_value:g}" if protocol.div_value != 1 else ""
        rows.append(("normalise", f"{protocol.channel_order} mean {mean}, std {std}{units}"))
        if protocol.pad_divisor > 1:
            rows.append(("pad", f"right and below to a multiple of {protocol.pad_divisor}"))
        rows.append(("mode", protocol.mode))
        if protocol.crop and protocol.stride:
            window, step = (" x ".join(str(n) for n in t) for t in (protocol.crop, protocol.stride))
            rows.append(("windows", f"{window}, step {step} (height x width)"))
        if protocol.logits_resize == "cv2-cubic":
            rows.append(("logits", "back to the image's size by OpenCV's cubic interpolation"))
    rows.append(("flip", _flip_text(protocol)))
    if protocol.scales:
        rows.append(("scales", " ".join(f"{s:g}" for s in protocol.scales) + ", summed"))
    rows += [("tolerance", f"{metric} {points}") for metric, points in protocol.tolerance.items()]
    return rows + ([("note", protocol.note)] if protocol.note else [])


def _resize_text(protocol: Protocol, scale: tuple[int, int]) -> str:
    """How an image becomes the network's input."""
    size = " x ".join(str(n) for n in scale)
    how = "as float32" if protocol.float_resize else "as uint8"
    cubic = "cubic, " if protocol.interpolation == "cubic" else ""
    if protocol.resize == "exact":
        return f"to exactly {size}, {cubic}{how}"
    if protocol.resize.startswith("short-side"):
        down = ", other side rounded down" if protocol.resize == "short-side-floor" else ""
        return f"short side to {min(scale)}, aspect kept{down}, {cubic}{how}"
    return f"into {size}, aspect kept, {cubic}{how}"


def _flip_text(protocol: Protocol) -> str:
    if not protocol.flip:
        return "no"
    pairs = " ".join(f"{a}-{b}" for a, b in protocol.flip_swap)
    swapped = f", classes {pairs} swapped" if pairs else ""
    return ("summed" if protocol.scales else "averaged") + f" with the mirrored image{swapped}"


def training_rows(model: Model) -> list[tuple[str, str]]:
    """How the weights were trained, by name; empty where unknown."""
    training = model.training
    if training is None:
        return []
    schedule = training.schedule or "unknown"
    facts = describe_part(dict(training.optimizer))
    rows = [("schedule", f"{schedule}: {facts}" if facts else schedule)]
    if training.iters:
        rows.append(("iterations", f"{training.iters:,}"))
    if training.crop:
        rows.append(("crop", " x ".join(str(n) for n in training.crop) + " (height x width)"))
    if training.batch:
        rows.append(("batch", str(training.batch)))
    if training.lr is not None:
        rows.append(("lr", f"{training.lr:g}"))
    extras = [t for t, on in (("fp16", training.fp16), ("several scales", training.multi_scale)) if on]
    rows += [("with", ", ".join(extras))] if extras else []
    return rows + ([("start", training.init)] if training.init else [])


def size_text(file: Artifact) -> str:
    """A file's size and where it is from."""
    if file.size_bytes is None:
        return "unknown"
    date = f", {file.size_date}" if file.size_date else ""
    return f"{file.size_bytes:,} bytes" + (
        f" ({_ORIGINS[file.size_origin]}{date})" if file.size_origin else ""
    )


def digest_text(digest: Digest) -> str:
    """A digest and where it is from."""
    date = f", {digest.date}" if digest.date else ""
    full = {"md5": 32}.get(digest.algorithm, 64)
    prefix = " (first digits only)" if len(digest.hex) < full else ""
    return f"{digest.algorithm}:{digest.hex}{prefix} ({_ORIGINS[digest.origin]}{date})"


@dataclass(frozen=True)
class Number:
    """A reported number and what was measured of it; texts, with a dash for what is unknown."""

    metric: str
    split: str
    reported: str
    measured: str = UNKNOWN
    difference: str = UNKNOWN
    tolerance: str = UNKNOWN
    verdict: str = "missing"


def judged_number(found: MetricVerdict, split: str) -> Number:
    """A number with its verdict, to the digits that were printed."""
    step = step_of(found.reported)
    return Number(
        found.metric,
        split,
        UNKNOWN if found.reported is None else str(found.reported),
        UNKNOWN if found.measured is None else rounded(found.measured, step),
        UNKNOWN if found.difference is None else signed(found.difference, step),
        UNKNOWN if found.tolerance is None else f"±{found.tolerance}",
        str(found.verdict),
    )


def step_of(reported: Decimal | None) -> Decimal:
    """One unit of the last digit that was printed; a hundredth where nothing was."""
    places = reported.as_tuple().exponent if reported is not None else -2
    return Decimal(1).scaleb(places if isinstance(places, int) else -2)


def rounded(value: float, step: Decimal) -> str:
    """The value to whole steps, as text."""
    return str(Decimal(repr(value)).quantize(step, ROUND_HALF_EVEN))


def signed(value: float, step: Decimal) -> str:
    """A difference to whole steps, with its sign; a difference that rounds to nothing has none."""
    rounded = Decimal(repr(value)).quantize(step, ROUND_HALF_EVEN)
    return f"{rounded + 0:+}" if rounded else str(abs(rounded))


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        title: What it does, as a verb.
        command: The command line, quoted for a POSIX shell.
    """

    title: str
    command: str


def steps(model: Model) -> list[Step]:
    """Fetch, verify, evaluate, test the chain and cite; steps that cannot work are left out.

    Without a source for the weights there is nothing to fetch; without a network nothing to run. Files and
    folders that only the user knows are written in capitals or below `/data`.
    """
    name = shlex.quote(model.id)
    weights = model.artifact("weights")
    todo = []
    if found := weights is not None and bool(weights.sources):
        todo.append(Step("Fetch", f"bddzoo fetch {name}"))
        todo.append(Step("Verify", f"bddzoo fetch {name} --verify"))
    if model.runnable:
        data = f"/data/{model.protocol.dataset}" if model.protocol else "/data/bdd100k"
        if model.protocol is not None and model.protocol.dataset == MINI:
            data = "mini"
            todo.append(Step("Make the data", f"bddzoo data mini --out {data}"))
        file = "" if found else " --weights FILE"
        todo.append(Step("Evaluate", f"bddzoo eval {name} --data {shlex.quote(data)}{file}"))
        if found:
            todo.append(Step("Test the chain", f"bddzoo check {name} --data {shlex.quote(data)}"))
    todo.append(Step("Cite", f"bddzoo info {name} --bibtex"))
    return todo
