"""Every row of the zoos' documents is in the registry, cell for cell."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from bddzoo.errors import MissingError
from bddzoo.registry import Registry
from tests.registry.facts import PUBLISHED, headed_tables, rows
from tests.shared import shared

METRICS = {
    "mIoU-val": ("val", "mIoU"),
    "mIoU-test": ("test", "mIoU"),
    "Mask AP-val": ("val", "AP"),
    "Box AP-val": ("val", "box_AP"),
    "Mask AP-test": ("test", "AP"),
    "Box AP-test": ("test", "box_AP"),
    "Train.  mIOU": ("train", "mIoU"),
    "Val. mIOU": ("val", "mIoU"),
    "Test. mIOU": ("test", "mIoU"),
    "PixelACC": ("val", "PixelACC"),
}
# Tasks whose cells are checked as whole lines (`tests.reports.test_upstream`).
LATER = ("det", "drivable", "pan_seg", "tagging", "pose", "mot", "mots")
LINKS = {
    ("Scores-val", "scores"): "scores-val",
    ("Scores-test", "scores"): "scores-test",
    ("Config", "config"): "config",
    ("Weights", "model"): "weights",
    ("Preds", "preds"): "preds",
    ("Preds", "masks"): "masks",
    ("Visuals", "visuals"): "visuals",
}


def test_all_rows_in_published_order(registry: Registry) -> None:
    published = [m for m in registry.models if m.zoo.id in PUBLISHED]
    later = [m for m in published if m.task in LATER]
    assert [(m.zoo.id, m.task, m.method.name, m.id) for m in published if m.task not in LATER] == [
        row[:4] for row in rows()
    ]
    expected = [
        (task, heading, re.findall(r"/models/([^/]+)\.pth\)", line)[0])
        for task in LATER
        for heading, lines in headed_tables("bdd100k-models", task)
        for line in lines[2:]
    ]
    assert [(m.task, m.method.name, m.id) for m in later] == expected
    assert (len(published), len(later)) == (156 + 181, 181)
    assert sum(m.zoo.id == "bdd100k-models" for m in published) == 260


def test_former_names_lead_to_their_models(registry: Registry) -> None:
    former = {name: m for m in registry.models for name in m.former_ids}
    assert len(former) == 14
    for name, model in former.items():
        assert registry.find(name) is model
        assert registry.select([name]) == [model]
    with pytest.raises(MissingError):
        registry.find("libra_faster_r50_fpn_2x_det_bdd100k")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[3])
def test_cells(registry: Registry, row: tuple) -> None:
    _, _, _, model_id, cells = row
    model = registry.find(model_id)
    settings = {}
    for column, content in cells.items():
        if column in METRICS:
            entry = next(r for r in model.reported if r.column == column)
            assert (entry.split, entry.metric) == METRICS[column]
            # The text of the number, so that 59.80 stays 59.80.
            assert ("" if entry.value is None else str(entry.value)) == content.strip("-")
        elif isinstance(content, list):
            for text in content:
                if text == "MD5":
                    weights = model.artifact("weights")
                    assert weights is not None
                    assert weights.digest_url == weights.sources[0].removesuffix(".pth") + ".md5"
                else:
                    assert model.artifact(LINKS[column, text]) is not None
        elif column in ("Backbone", "Base Network"):
            assert model.backbone == content
        else:
            settings[column] = content
    assert dict(model.settings) == settings
    wanted = {
        LINKS[c, t] for c, texts in cells.items() if isinstance(texts, list) for t in texts if t != "MD5"
    }
    assert {a.kind for a in model.artifacts} == wanted


def test_reported_numbers_are_decimals(registry: Registry) -> None:
    values = [r.value for m in registry.models for r in m.reported if r.value is not None]
    assert len(values) >= 2 * 53 + 4 * 26 + 1
    assert all(type(v) is Decimal for v in values)
    assert str(registry.find("fcn_r50-d8_512x1024_40k_sem_seg_bdd100k").reported_value("mIoU")) == "59.80"
    assert str(registry.find("semantic_fpn_r50_40k_bdd100k").reported_value("mIoU")) == "59.2"


def test_zoo_without_numbers_reports_none(registry: Registry) -> None:
    models = [m for m in registry.models if m.zoo.id == "openseg.pytorch"]
    assert len(models) == 76
    assert all(r.value is None for m in models for r in m.reported)
    assert all(m.protocol is not None and m.protocol.dataset for m in models)
    assert {m.protocol.dataset for m in models if m.protocol} == {
        "cityscapes", "ade20k", "lip", "pascal_voc", "pascal_context", "coco_stuff",
    }  # fmt: skip
    assert {m.method.name for m in models if m.protocol and m.protocol.flip} == {"LIP"}


def test_links_to_nowhere_have_no_source(registry: Registry) -> None:
    model = registry.find("semantic_fpn_r50_40k_bdd100k")
    assert {a.kind for a in model.artifacts if not a.sources} == {
        "weights", "scores-val", "scores-test", "preds", "visuals",
    }  # fmt: skip


def test_configs_are_pinned_where_they_exist(registry: Registry) -> None:
    for model in registry.models:
        config = model.artifact("config")
        if config is None or model.zoo.id not in PUBLISHED or model.task in ("mot", "mots"):
            continue
        commit = "v1.1.0" if "_32bs_" in model.id else model.zoo.commit
        assert config.page is not None
        assert f"/blob/{commit}/" in config.page
        assert f"/{commit}/" in config.sources[0]
        assert config.page.endswith(f"/{model.id}.py")


def test_every_method_of_a_paper_zoo_has_its_paper(registry: Registry) -> None:
    for section in registry.sections:
        if section.zoo.id in ("bdd100k-models", "vis4d"):
            for method in section.methods:
                assert method.paper is not None
                assert method.paper.url
                assert method.venue
                assert method.authors


def test_repaired_author_name(registry: Registry) -> None:
    authors = [a.name for a in registry.section("vis4d", "sem_seg").methods[0].authors]
    assert authors[-1] == "Piotr Dollár"
    marks = {
        a.name: a.mark for a in registry.find("psanet_r50-d8_512x1024_40k_sem_seg_bdd100k").method.authors
    }
    assert marks["Hengshuang Zhao"] == marks["Yi Zhang"] == "*"
    assert marks["Shu Liu"] == ""


def test_methods_against_the_documents(registry: Registry) -> None:
    """Title, venue, paper link, authors with links, and code link, against a reading of the documents."""
    import json

    inventory = json.loads(shared("facts/seed_inventory.json").read_text(encoding="utf-8"))
    for seed in inventory["seeds"].values():
        section = registry.section(seed["zoo"], seed["task"])
        assert [m.name for m in section.methods] == [m["heading"] for m in seed["methods"]]
        for method, expected in zip(section.methods, seed["methods"], strict=True):
            paper = expected.get("paper")
            if not paper:
                assert method.paper is None
                assert method.caption == expected["protocol"]
                continue
            assert method.paper is not None
            assert (method.paper.title, method.paper.url, method.venue) == (
                paper["title"], paper["url"], paper["venue"],
            )  # fmt: skip
            got = [(a.name + a.mark.replace("*", "\\*"), a.url) for a in method.authors]
            want = [(a["name"].replace("Doll√°r", "Dollár"), a["url"]) for a in expected["authors"]]
            assert got == want
            code = [c["url"] for c in expected["code_links"] if c["text"] == "Code"]
            assert ([method.code.url] if method.code else []) == code


def test_numbers_from_elsewhere_stay_beside_the_rows(registry: Registry) -> None:
    found = {
        (m.id, str(number.value)): other
        for m in registry.models
        if m.zoo.id in PUBLISHED
        for other in m.elsewhere
        for number in other.reported
    }
    assert {value for _, value in found} == {
        "64.03", "63.12", "79.49", "79.55", "79.63", "81.09", "44.62", "46.19", "56.72", "55.11",
        "39.61", "40.20",
    }  # fmt: skip
    assert all(other.url and other.source for other in found.values())
    # Where iterations or the way of testing differ from the row's, the entry says so.
    differing = {value for (_, value), other in found.items() if other.protocol_differs}
    assert differing == {"81.09", "44.62", "46.19", "55.11", "39.61", "40.20"}
    assert registry.find("ccnet_r101-d8_512x1024_80k_sem_seg_bdd100k").reported_value("mIoU") == Decimal(
        "60.44"
    )
    assert registry.find("ocr-hrnetv2-48-lip").reported_value("mIoU") is None
