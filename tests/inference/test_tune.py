"""A tuned network computes what the plain one does, up to the order of sums."""

import copy

import pytest
import torch
from torch import nn

from bddzoo.engines.load import build_network, load_model, make_runner
from bddzoo.engines.recipe import recipe_state
from bddzoo.inference import cpu
from bddzoo.inference.cpu import tune_for_cpu
from bddzoo.inference.cpu.pyramid import PyramidConv
from bddzoo.registry import load_registry
from tests.support import tiny
from tests.support.sampling import every, sampled

# Networks of every kind of backbone and head, on an image small enough for a test.
MODELS = (
    "fcn_hr48_512x1024_40k_sem_seg_bdd100k",
    "fpn_r50_gn_512x1024_40k_sem_seg_bdd100k",
    "pointrend_r50_512x1024_40k_sem_seg_bdd100k",
    "upernet_swin-t_512x1024_40k_sem_seg_bdd100k",
    "upernet_convnext-t_fp16_512x1024_40k_sem_seg_bdd100k",
    "nonlocal_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "pspnet_r50-d8_512x1024_40k_sem_seg_bdd100k",
    "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k",
)


@pytest.mark.parametrize("name", sampled(MODELS, every(2)))
def test_logits_agree(name):
    torch.manual_seed(0)
    model = load_registry(None).find(name)
    runner = load_model(model, None)
    x = torch.randn(2, 3, 65, 97)
    plain = runner.logits(x, (65, 97))
    tune_for_cpu(runner.module)
    tuned = runner.logits(x, (65, 97))
    assert (plain - tuned).abs().max() < 3e-5 * plain.std()


def test_detections_agree(tmp_path):
    model = load_registry(tiny.write_registry(tmp_path / "r.yaml")).find(tiny.INS_SEG)
    module = build_network(model)
    module.load_state_dict(recipe_state(module, 1.0))
    runner = make_runner(module, model)
    x = torch.randn(2, 3, 64, 96)
    sizes = [(60, 90)] * 2
    plain = runner.detect(x, sizes, sizes, [(1.0, 1.0)] * 2)
    tune_for_cpu(module)
    for before, after in zip(plain, runner.detect(x, sizes, sizes, [(1.0, 1.0)] * 2), strict=True):
        assert before.labels.tolist() == after.labels.tolist()
        assert before.scores == pytest.approx(after.scores, abs=3e-4)
        assert before.boxes == pytest.approx(after.boxes, abs=0.1)


def test_heads_of_pyramids_are_replaced():
    for name, places in (
        ("upernet_swin-t_512x1024_40k_sem_seg_bdd100k", ("fpn_bottleneck", "bottleneck")),
        ("pspnet_r50-d8_512x1024_40k_sem_seg_bdd100k", ("bottleneck",)),
    ):
        module = build_network(load_registry(None).find(name))
        tune_for_cpu(module)
        assert all(isinstance(getattr(module.decode_head, place), PyramidConv) for place in places)
    module = build_network(load_registry(None).find("fcn_hr48_512x1024_40k_sem_seg_bdd100k"))
    tune_for_cpu(module)
    assert module.decode_head.pyramids == {}


def test_layout_is_chosen_by_dilation():
    def layout(dilation: int) -> bool:
        module = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, dilation=dilation))
        tune_for_cpu(module)
        return module[0].weight.is_contiguous(memory_format=torch.channels_last)

    assert layout(1)
    assert not layout(2)


def test_linear_layers_of_every_shape(monkeypatch):
    monkeypatch.setattr(cpu, "has_fast_linear", lambda: torch.backends.mkldnn.is_available())
    for bias in (True, False):
        plain = nn.Linear(24, 40, bias=bias).eval().requires_grad_(False)
        tuned = copy.deepcopy(plain)
        tune_for_cpu(tuned)
        for shape in ((24,), (5, 24), (0, 24), (2, 3, 24), (2, 3, 4, 24)):
            x = torch.randn(shape)
            torch.testing.assert_close(tuned(x), plain(x), rtol=1e-5, atol=1e-5)
        x = torch.randn(24, 7).T
        torch.testing.assert_close(tuned(x), plain(x), rtol=1e-5, atol=1e-5)
        assert tuned(torch.randn(3, 24).double().float()).shape == (3, 40)
