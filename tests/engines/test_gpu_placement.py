"""Networks and operators on a GPU, as far as a machine without one can tell: see `tests.support.pretend`."""

import numpy as np
import pytest
import torch

from bddzoo.engines.load import build_network, make_runner
from bddzoo.engines.ops import ensure_ops
from bddzoo.engines.recipe import recipe_state
from bddzoo.engines.selftest.folder import GoldenFolder, packaged, read_arrays
from bddzoo.engines.selftest.operators import CHECKS, check_operator
from bddzoo.engines.selftest.run import Selftest
from bddzoo.inference.batches import prepare
from bddzoo.inference.speedups import Speedups
from tests.engines.models import registry
from tests.support.pretend import DEVICE, OnDevice, pretend_gpu
from tests.support.sampling import sampled

# One of each kind of network: what a family keeps next to its parameters (bases, grids, tables of relative
# positions) has to follow them to the GPU, or is made there.
MODELS = [
    "apcnet_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "ccnet_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "dmnet_r50-d8_769x769_40k_sem_seg_bdd100k",
    "dnl_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "emanet_r50-d8_769x769_40k_sem_seg_bdd100k",
    "fcn_hr48_512x1024_40k_sem_seg_bdd100k",
    "fpn_r50_512x1024_40k_sem_seg_bdd100k",
    "fpn_r50_gn_dconv_512x1024_40k_sem_seg_bdd100k",
    "nonlocal_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "pointrend_r50_512x1024_40k_sem_seg_bdd100k",
    "psanet_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "upernet_convnext-t_fp16_512x1024_40k_sem_seg_bdd100k",
    "upernet_swin-t_512x1024_40k_sem_seg_bdd100k",
    "upernet_vit-b_512x1024_80k_sem_seg_bdd100k",
    "gcnet_mask_rcnn_r50_fpn_1x_ins_seg_bdd100k",
    "mask_rcnn_r50_fpn_dconv_1x_ins_seg_bdd100k",
    "cascade_mask_rcnn_r50_fpn_1x_ins_seg_bdd100k",
]


def test_what_cuda_refuses_is_refused():
    with pretend_gpu():
        there = torch.ones(2, 3, device="cuda")
        assert isinstance(there, OnDevice)
        assert there.device == DEVICE
        assert there.is_cuda
        with pytest.raises(RuntimeError, match="same device"):
            _ = there + torch.ones(2, 3)
        with pytest.raises(RuntimeError, match="same device"):
            there.add_(torch.ones(2, 3))
        with pytest.raises((TypeError, RuntimeError), match=r"numpy|can't convert cuda"):
            there.numpy()
        assert np.array_equal(there.cpu().numpy(), np.ones((2, 3)))
        assert (there * torch.tensor(2.0)).sum().item() == 12
        assert torch.ones(1).to(there).device == DEVICE
        layer = torch.nn.BatchNorm2d(3).to("cuda")
        assert {x.device for x in (*layer.parameters(), *layer.buffers())} == {DEVICE}
    with pretend_gpu(largest_bytes=23), pytest.raises(torch.OutOfMemoryError):
        torch.ones(2, 3, device="cuda")


@pytest.mark.parametrize("name", sorted(set(CHECKS) - {"nms_big"}))
def test_operators_where_their_tensors_are(name):
    ensure_ops()
    with packaged() as folder, pretend_gpu():
        goldens = GoldenFolder(folder).operators()
        if name not in goldens:
            pytest.skip("its golden does not ship")
        measures = check_operator(name, read_arrays(goldens[name]), DEVICE, prepare)
    assert measures
    for measure in measures:
        assert measure.ok, measure


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    sampled(
        ["emanet", "pointrend", "fpn_r50_gn_dconv", "mask_rcnn_r50_fpn_dconv"], lambda kind: "dconv" in kind
    ),
)
def test_half_precision_fits_every_head(kind):
    model = registry().find(next(name for name in MODELS if name.startswith(kind)))
    x = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    found = []
    with packaged() as folder:
        gain = next(GoldenFolder(folder).goldens(model.task, model.id)).gain
    with pretend_gpu(), torch.no_grad():
        module = build_network(model)
        module.load_state_dict(recipe_state(module, gain))
        runner = make_runner(module.to("cuda"), model)
        if model.task == "ins_seg":  # half precision takes long on a CPU
            runner.module.rpn_head.test_cfg.max_per_img = 50
        for speedups in (Speedups(), Speedups("amp-fp16")):
            speedups.apply(runner)
            if model.task == "sem_seg":
                found.append([runner.encode(x.cuda()).cpu()])
            else:
                found.append([level.cpu() for level in runner.module.extract_feat(x.cuda())])
                assert runner.detect(x.cuda(), [(32, 64)], [(32, 64)], [(1.0, 1.0)])
    for full, half in zip(*found, strict=True):
        assert half.dtype == torch.float32
        apart = float((full - half).abs().max() / full.std())
        assert 0 < apart < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(MODELS, lambda name: name.startswith(("emanet", "gcnet_mask_rcnn"))))
def test_networks_where_their_weights_are(name):
    with packaged() as folder, pretend_gpu():
        checks = Selftest(GoldenFolder(folder), registry().models, torch.device("cuda"), prepare)
        findings = checks.model(registry().find(name))
    assert [(f.check, f.status, f.note) for f in findings] == [
        ("keys", "equal", ""),
        ("small_b", "equal", ""),
    ]
