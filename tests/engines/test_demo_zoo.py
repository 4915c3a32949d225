"""The weights that ship with the package: small, as the registry says, and good at their job."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import bddzoo
from bddzoo.api import evaluate
from bddzoo.datasets.mini import make_mini
from bddzoo.engines.load import build_network
from bddzoo.engines.weights import load_weights
from bddzoo.registry import load_registry
from bddzoo.registry.model import Model

DEMO = Path(bddzoo.__file__).parent / "demo"
MODELS = [m for m in load_registry(None).models if m.zoo.id == "demo"]
# What the held-back set has to give at least, in percent.
LEAST = {
    "sem_seg": ("mIoU", 60.0),
    "ins_seg": ("AP50", 30.0),
    "drivable": ("mIoU", 80.0),
    "det": ("box_AP50", 70.0),
}


def weights(model: Model) -> Path:
    return DEMO / f"{model.id}.pth"


def test_one_network_of_each_task():
    assert sorted(m.task for m in MODELS) == sorted(LEAST)
    assert all(m.zoo.synthetic for m in MODELS)
    assert {p.name for p in DEMO.glob("*.pth")} == {weights(m).name for m in MODELS}


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.id)
def test_files_are_small_and_what_the_registry_says(model):
    content = weights(model).read_bytes()
    artifact = model.artifact("weights")
    assert artifact.sources == (f"package:demo/{artifact.name}",)
    assert artifact.size_bytes == len(content) <= 2_000_000
    digests = {d.algorithm: d.hex for d in artifact.digests}
    assert digests["md5"] == hashlib.md5(content).hexdigest()
    assert digests["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.id)
def test_weights_load_with_every_key_accounted_for(model):
    module = build_network(model)
    load_weights(module, weights(model), model)
    assert sum(p.numel() for p in module.parameters()) == model.network.params
    assert len(module.state_dict()) == model.network.entries


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.id)
def test_they_recognise_what_they_have_not_seen(model, unseen):
    found = evaluate(model, unseen, weights=weights(model), device="cpu")
    metric, least = LEAST[model.task]
    assert found.scores.summary[metric] > least


@pytest.fixture(scope="module")
def unseen(tmp_path_factory) -> Path:
    """Frames of a third seed: neither trained on nor those of the reported number."""
    return make_mini(tmp_path_factory.mktemp("unseen") / "set", seed=5, val=6).root
