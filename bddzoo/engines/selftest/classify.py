"""Check a classifier of images against its golden."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bddzoo.engines.selftest.folder import CROPS, Arrays, Golden, GoldenFolder
from bddzoo.engines.selftest.measures import Measure, Noise, Stages
from bddzoo.engines.selftest.semantic import Prepare, as_input, compare_input, normalise, to_numpy

if TYPE_CHECKING:
    from bddzoo.engines.classify import TagRunner


def check_small(
    runner: TagRunner,
    folder: GoldenFolder,
    golden: Golden,
    arrays: Arrays,
    noise: Noise | None,
    prepare: Prepare,
) -> list[Measure]:
    """The whole protocol on the image, and the network alone on the two crops.

    Networks that need an input of 224x224 have no logits of the crops; shipped goldens of those that need
    none have no others.
    """
    stages, wrong = Stages(noise), 0
    protocol = runner.model.protocol
    assert protocol is not None
    inputs = {
        f"{crop}_logits": normalise(folder.crop(crop), protocol)
        for crop in CROPS
        if f"{crop}_logits" in arrays
    }
    if "logits" in arrays:
        inputs["logits"] = prepare(folder.sampled_image(arrays), protocol).pixels
        compare_input(stages, as_input(inputs["logits"], runner.module), arrays)
    for name, pixels in inputs.items():
        logits = to_numpy(runner.run_module(as_input(pixels, runner.module)))
        stages.compare(name.replace("_", " "), logits, arrays[name])
        wrong += int(logits.argmax() != arrays[name].argmax())
    return [*stages.measures(), Measure("class", wrong, 0, "count")]
