"""Check a classifier of images against its golden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bddzoo.engines.selftest.folder import CROPS, Arrays, Golden, GoldenFolder
from bddzoo.engines.selftest.measures import Measure, Noise, Stages
from bddzoo.engines.selftest.semantic import Prepare, as_input, compare_input, normalise, to_numpy

if TYPE_CHECKING:
    from bddzoo.engines.classify import TagRunner


def check_full(
    runner: TagRunner,
    folder: GoldenFolder,
    golden: Golden,
    arrays: Arrays,
    noise: Noise | None,
    prepare: Prepare,
) -> list[Measure]:
    """The whole protocol on a full image: preprocessing and logits; and logits of the two crops.

    Networks that need an input of 224x224 have no logits of the crops.
    """
    stages = Stages(noise)
    image, protocol = folder.image(golden.kind.variant), runner.model.protocol
    assert image is not None
    assert protocol is not None
    x = as_input(prepare(image, protocol).pixels, runner.module)
    compare_input(stages, x, arrays)
    logits = to_numpy(runner.run_module(x))
    deviation = float(arrays["logits"].std())
    stages.compare("logits", logits, arrays["logits"], deviation)
    measures = [Measure("class", float(logits.argmax() != np.argmax(arrays["logits"])), 0, "count")]
    for crop in CROPS:
        if f"{crop}_logits" in arrays:
            x = as_input(normalise(folder.crop(crop), protocol), runner.module)
            stages.compare(
                f"{crop} logits", to_numpy(runner.run_module(x)), arrays[f"{crop}_logits"], deviation
            )
    return [*stages.measures(), *measures]
