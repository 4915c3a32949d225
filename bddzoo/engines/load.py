"""Build a network from registry facts; put it, its weights and a device together to a runner.

Also how a lack of memory is recognised, and what makes float32 mean float32.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bddzoo.engines.openseg.spec import spec_of
from bddzoo.engines.part_modules import build_part, nothing_drawn
from bddzoo.engines.registry_config import expand, network_of
from bddzoo.engines.weights import load_weights
from bddzoo.errors import MissingError, UsageError
from bddzoo.registry.model import Model
from bddzoo.text import number_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from bddzoo.engines.classify import TagRunner
    from bddzoo.engines.instance import DetectionRunner
    from bddzoo.engines.semantic import SemSegRunner

    Runner = SemSegRunner | DetectionRunner | TagRunner


def build_network(model: Model, *, train: bool = False) -> nn.Module:
    """Build the network of a model.

    Args:
        model: A model with network facts.
        train: Build it for training: in training mode, with its training configuration and
            gradients; call its `init_weights()` before a first step. The default is what inference
            needs: evaluation mode, no gradients; its weights mean nothing until they are loaded.

    Returns:
        The module on the CPU, float32, BN in place of SyncBN. State-dict names, shapes and dtypes
        are those of the upstream configuration, so that its checkpoints load without renaming.

    Raises:
        UsageError: The registry's facts make no network.
        MissingError: mmsegmentation, mmdet or what they need is not installed.
    """
    network = network_of(model)
    if network.engine == "openseg":
        return _openseg(model, train)
    config = expand(model, train=train)
    scope = "mmseg" if network.engine == "vis4d" else network.engine  # the same network by other names
    if network.engine == "mmpretrain":
        from bddzoo.engines.classify import build_classifier

        module = build_classifier(f"model {model.id}", config, whole=train)
    else:
        module = build_part(f"model {model.id}", scope, config, whole=train)
    # Advice to authors of networks, which would be repeated for each image.
    warnings.filterwarnings("ignore", message="When align_corners=True", module=r"mmseg\.models")
    warnings.filterwarnings("ignore", message="To copy construct from a tensor", module=r"mmdet\.models")
    if train:
        module.train()
    else:
        module.eval()
        module.requires_grad_(False)
    return module


def _openseg(model: Model, train: bool) -> nn.Module:
    if train:
        raise UsageError(
            f"model {model.id}: networks of openseg are for inference, their norms are folded",
            hint="train it with openseg's own code",
        )
    spec = spec_of(model)
    from bddzoo.engines.openseg.network import OpensegNetwork

    with nothing_drawn():
        return OpensegNetwork(spec)


# Module and class that runs the networks of an engine, or of one of its architectures.
_RUNNERS = {
    "mmseg": ("semantic", "SemSegRunner"),
    "vis4d": ("semantic", "SemSegRunner"),
    "mmdet": ("instance", "DetectionRunner"),
    "PanopticFPN": ("instance", "PanopticRunner"),
    "mmpretrain": ("classify", "TagRunner"),
    "openseg": ("openseg.network", "OpensegRunner"),
}

# How PyTorch, the libraries that it calls and NumPy say that there is too little memory.
_TOO_LITTLE = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "could not create a memory object",
    "could not create a primitive",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    # What cuDNN's way of choosing a kernel says when none gets its work space.
    "unable to find an engine",
    "valid cuDNN algorithm",
)


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an error means that there is too little memory, on a GPU or on the CPU."""
    import torch

    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        part in text for part in _TOO_LITTLE
    )


def load_model(
    model: Model, weights: str | Path | Mapping[str, Tensor] | None, device: str | torch.device = "cpu"
) -> Runner:
    """Build a model's network, load its weights strictly, and put it on a device.

    Args:
        model: A model with network facts.
        weights: A checkpoint file, or a state dict; None for those of `bddzoo.engines.recipe`.
        device: `cpu`, `cuda`, `cuda:N` or `auto` (the first GPU if there is one).

    Returns:
        A runner for the model's task.

    Raises:
        UsageError: The registry's facts make no network, or the device's name makes no sense.
        MissingError: There is no such file or device, the device cannot be used or has too little memory,
            or a package is missing.
        IntegrityError: The file is not a checkpoint, or not this model's.
    """
    place = find_device(device)
    module = build_network(model)
    if weights is None:
        from bddzoo.engines.recipe import GAIN, recipe_state

        weights = recipe_state(module, GAIN)
    load_weights(module, weights, model)
    return make_runner(put_on(module, place), model)


def put_on(module: nn.Module, place: torch.device) -> nn.Module:
    """Move a network to a device, in place.

    Raises:
        MissingError: The device has too little memory left, or cannot be used at all.
    """
    try:
        return module.to(place)
    except RuntimeError as error:
        if place.type == "cpu":
            raise
        hint = "use another --device, or close what else is using it"
        if is_out_of_memory(error):
            raise MissingError(f"{place} has too little memory for the network", hint=hint) from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise MissingError(f"{place} cannot be used: {reason[:150]}", hint=hint) from error


def make_runner(module: nn.Module, model: Model) -> Runner:
    """The runner for a network of `build_network(model)`."""
    from importlib import import_module

    network = network_of(model)
    place, name = _RUNNERS.get(network.arch) or _RUNNERS[network.engine]
    runner: Runner = getattr(import_module(f"bddzoo.engines.{place}"), name)(module, model)
    return runner


DEVICE = re.compile(r"auto|cpu|cuda(:(0|[1-9][0-9]?))?")


def check_device_name(name: str) -> str:
    """The name, if it has the form of a device; needs no torch.

    Raises:
        UsageError: It has not.
    """
    if not DEVICE.fullmatch(name):
        raise UsageError(f"no device is called '{name}'", hint="use auto, cpu, cuda or cuda:N")
    return name


def find_device(name: str | torch.device) -> torch.device:
    """The torch device of that name, checked to be there.

    Raises:
        UsageError: No such kind of device.
        MissingError: No such device on this machine.
    """
    import torch

    if check_device_name(str(name)) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = gpu_count()
        if (device.index or 0) >= count:
            there = number_of(count, "GPU") if count else "no GPU that torch can use"
            raise MissingError(f"device '{name}' does not exist: there is {there}", hint="use --device cpu")
    return device


def gpu_count() -> int:
    """GPUs that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


_PARTS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


def use_full_float32() -> Callable[[], None]:
    """Let no operator of this process round float32 to fewer bits, whatever it had set before.

    GPUs may multiply float32 numbers rounded to TF32's 10 bits, and do so in convolutions unless that is
    switched off; oneDNN may use TF32 or bfloat16 on processors that have them, if that is switched on. From
    PyTorch 2.9 on there are two sets of switches. The older ones no longer reach what was set with the newer
    ones, and cannot even be read then, so that all are set here.

    Returns:
        A function that puts everything back as it was.
    """
    import torch

    matmul = _or_none(torch.get_float32_matmul_precision)
    convolutions = _or_none(lambda: torch.backends.cudnn.allow_tf32)
    newer = hasattr(torch.backends.cudnn, "conv")
    parts: list[Any] = [attrgetter(name)(torch.backends) for name in _PARTS] if newer else []
    before = [part.fp32_precision for part in parts]
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for part in parts:
        part.fp32_precision = "ieee"

    def undo() -> None:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if convolutions is not None:
            torch.backends.cudnn.allow_tf32 = convolutions
        for part, value in zip(parts, before, strict=True):
            part.fp32_precision = value

    return undo


@contextmanager
def full_float32() -> Iterator[None]:
    """`use_full_float32` for a while."""
    undo = use_full_float32()
    try:
        yield
    finally:
        undo()


def _or_none(read: Callable[[], Any]) -> Any:
    """What a switch says; None where PyTorch refuses, because the newer ones were used."""
    try:
        return read()
    except RuntimeError:
        return None
