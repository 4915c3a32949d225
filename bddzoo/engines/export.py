"""Write networks as ONNX or OpenVINO files, with what a program needs to know to use them.

The file takes normalised images and gives logits at the size of its input, or detections. Reading, resizing,
normalising, sliding windows, resizing the logits and pasting masks stay outside: what they need is in the
file's metadata. A detector that cannot be written whole is written as its dense part: features, and the
scores and boxes of the first stage for every anchor.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.errors import MissingError, UsageError, install_hint
from bddzoo.files import replacing
from bddzoo.registry.model import Model
from bddzoo.version import __version__

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from bddzoo.engines.load import Runner

FORMATS = {"onnx": ".onnx", "openvino": ".xml"}
# What each needs, besides torch.
PACKAGES = {
    "onnx": ("onnx", "onnxscript"),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
# Side of an image of which every level of a pyramid has a pixel.
LEAST = 128
# The first with every operator of the zoos' networks.
OPSET = 20
# What runners give whose network is written whole.
_WHOLE = ("class map", "tags")


def need_packages(name: str) -> None:
    """Refuse a format or runtime whose packages are not installed.

    Raises:
        MissingError: Names the first that is missing.
    """
    for package in PACKAGES[name]:
        if find_spec(package) is None:
            extra = "openvino" if name == "openvino" else "onnx"
            raise MissingError(f"{package} is not installed", hint=install_hint(extra))


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: Where.
        inputs: Shape of the input; `batch` where it is free.
        outputs: Names of the outputs, in order.
        left_out: What is not in the file and why, in words; empty for a whole network.
        image_size: Of a whole detector: height and width of the image in the input, which ends its boxes.
    """

    path: Path
    inputs: tuple[int | str, ...]
    outputs: tuple[str, ...]
    left_out: str = ""
    image_size: tuple[int, int] | None = None


class _InTheWay(Exception):
    """Why a network cannot be written, in words."""


@dataclass(frozen=True)
class _Part:
    """What is written: a module, and of the file what `Exported` says."""

    module: Any
    outputs: tuple[str, ...]
    left_out: str = ""
    image_size: tuple[int, int] | None = None


def export(
    runner: Runner,
    path: Path,
    size: tuple[int, int],
    *,
    batch: int | None = 1,
    argmax: bool = False,
    image_size: tuple[int, int] | None = None,
    facts: dict[str, str] | None = None,
) -> Exported:
    """Write a runner's network as ONNX, or as OpenVINO where the path ends in `.xml`.

    Args:
        runner: A runner as `load_model` makes it: its network not tuned for a CPU.
        path: File to write; it appears whole or not at all.
        size: Height and width of the input in pixels.
        batch: Images of one run; None for any number. Detectors are whole for one image only.
        argmax: Give classes, (N, H, W) uint8, in place of logits.
        image_size: Of a detector: height and width of the image where the input is padded.
        facts: Further metadata.

    Raises:
        MissingError: A package is missing.
        UsageError: The network holds an operator that cannot be written; names it.
    """
    need_packages("openvino" if path.suffix == ".xml" else "onnx")
    model, facts = runner.model, facts or {}
    if argmax and runner.gives not in _WHOLE:
        raise UsageError("--argmax is for class maps and tags", hint="leave it out")
    try:
        try:
            part = _whole(runner, argmax, batch, image_size or size)
            _write(part, model, path, size, batch, facts)
        except _InTheWay as reason:
            if runner.gives in _WHOLE:
                raise
            part = _dense(runner, str(reason))
            _write(part, model, path, size, batch, facts)
    except _InTheWay as error:
        other = "--to onnx" if path.suffix == ".xml" else "--batch-size 1" if batch is None else ""
        raise UsageError(
            f"model {model.id} cannot be written as {path.suffix}: {error}",
            hint=f"try {other}" if other else "run it with PyTorch",
        ) from error
    return Exported(path, (batch or "batch", 3, *size), part.outputs, part.left_out, part.image_size)


def _write(
    part: _Part, model: Model, path: Path, size: tuple[int, int], batch: int | None, facts: dict[str, str]
) -> None:
    metadata = {**describe(model), **facts, "left_out": part.left_out}
    if part.image_size is not None:
        metadata["image_size"] = json.dumps(part.image_size)
    program = _convert(part, size, batch)
    for name, value in metadata.items():
        program.model.metadata_props[name] = value
    with replacing(path.resolve()) as draft:
        if path.suffix == ".xml":
            _write_openvino(program, draft, path.resolve(), metadata)
        else:
            program.save(str(draft))


def expected_outputs(runner: Runner, x: Tensor) -> list[Tensor]:
    """What PyTorch computes for the outputs of a file, for (N, 3, h, w) float32.

    Logits for classes; of a detector the outputs of its dense part.
    """
    import torch

    with torch.no_grad():
        if runner.gives in _WHOLE:
            return [runner.run_module(x)]  # type: ignore[union-attr]
        return list(_dense_part(runner.module, x).values())


def _dense_part(module: Any, image: Tensor) -> dict[str, Tensor]:
    """A detector's features and the outputs of its dense head, by name."""
    from bddzoo.engines.instance import dense_outputs

    features = module.extract_feat(image)
    named = {f"features{level}": values for level, values in enumerate(features)}
    return {**named, **dense_outputs(module, features)}


def describe(model: Model) -> dict[str, str]:
    """What a program must do around the network, as metadata of a file: name to JSON or text."""
    protocol = model.protocol
    facts: dict[str, Any] = {"model": model.id, "zoo": model.zoo.id, "task": model.task}
    if protocol is not None:
        for name in ("channel_order", "div_value", "mean", "std", "scale", "resize", "center_crop"):
            facts[name] = getattr(protocol, name)
        for name in ("pad_divisor", "mode", "crop", "stride", "flip", "scales"):
            facts[name] = getattr(protocol, name)
    facts["written_by"] = f"bddzoo {__version__}"
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}


def _whole(runner: Runner, argmax: bool, batch: int | None, image_size: tuple[int, int]) -> _Part:
    """The whole network; raises `_InTheWay` where it cannot be one file."""
    from torch import nn

    if runner.gives not in _WHOLE:
        from bddzoo.engines.fixed_shapes import FixedShapeDetector

        if runner.gives != "detections":
            raise _InTheWay("panoptic fusion lays things over each other one by one, with the semantic head")
        if batch != 1:
            raise _InTheWay("whole detectors take one image, which is --batch-size 1")
        try:
            detector = FixedShapeDetector(runner.module, image_size)
        except UsageError as error:
            raise _InTheWay(str(error)) from error
        return _Part(detector, detector.outputs, image_size=image_size)

    class Dense(nn.Module):
        """Image to logits or classes."""

        def __init__(self) -> None:
            super().__init__()
            self.network = runner.module

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = runner.run_module(image)  # type: ignore[union-attr]
            return logits.argmax(1).byte() if argmax else logits

    return _Part(Dense(), ("classes" if argmax else "logits",))


def _dense(runner: Runner, reason: str) -> _Part:
    import torch
    from torch import nn

    class DensePart(nn.Module):
        """Image to features, and what the dense head gives for every anchor."""

        def __init__(self) -> None:
            super().__init__()
            self.network: Any = runner.module

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            return tuple(_dense_part(self.network, image).values())

    with torch.no_grad():  # the least that every network takes; only its names are looked at
        names = tuple(_dense_part(runner.module, torch.zeros(1, 3, LEAST, LEAST)))
    missing = "second stage" if hasattr(runner.module, "roi_head") else "choice of boxes"
    return _Part(DensePart(), names, f"{missing}: {reason}")


def _convert(part: _Part, size: tuple[int, int], batch: int | None) -> Any:
    import torch

    count = 2 if batch is None else batch
    shapes = {"image": {0: torch.export.Dim("batch")}} if batch is None else None
    x = torch.zeros(count, 3, *size)
    with torch.no_grad(), _quiet():
        try:
            return torch.onnx.export(
                part.module.eval(),
                (x,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=list(part.outputs),
                dynamic_shapes=shapes,
                custom_translation_table=_translations(),
            )
        except Exception as error:  # the exporter has a dozen kinds, none of them documented
            raise _InTheWay(_reason(error)) from error


def _translations() -> dict[Any, Any]:
    """Operators that PyTorch's exporter does not know."""
    import torch
    import torchvision  # noqa: F401  (registers the operator)
    from onnxscript import opset20 as op

    def deform_conv(x: Any, weight: Any, offset: Any, mask: Any, bias: Any, *numbers: Any, **_: Any) -> Any:
        stride, padding, dilation = (list(numbers[i : i + 2]) for i in (0, 2, 4))
        group, offset_group = numbers[6:8]
        return op.DeformConv(
            x,
            weight,
            offset,
            bias,
            mask if numbers[8] else None,
            strides=stride,
            pads=padding * 2,
            dilations=dilation,
            group=group,
            offset_group=offset_group,
            kernel_shape=list(weight.shape[2:]),
        )

    return {torch.ops.torchvision.deform_conv2d.default: deform_conv}


def _reason(error: BaseException) -> str:
    """The operator or the line that an exporter's error is about, in one line."""
    seen: BaseException | None = error
    texts = []
    while seen is not None:
        texts.append(str(seen))
        seen = seen.__cause__ or seen.__context__
    text = "\n".join(texts)
    missing = re.search(r"No conversion rule found for operations: (\w+)", text)
    if missing:
        return f"operator {missing[1].partition('-')[0]} is in the way"
    named = re.search(r"(?:No ONNX function found for|missing .*?:) *<?OpOverload[^']*'([^']+)'", text)
    if named:
        return f"operator {named[1]} is in the way"
    lines = [line.strip() for line in texts[-1].splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports each step as a warning."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _write_openvino(program: Any, draft: Path, target: Path, metadata: dict[str, str]) -> None:
    openvino = import_module("openvino")
    onnx_file = draft.with_suffix(".onnx")
    xml = draft.with_suffix(".xml")
    try:
        program.save(str(onnx_file))
        try:
            converted = openvino.convert_model(str(onnx_file))
        except Exception as error:
            raise _InTheWay(_reason(error)) from error
        for name, value in metadata.items():
            converted.set_rt_info(value, ["bddzoo", name])
        openvino.save_model(converted, str(xml), compress_to_fp16=False)
        xml.with_suffix(".bin").replace(target.with_suffix(".bin"))
        xml.replace(draft)
    finally:
        for file in (onnx_file, xml, xml.with_suffix(".bin")):
            file.unlink(missing_ok=True)


class Session:
    """A written network, ready to run on the CPU.

    Args:
        path: An ONNX file.
        runtime: `onnxruntime` or `openvino`.
        threads: Threads to compute with.
    """

    def __init__(self, path: Path, runtime: str, threads: int) -> None:
        need_packages(runtime)
        self._run = (_onnxruntime if runtime == "onnxruntime" else _openvino)(path, threads)

    def __call__(self, x: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """The network's outputs for (N, 3, h, w) float32."""
        return self._run(x)  # type: ignore[no-any-return]


def _onnxruntime(path: Path, threads: int) -> Any:
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})


def _openvino(path: Path, threads: int) -> Any:
    openvino = import_module("openvino")
    # The same numbers as elsewhere, not bfloat16 where the processor has it.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    try:
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    except Exception as error:  # it has one kind for everything
        raise UsageError(
            f"OpenVINO cannot run the network: {_reason(error)}", hint="take onnxruntime"
        ) from error
    return lambda x: list(compiled(x).values())


def compare_outputs(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> tuple[float, int]:
    """How far one output is from another.

    Args:
        found: (N, C, H, W) of a runtime.
        wanted: The same of PyTorch.

    Returns:
        The largest deviation over the standard deviation of `wanted`; and the number of pixels whose class
        differs although their two best logits are further apart than twice the largest deviation.
    """
    import numpy as np

    deviation = np.abs(found.astype(np.float64) - wanted)
    largest = float(deviation.max())
    best = np.sort(wanted, axis=1)[:, -2:] if wanted.shape[1] > 1 else None
    wrong = 0
    if best is not None:
        clear = best[:, 1] - best[:, 0] > 2 * largest
        wrong = int(((found.argmax(1) != wanted.argmax(1)) & clear).sum())
    return largest / max(float(wanted.std()), 1e-30), wrong
