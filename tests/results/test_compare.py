"""How often the interval of a comparison holds the true difference."""

from __future__ import annotations

from collections import Counter

import numpy as np

from bddzoo.evaluation import SemSegAccumulator
from bddzoo.results.compare import compare_statistics
from tests.results.factory import CLASSES

POPULATION, SAMPLE, TRIALS = 1500, 80, 200


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Sets of images drawn from a population whose difference is known; hard images are hard for both.

    Of 200 intervals at 95%, 190 should hold the truth; 180 to 199 is within three standard deviations.
    """
    rng = np.random.default_rng(1)
    hard = rng.beta(2, 6, POPULATION)
    truths = rng.integers(0, 3, (POPULATION, 12, 12)).astype(np.uint8)
    noise = rng.random(truths.shape)

    def counted(error: float, chosen: np.ndarray) -> SemSegAccumulator:
        found = SemSegAccumulator(CLASSES)
        for index, i in enumerate(chosen):
            wrong = noise[i] < error * hard[i]
            found.update(
                truths[i], np.where(wrong, (truths[i] + 1) % 3, truths[i]).astype(np.uint8), f"f{index}"
            )
        return found

    everything = np.arange(POPULATION)
    whole = [counted(error, everything).compute().summary["mIoU"] for error in (1.2, 1.15)]
    true = whole[1] - whole[0]
    held = 0
    said: Counter[str] = Counter()
    for trial in range(TRIALS):
        chosen = rng.integers(0, POPULATION, SAMPLE)
        found = compare_statistics(counted(1.2, chosen), counted(1.15, chosen), resamples=400, seed=trial)
        miou = next(item for item in found if item.metric == "mIoU")
        held += miou.low <= true <= miou.high
        said[miou.conclusion] += 1
    print(f"true difference {true:.2f}: inside {held} of {TRIALS} intervals; concluded {dict(said)}")
    assert 180 <= held <= 199
    assert not said["worse"], "b is better"
