"""openseg's networks without running them: names, shapes, counts, what can't be built, files."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from bddzoo.engines.checkpoint import read_checkpoint
from bddzoo.engines.load import build_network
from bddzoo.engines.openseg.layout import count, entries
from bddzoo.engines.openseg.network import OpensegNetwork
from bddzoo.engines.openseg.spec import ARCHS, BACKBONES, Spec, is_spec, spec_of, why_not
from bddzoo.engines.openseg.training_facts import TrainingFacts, read_training_facts
from bddzoo.engines.selftest.folder import packaged
from bddzoo.engines.weights import load_weights
from bddzoo.errors import IntegrityError, UsageError
from bddzoo.registry.model import REASONS
from tests.engines.openseg_models import R101, R101_D16, WRN38, model_of
from tests.shared import shared
from tests.support.sampling import every, sampled

# Parameters at 19 classes, parameters a class, entries; counted on the zoo's own code.
COUNTS = {
    ("fcnet", R101, "inplace_abn"): (56_802_240, 1024, 544),
    ("base_ocnet", R101, "inplace_abn"): (57_987_302, 1026, 580),
    ("asp_ocnet", R101, "inplace_abn"): (62_477_414, 1026, 609),
    ("isanet", R101, "inplace_abn"): (59_167_718, 1026, 601),
    ("spatial_ocrnet", R101, "inplace_abn"): (57_988_838, 1026, 588),
    ("spatial_asp_ocrnet", R101, "inplace_abn"): (67_256_166, 770, 612),
    ("fcnet", WRN38, "inplace_abn"): (133_404_992, 1024, 205),
    ("base_ocnet", WRN38, "inplace_abn"): (134_590_054, 1026, 241),
    ("asp_ocnet", WRN38, "inplace_abn"): (139_080_166, 1026, 270),
    ("spatial_ocrnet", WRN38, "inplace_abn"): (134_591_590, 1026, 249),
    ("hrnet_w48", "hrnet48", "inplace_abn"): (70_006_560, 720, 1532),
    ("hrnet_w48_ocr", "hrnet48", "inplace_abn"): (74_522_182, 1234, 1583),
    ("hrnet_w48_ocr_b", "hrnet48", "inplace_abn"): (68_952_550, 514, 1583),
    ("hrnet_w48_asp_ocr", "hrnet48", "inplace_abn"): (75_977_664, 768, 1605),
    ("hrnet_w48_isa", "hrnet48", "inplace_abn"): (71_023_168, 512, 1594),
    ("hrnet_w48_ocr", "hrnet48", "torchsyncbn"): (74_522_182, 1234, 1897),
}


@pytest.mark.parametrize("network", COUNTS, ids="-".join)
@pytest.mark.parametrize("classes", [1, 19, 65, 171])
def test_counts(network: tuple[str, str, str], classes: int) -> None:
    arch, backbone, norm = network
    params, per_class, number = COUNTS[network]
    expected = (params + (classes - 19) * per_class, number)
    assert count(Spec(arch, backbone, classes, norm)) == expected
    if backbone == R101:
        assert count(Spec(arch, R101_D16, classes, norm)) == expected


def test_every_network_is_counted() -> None:
    there = {
        (arch, name)
        for arch in ARCHS
        for name in BACKBONES
        if why_not(arch, name) is None and name != R101_D16
    }
    assert there == {(arch, backbone) for arch, backbone, _ in COUNTS}


@pytest.mark.parametrize("network", sampled(COUNTS, every(3)), ids="-".join)
def test_what_is_built_has_the_layout(network: tuple[str, str, str]) -> None:
    arch, backbone, norm = network
    model = model_of(arch, backbone, 7, norm)
    module = build_network(model)
    names = dict(module.named_parameters())
    mine = [
        (name, tuple(t.shape), str(t.dtype).removeprefix("torch."), "param" if name in names else "buffer")
        for name, t in module.state_dict().items()
    ]
    assert mine == [tuple(e) for e in entries(spec_of(model))]
    assert sum(p.numel() for p in module.parameters()) == count(spec_of(model))[0]
    assert not any(p.requires_grad for p in module.parameters())
    assert not module.training


def test_names_are_those_of_the_zoo() -> None:
    with packaged() as own:
        folder = own / "openseg"
        for facts in json.loads((folder / "index.json").read_text(encoding="utf-8"))["networks"]:
            manifest = json.loads(gzip.decompress((folder / f"manifests/{facts['id']}.json.gz").read_bytes()))
            spec = Spec(facts["model_name"], facts["backbone"], facts["num_classes"], facts["bn_type"])
            mine = [[e.key, list(e.shape), e.dtype, e.kind] for e in entries(spec)]
            assert mine == manifest["entries"], facts["id"]


def test_names_and_values_of_all_measured_networks() -> None:
    """Counts of every network that was measured, the public and the others."""
    import yaml

    facts = yaml.safe_load(shared("facts/openseg_facts.yaml").read_text(encoding="utf-8"))["networks"]
    for name, known in facts.items():
        spec = Spec(known["model_name"], known["backbone"], known["num_classes"], known["bn_type"])
        assert count(spec) == (known["params"], known["state_entries"]), name


@pytest.mark.parametrize(
    ("arch", "backbone", "norm", "code"),
    [
        ("fcnet", "mobilenetv2_dilated8", "inplace_abn", "no-backbone-code"),
        ("isanet", WRN38, "inplace_abn", "fixed-aux-width"),
        ("spatial_asp_ocrnet", WRN38, "inplace_abn", "fixed-aux-width"),
        ("isanet", "hrnet48", "inplace_abn", "fixed-aux-width"),
        ("base_ocnet", "hrnet48", "inplace_abn", "no-network-class"),
        ("asp_ocnet", "hrnet48", "inplace_abn", "no-network-class"),
        ("hrnet_w48_ocr", R101, "inplace_abn", "no-such-network"),
        ("pyramid_ocnet", R101, "inplace_abn", "no-such-network"),
        ("fcnet", "vgg16", "inplace_abn", "no-such-network"),
        ("fcnet", WRN38, "torchsyncbn", "norm-not-known"),
        ("fcnet", R101, "groupnorm", "norm-not-known"),
    ],
)
def test_what_cannot_be_built_says_why(arch: str, backbone: str, norm: str, code: str) -> None:
    model = model_of(arch, backbone, 19, norm)
    assert model.network is not None
    assert not is_spec(model.network)
    assert code in REASONS
    with pytest.raises(UsageError, match=f"{model.id}: .* cannot be built: {code}") as caught:
        build_network(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("factors", [[8], [0, 8], ["8", "8"], 8, [8.0, 8.0]])
def test_bad_factors_are_refused(factors: Any) -> None:
    with pytest.raises(UsageError, match="two positive whole numbers"):
        spec_of(model_of("isanet", R101, 19, head={"factors": factors}))


def test_training_is_refused() -> None:
    with pytest.raises(UsageError, match="for inference"):
        build_network(model_of("fcnet", R101, 19), train=True)


@pytest.fixture(scope="module")
def hrnet() -> OpensegNetwork:
    """The smallest network."""
    module = build_network(model_of("hrnet_w48_ocr_b", "hrnet48", 3))
    assert isinstance(module, OpensegNetwork)
    return module


def test_the_zoos_own_file_loads_strictly(tmp_path: Path, hrnet: OpensegNetwork) -> None:
    model = model_of("hrnet_w48_ocr_b", "hrnet48", 3)
    state = {name: torch.randn_like(t) for name, t in hrnet.state_dict().items()}
    path = tmp_path / "hrnet_w48_ocr_b_1_latest.pth"
    config = {"network": {"model_name": "hrnet_w48_ocr_b", "backbone": "hrnet48"}, "max_performance": 0.5}
    content = {"config_dict": config, "state_dict": {f"module.{n}": t for n, t in state.items()}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    load_weights(hrnet, path, model)
    back = hrnet.state_dict()
    assert list(back) == list(state)
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    claim = read_training_facts(path)
    assert claim == TrainingFacts(best=0.5, network="hrnet_w48_ocr_b on hrnet48")


def test_misfits_are_named(hrnet: OpensegNetwork) -> None:
    model = model_of("hrnet_w48_ocr_b", "hrnet48", 3)
    state = dict(hrnet.state_dict())
    before = {name: tensor.clone() for name, tensor in state.items()}
    del state["cls_head.bias"]
    with pytest.raises(IntegrityError, match=r"1 missing: cls_head\.bias"):
        load_weights(hrnet, state, model)
    state["cls_head.bias"] = torch.zeros(4)
    with pytest.raises(IntegrityError, match=r"cls_head\.bias is 4, expected 3"):
        load_weights(hrnet, state, model)
    state = {**before, "backbone.bn1.num_batches_tracked": torch.zeros((), dtype=torch.int64)}
    with pytest.raises(IntegrityError, match=r"1 unexpected: backbone\.bn1\.num_batches_tracked"):
        load_weights(hrnet, state, model)
    after = hrnet.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_sample_in_the_zoos_form() -> None:
    with packaged() as own:
        path = own / "openseg" / "ops" / "legacy_checkpoint_sample.pth"
        claim = read_training_facts(path)
        assert next(iter(read_checkpoint(path))) == "head.0.weight"
    assert claim is not None
    assert (claim.best, claim.iters, claim.dataset) == (0.79, 40000, "cityscapes")


def test_claims_execute_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "evil.pth"
    with path.open("wb") as file:
        for item in (1, 2, {}, {"config_dict": {"max_performance": 0.9, "x": Evil()}, "state_dict": {}}):
            pickle.dump(item, file)
    assert read_training_facts(path) == TrainingFacts(best=0.9)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [float("nan"), 2.0, -0.1, "0.8", None, 0.0])
def test_senseless_claims_are_none(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "odd.pth"
    torch.save({"config_dict": {"max_performance": value}, "state_dict": {"a": torch.zeros(1)}}, path)
    claim = read_training_facts(path)
    assert claim == TrainingFacts()


def test_other_files_claim_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert read_training_facts(path) is None
    for content in (b"", b"PK\x03\x04", b"\x80\x02.", b"<html>", bytes(1000)):
        path.write_bytes(content)
        assert read_training_facts(path) is None
