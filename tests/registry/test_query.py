"""Finding, filtering and sorting models."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bddzoo.errors import MissingError, UsageError
from bddzoo.registry import Registry
from bddzoo.registry.query import check_column, column, quantity, sort_models
from tests.registry.facts import PUBLISHED, rows

# Of the documents whose rows `rows` has.
TASKS = ("sem_seg", "ins_seg")


def test_find(registry: Registry) -> None:
    assert registry.find("mask_rcnn_r50_fpn_1x_ins_seg_bdd100k").method.name == "Mask R-CNN"
    with pytest.raises(MissingError) as caught:
        registry.find("mask_rcnn_r50_fpn_1x_ins_seg_bdd100")
    assert "did you mean mask_rcnn_r50_fpn_1x_ins_seg_bdd100k" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({"zoo": "bdd100k-models"}, 260),
        ({"zoo": "openseg.pytorch"}, 76),
        ({"zoo": "openseg*"}, 96),
        ({"zoo": "mmsegmentation", "where": ["paper = isanet"]}, 16),
        ({"zoo": "mmsegmentation", "where": ["paper = ocrnet"]}, 24),
        ({"where": ["not-buildable = *"], "task": "sem_seg"}, 19),
        ({"where": ["not-buildable = no-backbone-code"], "task": "sem_seg"}, 4),
        ({"where": ["not-buildable = no-network-class"], "task": "sem_seg"}, 6),
        ({"where": ["not-buildable = fixed-aux-width"]}, 6),
        ({"where": ["fills = ocr-hrnetv2-48-lip"]}, 3),
        ({"where": ["engine = openseg"], "zoo": "openseg.pytorch"}, 57),
        ({"task": "ins_seg", "zoo": "bdd100k-models"}, 26),
        ({"method": "semantic fpn", "zoo": "bdd100k-models", "task": "sem_seg"}, 6),
        ({"method": "deeplabv3", "task": "sem_seg"}, 4),
        ({"method": "deeplabv3*", "task": "sem_seg"}, 8),
        ({"backbone": "R-101-*", "task": "sem_seg", "zoo": "bdd100k-models"}, 5),
        ({"patterns": ["*_32bs_*"]}, 8),
        ({"patterns": ["vis4d", "dpt_*"]}, 2),
        ({"patterns": ["deeplabv3+_*"], "task": "sem_seg"}, 4),
        ({"where": ["mIoU-val > 66", "dataset = bdd100k"], "task": "sem_seg"}, 2),
        ({"where": ["mIoU-val >= 66.13", "params < 100M", "dataset = bdd100k"], "task": "sem_seg"}, 1),
        ({"where": ["Mask AP-val > 22"]}, 2),
        ({"where": ["AP-val>22"]}, 2),
        ({"where": ["BS != 16"], "zoo": "openseg.pytorch", "method": "ADE20K"}, 0),
        ({"where": ["engine = vis4d"]}, 1),
        ({"where": ["dataset = lip"], "zoo": "openseg.pytorch"}, 12),
    ],
)  # fmt: skip
def test_select(registry: Registry, arguments: dict, count: int) -> None:
    found = registry.select(**arguments)
    if arguments.get("zoo") is None:
        found = [m for m in found if not m.zoo.synthetic]
    assert len(found) == count


@pytest.mark.parametrize(
    ("condition", "name", "texts"),
    [
        ("Iters = 80K", "Iters", {"80K"}),
        ("iters = 80000", "Iters", {"80K"}),
        ("iters == 4W", "Iters", {"4W", "40K"}),
        ("MS-train = ✓", "MS-train", {"✓"}),
        ("Input = 769*", "Input", {"769 * 769"}),
        ("Lr schd = 3x", "Lr schd", {"3x"}),
    ],
)
def test_settings_against_the_rows(registry: Registry, condition: str, name: str, texts: set) -> None:
    expected = [row[3] for row in rows() if row[4].get(name) in texts]
    found = [m.id for m in registry.select(where=[condition]) if m.zoo.id in PUBLISHED and m.task in TASKS]
    assert expected
    assert found == expected


@pytest.mark.parametrize(
    "condition", ["mIoU-val", "> 3", "mIoU-val > ", "mIoU-val > big", "mIuO-val > 3", ""]
)
def test_bad_conditions(registry: Registry, condition: str) -> None:
    with pytest.raises(UsageError):
        registry.select(where=[condition])


def test_unknown_column_names_near_ones(registry: Registry) -> None:
    with pytest.raises(UsageError) as caught:
        check_column("mIuO-val", registry.models)
    assert "mIoU-val" in (caught.value.hint or "")
    assert check_column("miou-VAL", registry.models) == "mIoU-val"


@pytest.mark.parametrize(
    ("text", "number"),
    [("40K", 40_000), ("4W", 40_000), ("100M", 100_000_000), ("59.80", Decimal("59.80")), ("1x", None),
     ("", None), (7, 7), (None, None)],
)  # fmt: skip
def test_quantity(text: object, number: object) -> None:
    assert quantity(text) == number  # type: ignore[arg-type]


def test_sort_puts_the_unknown_last_both_ways(registry: Registry) -> None:
    models = registry.select(task="sem_seg", where=())
    for reverse in (False, True):
        ordered = sort_models(models, "mIoU-val", reverse)
        values = [column(m, "mIoU-val") for m in ordered]
        known = [v for v in values if v is not None]
        assert known == sorted(known, reverse=reverse)
        assert all(v is None for v in values[len(known) :])
        assert len(ordered) == len(models)
    by_name = [m.backbone.lower() for m in sort_models(models, "backbone")]
    assert by_name == sorted(by_name)
