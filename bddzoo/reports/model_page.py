"""Everything that is known about one model, for people and as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bddzoo.registry.model import Artifact, Digest, Model, Protocol
from bddzoo.reports.tables import synthetic_mark

UNKNOWN = "unknown"
_ORIGINS = {
    "published": "published by the zoo",
    "filename": "read off the file name",
    "observed": "observed on a download",
    "computed": "computed by this project from its own file",
}
_COLUMN = 14
# Facts of training and of losses say nothing about what a part computes.
_QUIET = ("type", "init_cfg", "loss_cls", "loss_bbox", "loss_mask", "loss_decode")


def as_data(model: Model) -> dict[str, Any]:
    """The model as plain data; what is unknown is None, or an empty list."""
    data = asdict(model)
    data["artifacts"] = {a.kind: {k: v for k, v in asdict(a).items() if k != "kind"} for a in model.artifacts}
    return data


def as_text(model: Model) -> str:
    """The model as text for a terminal."""
    lines = [model.id]
    zoo, method = model.zoo, model.method
    _row(lines, "zoo", f"{zoo.id}: {zoo.title}{synthetic_mark(zoo)}")
    _row(lines, "", " at ".join(t for t in (zoo.url, zoo.commit) if t))
    _row(lines, "licence", f"{zoo.licence or UNKNOWN} (weights: {zoo.weights_licence or UNKNOWN})")
    _row(lines, "task", model.task)
    _row(lines, "method", method.name + (f" ({method.caption})" if method.caption else ""))
    if method.paper:
        _row(lines, "paper", method.paper.title + (f" [{method.venue}]" if method.venue else ""))
        _row(lines, "", method.paper.url or UNKNOWN)
    if method.authors:
        _row(lines, "authors", ", ".join(a.name + a.mark for a in method.authors))
    if method.code:
        _row(lines, "code", method.code.url or UNKNOWN)
    _row(lines, "backbone", model.backbone)
    for name, text in model.settings.items():
        _row(lines, name, text or "-")
    if model.fills:
        differs = "".join(f"; but {text}" for text in model.fills.differs)
        _row(lines, "fills", f"{model.fills.model}{differs}")
    _numbers(lines, model)
    _network(lines, model)
    _protocol(lines, model)
    _training(lines, model)
    _files(lines, model)
    notes = [*model.notes, *method.notes, *zoo.notes]
    if notes:
        lines += ["", "notes", *(f"  - {note}" for note in notes)]
    return "\n".join(lines)


def _row(lines: list[str], name: str, text: str) -> None:
    if text:
        lines.append(f"  {name:{_COLUMN}}  {text}".rstrip())


def _numbers(lines: list[str], model: Model) -> None:
    lines += ["", "reported (percent, as printed)"]
    if not model.reported:
        lines.append(f"  {UNKNOWN}")
    for entry in model.reported:
        name = f"{entry.metric}-{entry.split}"
        known = f'  (column "{entry.column}")' if entry.column not in ("", name) else ""
        _row(lines, name, (UNKNOWN if entry.value is None else str(entry.value)) + known)
    if model.elsewhere:
        lines += ["", "published elsewhere"]
    for other in model.elsewhere:
        numbers = ", ".join(f"{r.metric}-{r.split} {r.value}" for r in other.reported)
        lines.append(f"  {numbers}: {other.source}")
        if other.protocol_differs:
            lines.append(f"    protocol differs: {other.protocol_differs}")
        named = (
            ("weights", other.weights),
            ("the model here", other.model),
            ("tested by protocol", other.protocol),
        )
        for text in (other.note, other.url, *(f"{name}: {value}" for name, value in named if value)):
            if text:
                lines.append(f"    {text}")


def _network(lines: list[str], model: Model) -> None:
    lines += ["", "network"]
    last = ""
    rows = network_rows(model)
    for name, text in rows:
        _row(lines, "" if name == last else name, text)
        last = name
    if model.not_buildable is not None:
        _row(lines, "cannot be built", f"{model.not_buildable.reason}: {model.not_buildable.text}")
        return
    if not rows:
        lines.append(f"  {UNKNOWN}")


def network_rows(model: Model) -> list[tuple[str, str]]:
    """What the network is made of, by name; a part that comes several times has a row each."""
    network = model.network
    if network is None:
        return []
    params = UNKNOWN if network.params is None else f"{network.params:,}"
    rows = [
        ("engine", f"{network.engine}, {network.arch}, {network.num_classes} classes"),
        ("parameters", f"{params} in {network.entries or UNKNOWN} state-dict entries"),
    ]
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


def _protocol(lines: list[str], model: Model) -> None:
    lines += ["", "protocol"]
    rows = protocol_rows(model)
    for name, text in rows:
        _row(lines, name, text)
    if not rows:
        lines.append(f"  {UNKNOWN}")


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
    """How a picture becomes the network's input."""
    size = " x ".join(str(n) for n in scale)
    how = "as float32" if protocol.float_resize else "as uint8"
    cubic = "cubic, " if protocol.interpolation == "cubic" else ""
    if protocol.resize == "exact":
        return f"to exactly {size}, {cubic}{how}"
    if protocol.resize == "short-side":
        return f"short side to {min(scale)}, aspect kept, {cubic}{how}"
    return f"into {size}, aspect kept, {cubic}{how}"


def _flip_text(protocol: Protocol) -> str:
    if not protocol.flip:
        return "no"
    pairs = " ".join(f"{a}-{b}" for a, b in protocol.flip_swap)
    swapped = f", classes {pairs} swapped" if pairs else ""
    return ("summed" if protocol.scales else "averaged") + f" with the mirrored image{swapped}"


def _training(lines: list[str], model: Model) -> None:
    lines += ["", "training"]
    rows = training_rows(model)
    for name, text in rows:
        _row(lines, name, text)
    if not rows:
        lines.append(f"  {UNKNOWN}")


def training_rows(model: Model) -> list[tuple[str, str]]:
    """How the weights were trained, by name; empty where unknown."""
    training = model.training
    if training is None:
        return []
    schedule = training.schedule or UNKNOWN
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


def _files(lines: list[str], model: Model) -> None:
    lines += ["", "files"]
    if not model.artifacts:
        lines.append("  none known")
    for file in model.artifacts:
        _row(lines, file.kind, file.name)
        for source in file.sources:
            _row(lines, "", source)
        if not file.sources:
            why = "behind a web page that asks questions" if file.page else "the zoo links nothing"
            _row(lines, "", f"no source: {why}")
        if file.page:
            _row(lines, "", f"page {file.page}")
        if not file.digests:
            promise = f" (MD5 promised at {file.digest_url})" if file.digest_url else ""
            _row(lines, "", f"size {size_text(file)}; digest {UNKNOWN}{promise}")
            continue
        _row(lines, "", f"size {size_text(file)}")
        for digest in file.digests:
            _row(lines, "", digest_text(digest))


def size_text(file: Artifact) -> str:
    """A file's size and where it is from."""
    if file.size_bytes is None:
        return UNKNOWN
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
