"""Classifiers and the panoptic network, against what upstream's software computed."""

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from bddzoo.engines.load import build_network, load_model, make_runner
from bddzoo.engines.recipe import recipe_state
from bddzoo.engines.selftest.folder import GoldenFolder, packaged
from bddzoo.engines.selftest.run import Selftest
from bddzoo.errors import IntegrityError, UsageError
from bddzoo.inference.batches import prepare
from bddzoo.inference.cpu import tune_for_cpu
from tests.engines.models import registry, with_parts
from tests.shared import shared

DLA34 = "dla34_5x_224x224_scene_tag_bdd100k"
VGG11 = "vgg11_5x_224x224_scene_tag_bdd100k"
RESNET18 = "resnet18_4x_scene_tag_bdd100k"
PANOPTIC = "panoptic_fpn_r50_fpn_1x_pan_seg_bdd100k"
BLOCKS = ("dla60x_5x_224x224_scene_tag_bdd100k", "dla60_5x_224x224_weather_tag_bdd100k")


def findings(folder, model):
    test = Selftest(GoldenFolder(folder), registry().models, torch.device("cpu"), prepare, tune_for_cpu)
    return {f.check: f for f in test.model(model)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "names"),
    [
        (DLA34, "tag", {"input", "logits", "class"}),
        pytest.param(VGG11, "tag", {"input", "logits", "class"}, marks=pytest.mark.exhaustive),
        (RESNET18, "tag", {"logits", "class"}),
        (PANOPTIC, "small_b", {"rpn_cls", "roi_mask", "sem_raw", "sem_logits", "unpaired", "panoptic map"}),
    ],
)
def test_shipped_goldens(name, kind, names):
    with packaged() as folder:
        found = findings(folder, registry().find(name))
    assert {check: f.status for check, f in found.items()} == {"keys": "equal", kind: "equal"}
    measured = {m.name for m in found[kind].measures}
    assert measured >= names | {f"tuned {n}" for n in names} | {"weights"}


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_every_kind_of_block_has_upstreams_keys_and_numbers(name):
    found = findings(shared("golden/tasks2"), registry().find(name))
    assert {f.status for f in found.values()} == {"equal"}, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "differs"),
    [
        (DLA34, {"backbone": {"levels": [1, 1, 1, 2, 1, 1]}}, "keys"),
        (DLA34, {"backbone": {"block": "Bottleneck"}}, "keys"),
        (RESNET18, {"backbone": {"style": "pytorch", "strides": [1, 2, 2, 1]}}, "tag"),
        # Weights of the two take seconds.
        pytest.param(
            *(VGG11, {"backbone": {"ceil_mode": True, "dilations": [1, 1, 1, 1, 2]}}, "tag"),
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            *(PANOPTIC, {"panoptic_fusion_head": {"num_things_classes": 9}}, "small_b"),
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_mistakes_are_found(name, change, differs):
    wrong = with_parts(registry().find(name), **change)
    with packaged() as folder:
        test = Selftest(GoldenFolder(folder), [wrong], torch.device("cpu"), prepare)
        found = {f.check: f.status for f in test.model(wrong)}
    assert found[differs] == "differs", found


def test_thresholds_of_things_are_where_mmdet_looks_for_them():
    """mmdet 3 reads them from `rcnn`: left in `panoptic`, things of score 0.05 are pasted, without a word."""
    module = build_network(registry().find(PANOPTIC))
    settings = module.roi_head.test_cfg
    assert (settings.score_thr, settings.nms.class_agnostic) == (0.6, True)
    assert dict(module.panoptic_fusion_head.test_cfg) == {"mask_overlap": 0.5, "stuff_area_limit": 4096}


def test_a_batch_gives_what_its_images_give():
    model = registry().find(DLA34)
    module = build_network(model)
    module.load_state_dict(recipe_state(module, 0.9))
    x = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    logits = make_runner(module, model).run_module(x)
    assert logits.shape == (3, 7)
    each = torch.cat([make_runner(module, model).run_module(one[None]) for one in x])
    np.testing.assert_allclose(logits.numpy(), each.numpy(), atol=1e-5)


def test_weights_of_another_classifier_are_refused():
    state = recipe_state(build_network(registry().find(RESNET18)), 1.0)
    for other in (DLA34, "resnet34_4x_scene_tag_bdd100k"):
        with pytest.raises(IntegrityError):
            load_model(registry().find(other), state)
    # Weather and scene are one network: nothing in the weights tells them apart.
    load_model(registry().find("resnet18_4x_weather_tag_bdd100k"), state)


@pytest.mark.parametrize(
    "change", [{"block": "Triangle"}, {"levels": [1, 1]}, {"wings": 2}, {"channels": "many"}]
)
def test_a_registry_that_makes_no_network_is_one_line(change):
    with pytest.raises(UsageError, match="cannot be built"):
        build_network(with_parts(registry().find(DLA34), backbone=change))


def test_other_architectures_of_the_engine_are_not_built():
    model = registry().find(DLA34)
    wrong = replace(model, network=replace(model.network, arch="HashingClassifier"))
    with pytest.raises(UsageError, match="mmpretrain builds ImageClassifier"):
        build_network(wrong)
