"""openseg.pytorch's later checkpoints, the rows that they fill, and mmsegmentation's figures next to them."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from bddzoo.registry import Registry, load_text
from bddzoo.registry.catalog import default_path
from bddzoo.registry.model import REASONS, Model
from bddzoo.registry.problems import RegistryError
from tests.shared import shared

LATER = ("openseg.pytorch-model-zoo", "openseg.pytorch-1.7")
METHODS = {
    "fcnet": "FCN", "hrnet_w48": "FCN", "base_ocnet": "OCNet", "isanet": "ISA", "hrnet_w48_isa": "ISA",
    "spatial_ocrnet": "OCR", "hrnet_w48_ocr": "OCR",
}  # fmt: skip


@pytest.fixture(scope="module")
def facts() -> Any:
    return yaml.safe_load(shared("facts/openseg_facts.yaml").read_text(encoding="utf-8"))


def later(registry: Registry, zoo: str) -> list[Model]:
    return [m for m in registry.models if m.zoo.id == zoo]


def test_every_checkpoint_is_a_model(registry: Registry, facts: Any) -> None:
    found = {m.id.removeprefix("openseg_"): m for m in later(registry, LATER[0])}
    assert set(found) == {c["network"] for c in facts["checkpoints"]}
    for known in facts["checkpoints"]:
        model = found[known["network"]]
        weights = model.artifact("weights")
        assert weights is not None
        drive = "drive.google.com" in known["url"]
        assert (weights.page if drive else weights.sources[0]) == known["url"]
        value = model.reported_value("mIoU")
        assert (None if value is None else float(value)) == known["miou_val"]
        assert model.settings["Iters"] == str(known["iterations"])
        assert model.settings["BS"] == str(known["batch_size"])
        assert (model.settings["OHEM"] == "Yes") is known.get("ohem", False)
        assert model.protocol is not None
        assert model.protocol.dataset == known["dataset"].split()[0]
        same = known.get("seed_row_same_schedule")
        assert (model.fills is not None) is (known["seed_row"] is not None)
        if model.fills is not None:
            assert bool(model.fills.differs) is (not same or known.get("ohem", False))


def test_networks_against_what_was_measured(registry: Registry, facts: Any) -> None:
    linear = {
        (n["model_name"], n["backbone"].rsplit("_dilated", 1)[0], n["bn_type"]): n
        for n in facts["networks"].values()
    }
    checked = 0
    for model in registry.models:
        network = model.network
        if network is None or network.engine != "openseg":
            continue
        backbone = network.parts["backbone"]
        known = linear[network.arch, backbone["type"].rsplit("_dilated", 1)[0], backbone["bn_type"]]
        params = known["params_at_0_classes"] + known["params_per_class"] * network.num_classes
        assert (network.params, network.entries) == (params, known["state_entries"]), model.id
        checked += 1
    assert checked == 57 + 11 + 9


def test_protocols_against_what_was_measured(registry: Registry, facts: Any) -> None:
    for network in facts["networks"].values():
        known = network["preprocessing"]
        models = [
            m
            for m in registry.models
            if m.network
            and m.network.arch == network["model_name"]
            and m.network.parts["backbone"]["type"] == network["backbone"]
            and m.network.num_classes == network["num_classes"]
        ]
        for model in models:
            protocol = model.protocol
            assert protocol is not None
            found = (protocol.channel_order, protocol.div_value, list(protocol.mean), list(protocol.std))
            assert found == (known["channel_order"], known["div_value"], known["mean"], known["std"]), (
                model.id
            )


def test_rows_have_their_methods_network_or_a_reason(registry: Registry) -> None:
    rows = later(registry, "openseg.pytorch")
    for row in rows:
        assert (row.network is None) is (row.not_buildable is not None), row.id
        if row.network is not None:
            assert METHODS[row.network.arch] == row.settings["Methods"]
        if row.not_buildable is not None:
            assert row.not_buildable.text == REASONS[row.not_buildable.reason]
    refused = {(r.settings["Methods"], r.backbone) for r in rows if r.not_buildable}
    assert {b for m, b in refused if m == "OCNet"} == {"MobileNetV2", "Wide-ResNet38", "HRNetV2-48"}
    unknown = {r.id for r in rows if r.not_buildable and r.not_buildable.reason == "input-not-known"}
    assert unknown == {f"{m}-wide-resnet38-coco-stuff-10k" for m in ("fcn", "ocnet", "ocr")}


def test_rows_and_their_fillers_name_each_other(registry: Registry) -> None:
    named = {
        (e.model, row.id): e
        for row in later(registry, "openseg.pytorch")
        for e in row.elsewhere
        if e.model is not None
    }
    for model in later(registry, LATER[0]):
        if model.fills is None:
            continue
        row = registry.find(model.fills.model)
        entry = named[model.id, row.id]
        weights = model.artifact("weights")
        assert weights is not None
        assert entry.weights in (*weights.sources, weights.page)
        assert (entry.protocol_differs is not None) is bool(model.fills.differs)
        assert row.network is not None
        assert model.network is not None
        assert row.network.parts == model.network.parts
        assert row.protocol == model.protocol


def test_branch_1_7(registry: Registry, facts: Any) -> None:
    models = later(registry, LATER[1])
    linked = {a.sources[0]: m for m in models for a in m.artifacts}
    for known in facts["later_checkpoints_branch_pytorch_1_7"]:
        model = linked[known["url"]]
        assert str(model.reported_value("mIoU")) == str(known["miou"]).split(",")[0]
        assert model.settings["Iters"] == str(known["iterations"])
    assert len(models) == 9
    assert len(linked) == 5
    assert all(m.network and m.network.parts["backbone"]["bn_type"] == "torchsyncbn" for m in models)
    assert all(m.fills and m.fills.differs for m in models)


def test_peer_figures_against_the_packages_own(registry: Registry) -> None:
    """Name, number, batch and weights of every ISANet and OCRNet of the installed mmsegmentation."""
    spec = find_spec("mmseg")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / ".mim" / "configs"
    found = {
        a.sources[0]: m for m in later(registry, "mmsegmentation") for a in m.artifacts if a.kind == "weights"
    }
    entries = [
        entry
        for method in ("isanet", "ocrnet")
        for entry in yaml.load(
            (folder / method / "metafile.yaml").read_text(encoding="utf-8"), yaml.BaseLoader
        )["Models"]
    ]
    assert len(entries) == len(found) == 40
    for entry in entries:
        model = found[entry["Weights"]]
        metrics = entry["Results"]["Metrics"]
        assert str(model.reported_value("mIoU")) == metrics["mIoU"]
        assert model.settings["mIoU(ms+flip)"] == metrics.get("mIoU(ms+flip)", "")
        assert model.settings["Batch Size"] == entry["Metadata"]["Batch Size"]
        assert model.backbone == entry["Metadata"]["Architecture"][0]
        weights = model.artifact("weights")
        assert weights is not None
        assert weights.digests[0].hex == re.findall(r"-([0-9a-f]{8})\.pth$", entry["Weights"])[0]
        if "160k" in entry["Weights"]:  # two entries call themselves 80k
            assert model.id == entry["Name"].replace("80k", "160k")
            assert model.settings["Iters"] == "160K"
        else:
            assert model.id == entry["Name"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "model: ocnet-3x3-resnet101-cityscapes",
            "model: ocnet-3x3-resnet102-cityscapes",
            'unknown model "ocnet',
        ),
        (
            "not_buildable: fixed-aux-width",
            "not_buildable: fixed-aux-with",
            'unknown reason "fixed-aux-with"',
        ),
        (
            "paper: ocrnet, not_buildable: no-backbone-code",
            "paper: ocrnett, not_buildable: no-backbone-code",
            'unknown paper "ocrnett"',
        ),
        (
            "protocol: ade20k-hrnet48-ms\n",
            "protocol: ade20k-hrnet48-mss\n",
            'unknown protocol "ade20k-hrnet48-mss"',
        ),
        (
            "protocol: lip-r101\n",
            "protocol: lip-r101\n          not_buildable: no-network-class\n",
            "a row with a network can be built",
        ),
        ("flip: true, flip_swap:", "flip_swap:", "flip_swap needs flip"),
        ("scale: [473, 473], resize: exact", "resize: exact", "resize exact needs a scale"),
        ("div_value: 255", "div_value: 0", "expected finite numbers above 0"),
    ],
)
def test_slips_are_named(old: str, new: str, message: str) -> None:
    text = default_path().read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(RegistryError) as caught:
        load_text(text.replace(old, new, 1), "r")
    assert message in str(caught.value)
