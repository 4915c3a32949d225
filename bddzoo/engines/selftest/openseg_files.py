"""Checks of openseg's own pieces: its norm, the form of its files, and its whole test chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from bddzoo.engines.checkpoint import open_checkpoint
from bddzoo.engines.openseg.claims import read_claim
from bddzoo.engines.openseg.folding import Folded
from bddzoo.engines.openseg.layout import Norm
from bddzoo.engines.openseg.runner import OpensegRunner
from bddzoo.engines.openseg.wide_resnet import SLOPE
from bddzoo.engines.precision import full_float32
from bddzoo.engines.selftest.folder import Arrays, read_arrays, read_picture_above
from bddzoo.engines.selftest.measures import Measure, Stages
from bddzoo.engines.selftest.semantic import Prepare
from bddzoo.errors import BddzooError
from bddzoo.registry.types import Model

if TYPE_CHECKING:
    from bddzoo.engines.openseg.network import OpensegNetwork

Score = Callable[[str, "np.ndarray[Any, Any]", "np.ndarray[Any, Any]"], Mapping[str, float]]
# A pixel whose two best classes are equal up to the limit of the logits may go either way.
SCORED_LIMIT = 1e-4
_LEAVES = ("weight", "bias", "running_mean", "running_var")
# The part of the picture that the runs of the whole chain were made with, (rows, columns).
_PART = (slice(100, 475), slice(200, 701))


def check_abn(path: Path, limit: float) -> list[Measure]:
    """The activated norm, through the folding that every network's weights go through."""
    arrays = read_arrays(path)
    network = nn.Module()
    network.norm = nn.BatchNorm2d(len(arrays["weight"])).eval()
    folded = Folded(network, [Norm("norm", "norm", len(arrays["weight"]), False)], activated=True)
    folded.load({f"norm.{leaf}": torch.from_numpy(arrays[leaf]) for leaf in _LEAVES})
    stages = Stages(limit)
    with torch.no_grad():
        found = network.norm(torch.from_numpy(arrays["x"]))
    stages.compare("none", found.numpy(), arrays["y_none"])
    activated = nn.functional.leaky_relu(found, SLOPE)
    stages.compare("leaky_relu", activated.numpy(), arrays["y_leaky_relu"])
    return [stages.measure("values")]


def check_checkpoint(path: Path, limit: float) -> list[Measure]:
    """A file in the zoo's form is read without executing it: its names without prefix, and its own claim."""
    try:
        checkpoint = open_checkpoint(path)
        claim = read_claim(path)
    except BddzooError:
        return [Measure("entries", 1, 0, "count", "refused")]
    prefixed = [name for name in checkpoint.state if name.startswith("module.")]
    silent = claim is None or claim.best is None
    return [
        Measure("entries", len(prefixed), 0, "count", "prefix"),
        Measure("claim", float(silent), 0, "count"),
    ]


def check_run(
    module: OpensegNetwork,
    model: Model,
    run: dict[str, Any],
    arrays: Arrays,
    root: Path,
    prepare: Prepare,
    limit: float,
    score: Score | None = None,
) -> list[Measure]:
    """The whole chain on one picture: input, logits at the original size, class map, scales, scores."""
    from bddzoo.engines.selftest.semantic import to_numpy, wrong_pixels

    protocol = model.protocol
    assert protocol is not None
    ready = prepare(read_picture_above(root)[_PART], protocol)
    device = next(module.parameters()).device
    x = torch.from_numpy(ready.pixels)[None].to(device)
    shape = tuple(int(n) for n in run["net_input"])
    inputs, outputs = Stages(limit), Stages(limit)
    if tuple(x.shape) != shape:
        inputs.worst, inputs.where = float("inf"), f"shape {tuple(x.shape)}, expected {shape}"
    else:
        inputs.compare("input", ready.pixels[:, 3::40, 3::40], arrays["net_input_sample"], 1.0)
    with full_float32():
        logits = OpensegRunner(module, model).logits(x, ready.original_size, ready.image_size)[0]
        grid = to_numpy(logits)[:, 8::24, 8::24].transpose(1, 2, 0)
        outputs.compare("logits", grid, arrays["trainer_logits_sample"])
        if "ms_logit_sum_sample" in arrays:
            scales = tuple(float(s) for s in run["ms_scales"])
            several = replace(protocol, scales=scales, flip=True, flip_swap=(), logits_resize="bilinear")
            total = OpensegRunner(module, replace(model, protocol=several)).logits(x)[0]
            golden = arrays["ms_logit_sum_sample"]
            outputs.compare("several scales", to_numpy(total)[:, 8::48, 8::48], golden)
    golden_map = arrays["trainer_class_sample"]
    tolerance = limit * float(np.std(arrays["trainer_logits_sample"]))
    wrong = wrong_pixels(logits[:, ::4, ::4], golden_map, tolerance)
    measures = [inputs.measure("input"), outputs.measure("logits"), Measure("class map", wrong, 0, "px")]
    theirs = run.get("trainer_val", {})
    if score is not None and "gt_label" in arrays:
        ours = score(str(run["dataset"]), arrays["gt_label"], logits.argmax(0).to(torch.uint8).cpu().numpy())
        measures += [
            Measure(name, abs(ours[name] - float(theirs[name])), SCORED_LIMIT, "score")
            for name in ("mIoU", "pixel_acc")
            if name in theirs
        ]
    return measures
