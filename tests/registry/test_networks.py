"""Architecture facts against the zoos' expanded configs."""

from __future__ import annotations

import hashlib
import json

import pytest
import yaml

from bddzoo.engines.registry_config import network_of
from bddzoo.errors import UsageError
from bddzoo.registry import Registry, load_text
from bddzoo.registry.problems import RegistryError
from tests.registry.facts import PUBLISHED, networks
from tests.registry.test_rows import LATER
from tests.shared import shared

NETWORKS = networks()


def test_every_row_of_the_bdd100k_zoos_has_a_network(registry: Registry) -> None:
    have = [
        m.id
        for m in registry.models
        if m.network is not None
        and m.zoo.id in PUBLISHED
        and m.network.engine != "openseg"
        and m.task not in LATER
    ]
    assert sorted(have) == sorted([*NETWORKS, "semantic_fpn_r50_40k_bdd100k"])
    assert len(have) == 80


@pytest.mark.parametrize("expected", NETWORKS.values(), ids=lambda n: n["id"])
def test_network(registry: Registry, expected: dict) -> None:
    model = registry.find(expected["id"])
    network, protocol, training = model.network, model.protocol, model.training
    assert network is not None
    assert protocol is not None
    assert training is not None
    assert (network.engine, network.arch, network.num_classes, network.align_corners) == (
        expected["engine"], expected["arch"], expected["classes"], expected["align"],
    )  # fmt: skip
    assert (network.params, network.entries) == (expected["params"], expected["entries"])
    assert sorted(network.parts) == expected["parts"]["roles"]
    canonical = json.dumps(network.parts, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(canonical.encode()).hexdigest() == expected["parts"]["sha256"]
    assert list(protocol.scale or ()) == expected["scale"]
    assert training.init == expected["init"]
    assert training.iters == expected.get("iters")
    assert training.fp16 == expected.get("fp16", False)
    assert training.multi_scale == expected.get("multi_scale", False)
    assert training.batch == expected.get("batch")


def test_protocols(registry: Registry) -> None:
    for model in registry.models:
        protocol = model.protocol
        if model.network is None or protocol is None or protocol.dataset != "bdd100k" or model.task in LATER:
            continue
        assert protocol.mean == (123.675, 116.28, 103.53)
        assert protocol.std == (58.395, 57.12, 57.375)
        assert not protocol.flip
        if model.task == "ins_seg":
            assert (protocol.float_resize, protocol.pad_divisor, protocol.mode) == (False, 32, "whole")
        else:
            assert (protocol.float_resize, protocol.pad_divisor) == (True, 1)
            slide = model.settings["Input"] == "769 * 769"
            assert (protocol.mode == "slide") is slide
            if slide:
                assert (protocol.crop, protocol.stride) == ((769, 769), (513, 513))


def test_vis4d_is_the_same_graph_as_fpn_r50(registry: Registry) -> None:
    ours = registry.find("semantic_fpn_r50_40k_bdd100k").network
    other = registry.find("fpn_r50_512x1024_40k_sem_seg_bdd100k").network
    assert ours is not None
    assert other is not None
    assert ours.engine == "vis4d"
    assert (ours.parts, ours.params, ours.entries) == (other.parts, 28_497_907, 390)


def test_parts_are_copies(registry: Registry) -> None:
    first = registry.find("fcn_r50-d8_769x769_40k_sem_seg_bdd100k").network
    second = registry.find("pspnet_r50-d8_512x1024_40k_sem_seg_bdd100k").network
    assert first is not None
    assert second is not None
    assert first.parts["backbone"] == second.parts["backbone"]
    assert first.parts["backbone"] is not second.parts["backbone"]
    assert first.parts["backbone"]["norm_cfg"] is not second.parts["backbone"]["norm_cfg"]


def test_numbers_in_parts_are_plain(registry: Registry) -> None:
    def walk(value: object) -> None:
        assert type(value) in (dict, list, str, int, float, bool, type(None))
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(inner)

    for model in registry.models:
        if model.network is not None:
            walk(model.network.parts)


def test_one_entry_is_short(registry: Registry) -> None:
    """A model like an existing one takes under 15 lines, its oddities apart; most take no more than ten."""
    assert registry.path is not None
    lines = registry.path.read_text(encoding="utf-8").split("\n")
    lengths = {}
    for start, line in enumerate(lines):
        name = line.partition("- id: ")[2]
        if name not in NETWORKS:
            continue
        indent = len(line) - len(line.lstrip()) + 2
        end = start + 1
        while end < len(lines) and lines[end].startswith(" " * indent):
            if lines[end].strip() in ("lint_ok:", "elsewhere:", "notes:"):
                break
            end += 1
        lengths[name] = end - start
    assert len(lengths) == 79
    assert sorted(lengths.values())[len(lengths) // 2] <= 10
    assert max(lengths.values()) < 15


def test_networks_of_poses_are_those_of_the_configs(registry: Registry) -> None:
    facts = yaml.load(shared("facts/model_facts2.yaml").read_text(), Loader=yaml.CSafeLoader)["pose"]
    assert len(facts["models"]) == 26
    for name, expected in facts["models"].items():
        model = registry.find(name)
        network, training = model.network, model.training
        assert network is not None
        assert training is not None
        assert network.parts == {
            "backbone": facts["backbones"][expected["backbone"]],
            "head": facts["heads"][expected["head"]],
            "test_cfg": facts["encodings"][expected["encoding"]],
        }
        assert (network.engine, network.arch) == ("mmpose", "TopDown")
        assert (network.params, network.entries) == (expected["params"], expected["state_dict_entries"])
        assert (training.init, training.batch) == (expected.get("pretrained_init"), facts["batch"]["total"])


def test_networks_that_cannot_run_are_known_all_the_same(registry: Registry) -> None:
    poses = [m for m in registry.models if m.task == "pose"]
    assert len(poses) == 26
    for model in poses:
        assert not model.runnable
        with pytest.raises(UsageError, match="cannot be built"):
            network_of(model)


def test_a_mistake_in_the_registry_is_the_only_one_that_is_told(registry: Registry) -> None:
    assert registry.path is not None
    text = registry.path.read_text(encoding="utf-8").replace("\nschema: 1\n", "\nschema: 1\nscheme: 1\n")
    with pytest.raises(RegistryError) as refused:
        load_text(text, "r.yaml")
    assert "scheme: unknown key" in str(refused.value)
    assert "IDSw" not in str(refused.value)
