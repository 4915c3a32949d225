"""openseg's networks, run: equal to its own code, and every known mistake would show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bddzoo.engines.load import make_runner
from bddzoo.engines.openseg.heads import PositionAttention, rows
from bddzoo.engines.openseg.network import EPS, OpensegNetwork, OpensegRunner, resize_cubic
from bddzoo.engines.openseg.spec import Spec
from bddzoo.engines.recipe import recipe_state
from bddzoo.engines.selftest.folder import packaged, read_arrays
from bddzoo.engines.selftest.openseg import OpensegTest, find_folder
from bddzoo.errors import UsageError
from bddzoo.inference.batches import prepare
from bddzoo.inference.cpu import tune_for_cpu
from tests.engines.openseg_models import model_of
from tests.shared import shared
from tests.support.sampling import sampled

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with packaged() as own:
        home = find_folder(own)
        assert home is not None
        yield home


def test_a_folder_is_found_from_above(folder: Path) -> None:
    assert find_folder(folder) == folder == find_folder(folder.parent)
    assert find_folder(folder / "outputs") is None


def _names() -> list[str]:
    with packaged() as own:
        return sorted(p.name.removesuffix(".json.gz") for p in (own / "openseg" / "manifests").iterdir())


# One a backbone, but for the wide ResNet, which takes as long as both; `selftest` has all of them.
SOME = {"cityscapes_base_ocnet_r101", "mapillary_hrnet_w48_ocr_b"}


@pytest.mark.parametrize("name", sampled(_names(), SOME.__contains__))
def test_tuned_networks_equal_the_zoos_own(folder: Path, name: str) -> None:
    test = OpensegTest(folder, (), CPU, prepare, tune_for_cpu)
    findings = test.network(name)
    assert [f.check for f in findings] == ["keys", "n"]
    assert [f.note for f in findings if f.status != "equal"] == []


@pytest.mark.parametrize(
    "name", sampled(["pascal_voc_isanet_r101", "mapillary_hrnet_w48_ocr_b"], lambda name: "r101" in name)
)
def test_plain_networks_equal_the_zoos_own(folder: Path, name: str) -> None:
    findings = OpensegTest(folder, (), CPU, prepare).network(name)
    assert [f.status for f in findings] == ["equal", "equal"]


def test_norm_and_file_form(folder: Path) -> None:
    findings = list(OpensegTest(folder, (), CPU, prepare).operators())
    assert [(f.check, f.status) for f in findings] == [
        ("openseg abn", "equal"),
        ("openseg legacy_checkpoint_sample", "equal"),
    ]


def _plain_weights(module: OpensegNetwork, change: Callable[[Tensor], Tensor]) -> None:
    """Put the norms' own weights in place of the folded ones."""
    assert module.folded is not None
    for unit in module.folded.units:
        place: Any = module.get_submodule(unit.target)
        if isinstance(place, nn.BatchNorm2d):
            original = module.state_dict()[f"{unit.name}.weight"]
            place.weight.copy_(change(original))


def _slopes(module: OpensegNetwork, slope: float) -> None:
    for part in module.modules():
        if isinstance(part, nn.LeakyReLU):
            part.negative_slope = slope


def _swap(weight: Tensor) -> None:
    weight.copy_(torch.cat(weight.clone().chunk(2, 1)[::-1], 1))


def _mistakes() -> dict[str, tuple[str, Callable[[Any], object]]]:
    isa, wide, ocr = "pascal_voc_isanet_r101", "cityscapes_asp_ocnet_wrn38", "cityscapes_spatial_ocrnet_r101"
    return {
        "scales keep their sign": (isa, lambda m: _plain_weights(m, lambda w: w + EPS)),
        "no epsilon next to the scale": (isa, lambda m: _plain_weights(m, torch.abs)),
        "ReLU": (isa, lambda m: _slopes(m, 0.0)),
        "slope 0.1": (isa, lambda m: _slopes(m, 0.1)),
        "pooling rounds down": (isa, lambda m: setattr(m.backbone.maxpool, "ceil_mode", False)),
        "context and features change places": (isa, lambda m: _swap(m.decode_head.out_conv.conv.weight)),
        "other windows": (isa, lambda m: setattr(m.decode_head, "down_factor", (8, 16))),
        "nothing is overwritten": (wide, lambda m: setattr(m.backbone, "overwritten", False)),
        "attention is not scaled": (wide, lambda m: setattr(m.decode_head.attention, "scale", 1.0)),
        "auxiliary logits are not looked at": (ocr, lambda m: m.auxiliary_head.conv_seg.weight.zero_()),
        "objects come last": (
            ocr,
            lambda m: _swap(m.decode_head.object_context_block.bottleneck.conv.weight),
        ),
    }


@pytest.fixture(scope="module")
def filled(folder: Path) -> Callable[[str], OpensegNetwork]:
    """Networks with the golden's weights, made once each."""
    made: dict[str, OpensegNetwork] = {}

    def make(name: str) -> OpensegNetwork:
        if name not in made:
            made.clear()
            facts = OpensegTest(folder, (), CPU, prepare).networks[name]
            spec = Spec(facts["model_name"], facts["backbone"], facts["num_classes"])
            made[name] = OpensegNetwork(spec)
            made[name].load_state_dict(recipe_state(made[name], facts["gain"], "n"))
        return made[name]

    return make


@pytest.mark.parametrize(
    "mistake", sampled(_mistakes(), lambda mistake: "wrn38" not in _mistakes()[mistake][0])
)
def test_mistakes_show(folder: Path, filled: Callable[[str], OpensegNetwork], mistake: str) -> None:
    import copy

    name, make_mistake = _mistakes()[mistake]
    module = copy.deepcopy(filled(name))
    with torch.no_grad():
        make_mistake(module)
    test = OpensegTest(folder, (), CPU, prepare)
    measures = test.outputs(module, test.networks[name], read_arrays(folder / f"outputs/{name}__n.npz"))
    assert max(m.value / m.limit for m in measures if m.unit == "std") > 3


def test_attention_in_blocks_is_attention() -> None:
    torch.manual_seed(0)
    block = PositionAttention(12, 8, 10, nn.LeakyReLU(0.01)).eval()
    x = torch.randn(2, 12, 9, 7)
    with torch.no_grad():
        query, key, value = (
            rows(part(x)) for part in (block.query_project, block.key_project, block.value_project)
        )
        weights = torch.softmax(query @ key.transpose(1, 2) * 8**-0.5, dim=2)
        context = (weights @ value).transpose(1, 2).reshape(2, 8, 9, 7)
        torch.testing.assert_close(block(x), block.output_project(context), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def small() -> OpensegNetwork:
    module = OpensegNetwork(Spec("hrnet_w48_ocr_b", "hrnet48", 4))
    module.load_state_dict(recipe_state(module, 0.6))
    return module


def _runner(module: OpensegNetwork, **protocol: Any) -> OpensegRunner:
    runner = make_runner(module, model_of("hrnet_w48_ocr_b", "hrnet48", 4, **protocol))
    assert isinstance(runner, OpensegRunner)
    return runner


def test_main_logits_alone_are_the_main_logits(small: OpensegNetwork) -> None:
    x = torch.randn(2, 3, 40, 56)
    aux, main = _runner(small).outputs(x)
    assert aux is not None
    assert aux.shape == main.shape == (2, 4, 40, 56)
    assert torch.equal(_runner(small).logits(x), main)


def test_mirrored_images_swap_left_and_right(small: OpensegNetwork) -> None:
    x = torch.randn(1, 3, 40, 56)
    plain = _runner(small)
    order = [0, 2, 1, 3]
    expected = (plain.encode(x) + plain.encode(x.flip(3)).flip(3)[:, order]) / 2
    found = _runner(small, flip=True, flip_swap=((1, 2),)).logits(x)
    torch.testing.assert_close(found, expected)
    # The mirrored image gives the mirrored answer.
    mirrored = _runner(small, flip=True, flip_swap=((1, 2),)).logits(x.flip(3)).flip(3)[:, order]
    torch.testing.assert_close(mirrored, found, rtol=1e-4, atol=1e-4)


def test_scales_are_summed(small: OpensegNetwork) -> None:
    x = torch.randn(1, 3, 40, 56)
    one = _runner(small).logits(x)
    torch.testing.assert_close(_runner(small, scales=(1.0, 1.0)).logits(x), 2 * one)
    several = _runner(small, scales=(0.5, 1.0), flip=True).logits(x)
    assert several.shape == one.shape
    assert not torch.allclose(several, 3 * one)


def test_padding_is_cut_before_the_resize(small: OpensegNetwork) -> None:
    import cv2

    x = torch.randn(2, 3, 40, 56)
    runner = _runner(small, logits_resize="cv2-cubic")
    found = runner.logits(x, (50, 61), (37, 51))
    plain = runner.logits(x)[:, :, :37, :51].permute(0, 2, 3, 1).numpy()
    for mine, item in zip(found, plain, strict=True):
        golden = cv2.resize(np.ascontiguousarray(item), (61, 50), interpolation=cv2.INTER_CUBIC)
        assert np.array_equal(mine.permute(1, 2, 0).numpy(), golden)


def test_cubic_resize_of_many_classes() -> None:
    scores = torch.randn(1, 171, 6, 5)
    together = resize_cubic(scores, (11, 9))
    apart = torch.cat([resize_cubic(scores[:, i : i + 1], (11, 9)) for i in range(171)], dim=1)
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("pair", [(1, 4), (-1, 2)])
def test_swapped_classes_must_be_there(small: OpensegNetwork, pair: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="the network has 4"):
        _runner(small, flip=True, flip_swap=(pair,))


def test_windows_are_refused(small: OpensegNetwork) -> None:
    with pytest.raises(UsageError, match="whole images"):
        _runner(small, mode="slide", crop=(32, 32), stride=(16, 16))


def test_a_tuned_network_has_no_state_to_save() -> None:
    module = OpensegNetwork(Spec("hrnet_w48", "hrnet48", 2))
    tune_for_cpu(module)
    with pytest.raises(UsageError, match="no longer has the zoo's state"):
        module.state_dict()
    assert _runner_device(module) == CPU


def _runner_device(module: OpensegNetwork) -> torch.device:
    return OpensegRunner(module, model_of("hrnet_w48", "hrnet48", 2)).device


@pytest.mark.slow
@pytest.mark.exhaustive  # one set of weights is compared above
@pytest.mark.parametrize("name", ["cityscapes_base_ocnet_r101", "cityscapes_fcnet_wrn38"])
def test_the_measured_folder_whole(name: str) -> None:
    """Both sets of weights of one network a backbone, from the folder as it was measured."""
    folder = shared("golden/openseg")
    test = OpensegTest(folder, (), CPU, prepare, tune_for_cpu)
    assert [(f.check, f.status) for f in test.network(name)] == [
        ("keys", "equal"),
        ("base", "equal"),
        ("n", "equal"),
    ]
