import copy

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from bddzoo.engines.load import build_network, make_runner
from bddzoo.engines.recipe import recipe_state
from bddzoo.engines.registry_config import expand, is_buildable
from bddzoo.engines.selftest.folder import GoldenFolder, packaged
from bddzoo.errors import UsageError
from tests.engines.models import narrow_detector, narrow_segmentor, registry, with_parts
from tests.support.sampling import every, sampled

MODELS = [m for m in registry().models if is_buildable(m)]


def test_all_networks_of_the_tasks_that_run_are_here():
    zoos = [m.zoo.id for m in MODELS]
    assert zoos.count("bdd100k-models") == 79 + 56 + 64 + 5 + 28
    assert zoos.count("vis4d") == 1


@pytest.mark.parametrize("train", [False, True])
def test_weights_are_drawn_for_training_only(train):
    before = torch.get_rng_state()
    module = build_network(registry().find("demo_semfpn_r18n_sem_seg"), train=train)
    assert torch.equal(torch.get_rng_state(), before) != train
    assert bool(module.decode_head.conv_seg.weight.any()) == train


@pytest.mark.slow
@pytest.mark.parametrize("model", sampled(MODELS, every(8)), ids=lambda m: m.id)
def test_keys_shapes_types(model):
    module = build_network(model)
    parameters = dict(module.named_parameters())
    state = module.state_dict()
    assert model.network.entries is None or len(state) == model.network.entries
    assert model.network.params is None or sum(p.numel() for p in parameters.values()) == model.network.params
    assert not module.training
    assert not any(p.requires_grad for p in parameters.values())
    assert not any(isinstance(m, torch.nn.SyncBatchNorm) for m in module.modules())
    with packaged() as folder:
        manifest = GoldenFolder(folder).manifest(model.task, model.id)
    if manifest is not None:
        mine = [
            [n, list(t.shape), str(t.dtype).removeprefix("torch."), "param" if n in parameters else "buffer"]
            for n, t in state.items()
        ]
        assert mine == manifest


def test_facts_are_not_changed():
    model = registry().find("pointrend_r50_512x1024_40k_sem_seg_bdd100k")
    before = copy.deepcopy(model.network.parts)
    build_network(model)
    assert model.network.parts == before


def test_protocol_decides_the_windows():
    model = registry().find("fcn_r50-d8_769x769_40k_sem_seg_bdd100k")
    assert expand(model)["test_cfg"] == {"mode": "slide", "crop_size": (769, 769), "stride": (513, 513)}
    whole = replace(model, protocol=replace(model.protocol, mode="whole"))
    assert expand(whole)["test_cfg"]["mode"] == "whole"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbone": {"type": "ResNetV9"}}, "ResNetV9"),
        ({"backbone": {"deepness": 3}}, "deepness"),
        ({"decode_head": {"in_index": [0, 1]}}, "cannot be built"),
    ],
)
def test_wrong_facts_are_one_line(change, words):
    with pytest.raises(UsageError, match=words) as caught:
        build_network(with_parts(narrow_segmentor(), **change))
    assert "\n" not in str(caught.value)


def test_models_without_network():
    with pytest.raises(UsageError, match="no network"):
        build_network(replace(narrow_segmentor(), network=None))
    model = narrow_segmentor()
    with pytest.raises(UsageError, match="no engine builds"):
        build_network(replace(model, network=replace(model.network, engine="caffe")))


def test_training_a_detector():
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    module = build_network(narrow_detector(), train=True)
    assert module.training
    size = (64, 96)
    mask = np.zeros((1, *size), np.uint8)
    mask[0, 10:40, 10:50] = 1
    sample = DetDataSample(
        metainfo={"img_shape": size, "ori_shape": size, "pad_shape": size, "scale_factor": (1, 1)}
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 10, 50, 40]]), labels=torch.tensor([2]), masks=BitmapMasks(mask, *size)
    )
    losses = module.loss(torch.randn(1, 3, *size), [sample])
    total = sum(sum(v) if isinstance(v, list) else v.sum() for k, v in losses.items() if "loss" in k)
    total.backward()
    assert module.neck.lateral_convs[0].conv.weight.grad.abs().sum() > 0


def test_training_a_segmentor():
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    module = build_network(narrow_segmentor(), train=True)
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 19, (1, 64, 96))))
    losses = module.loss(torch.randn(2, 3, 64, 96), [sample, sample])
    losses["decode.loss_ce"].backward()
    assert module.backbone.stem[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [(33, 47), (97, 161), (128, 64)])
def test_any_size_runs(size):
    model = narrow_segmentor()
    runner = make_runner(build_network(model), model)
    assert runner.logits(torch.randn(2, 3, *size), (50, 70)).shape == (2, 19, 50, 70)


def test_batch_equals_one_by_one():
    model = narrow_detector()
    module = build_network(model)
    module.load_state_dict(recipe_state(module, 0.6))
    runner = make_runner(module, model)
    x = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    img, ori, scale = [(90, 128), (96, 120)], [(180, 256), (96, 120)], [(0.5, 0.5), (1.0, 1.0)]
    both = runner.detect(x, img, ori, scale)
    for index, found in enumerate(both):
        alone = runner.detect(x[index : index + 1], [img[index]], [ori[index]], [scale[index]])[0]
        assert found.size == ori[index]
        assert len(found) == len(alone) > 0
        assert np.allclose(found.scores, alone.scores, atol=1e-4)
        assert (np.diff(found.scores) <= 0).all()


def test_sliding_averages_windows():
    model = narrow_segmentor()
    protocol = replace(model.protocol, mode="slide", crop=(32, 32), stride=(24, 24))
    model = replace(model, protocol=protocol)
    module = build_network(model)
    module.load_state_dict(recipe_state(module, 0.9))
    runner = make_runner(module, model)
    x = torch.randn(1, 3, 40, 50)
    size = (40, 50)
    total, times = torch.zeros(1, 19, *size), torch.zeros(size)
    for y in (0, 8):
        for left in (0, 18):
            window = runner.encode(x[:, :, y : y + 32, left : left + 32])
            total[:, :, y : y + 32, left : left + 32] += window
            times[y : y + 32, left : left + 32] += 1
    assert torch.allclose(runner.logits(x, size), total / times, atol=1e-5)
