import json
from pathlib import Path

import numpy as np
import pytest

from bddzoo.engines.recipe import value_for

ANSWERS = json.loads((Path(__file__).parents[1] / "data/engines/recipe_check.json").read_text())


@pytest.mark.parametrize("answer", [a for a in ANSWERS if a["is_float"]], ids=lambda a: a["name"])
def test_known_answers(answer):
    value = value_for(answer["name"], tuple(answer["shape"]), answer["gain"])
    assert value.dtype == np.float32
    assert value.tobytes().hex() == answer["hex"]


def test_variant_b_salts_names_and_opens_gates():
    assert not np.array_equal(value_for("conv.weight", (2, 3)), value_for("conv.weight", (2, 3), variant="b"))
    gate = value_for("block.gamma", (4096,), variant="b")
    assert abs(float(gate.mean()) - 0.5) < 0.02
    assert abs(float(value_for("block.gamma", (4096,)).mean())) < 0.02


def test_gain_scales_weights_only():
    for name, shape, scaled in (
        ("a.weight", (4, 4), True),
        ("a.bias", (4,), False),
        ("bn.weight", (4,), False),
    ):
        one, half = value_for(name, shape, 1.0), value_for(name, shape, 0.5)
        assert np.allclose(half, one * 0.5 if scaled else one)
