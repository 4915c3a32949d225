"""Rules find the irregularities that are known, and those that one makes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from bddzoo.registry import Registry, default_path, load_text
from bddzoo.registry.lint import RULES, Finding, lint, located, open_findings
from tests.cli.inprocess import command
from tests.registry.facts import PUBLISHED
from tests.registry.test_rows import LATER

TEXT = default_path().read_text(encoding="utf-8")
BS32 = {
    f"{stem}_32bs_ins_seg_bdd100k"
    for stem in (
        "mask_rcnn_r50_fpn_1x", "mask_rcnn_r50_fpn_3x", "mask_rcnn_r101_fpn_3x",
        "cascade_mask_rcnn_r50_fpn_1x", "cascade_mask_rcnn_r50_fpn_3x",
        "mask_rcnn_r50_fpn_dconv_1x", "mask_rcnn_r50_fpn_dconv_3x", "mask_rcnn_r101_fpn_dconv_3x",
    )
}  # fmt: skip
SEM = "_sem_seg_bdd100k"
INS = "_ins_seg_bdd100k"
# The irregularities of the documents that a rule can find, by code.
KNOWN: dict[str, set[str]] = {
    "GAP01": {f"ccnet_r101-d8_512x1024_80k{SEM}", f"dnl_r101-d8_512x1024_80k{SEM}"},
    "OLD01": {f"ccnet_r101-d8_512x1024_80k{SEM}", f"dnl_r101-d8_512x1024_80k{SEM}"},
    "GAP02": {
        f"ccnet_r101-d8_512x1024_80k{SEM}", f"dnl_r101-d8_512x1024_80k{SEM}",
        f"cascade_mask_rcnn_r101_fpn_3x{INS}", f"mask_rcnn_r101_fpn_dconv_3x_32bs{INS}",
    },
    "MON01": {
        f"nonlocal_r50-d8_512x1024_80k{SEM}", f"fpn_r50_gn_dconv_512x1024_80k{SEM}",
        f"pointrend_r50_512x1024_80k{SEM}", f"cascade_mask_rcnn_r50_fpn_3x{INS}",
        f"cascade_mask_rcnn_r50_fpn_3x_32bs{INS}",
    },
    "MON03": {f"upernet_swin-s_fp16_512x1024_80k{SEM}"},
    "DUP01": {
        f"apcnet_r50-d8_512x1024_80k{SEM}", f"upernet_vit-b_512x1024_80k{SEM}",
        "semantic_fpn_r50_40k_bdd100k",
    },
    "NUM01": {"semantic_fpn_r50_40k_bdd100k"},
    "NIL01": {"semantic_fpn_r50_40k_bdd100k"},
    "CFG02": BS32,
    "ARC01": {
        f"mask_rcnn_{r}_fpn_dconv_{s}{INS}"
        for r, s in (("r50", "1x"), ("r50", "3x"), ("r101", "3x"), ("r50", "1x_32bs"), ("r50", "3x_32bs"),
                     ("r101", "3x_32bs"))
    },
    "ARC02": {f"upernet_r50-d8_{size}_40k{SEM}" for size in ("769x769", "512x1024")},
    "ARC03": {
        f"cascade_mask_rcnn_{name}{INS}" for name in ("r50_fpn_3x", "r101_fpn_3x", "r50_fpn_3x_32bs")
    },
    "ARC04": {f"fpn_r50_{name}_512x1024_{k}k{SEM}" for name in ("gn", "gn_dconv") for k in (40, 80)},
    "ARC05": {
        f"bdd100k-models sem_seg {name}"
        for name in ("HRNet", "Vision Transformer", "DeiT", "Swin Transformer", "ConvNeXt")
    } | {f"bdd100k-models ins_seg {name}" for name in ("Deformable ConvNets v2", "GCNet", "HRNet")},
    "ID01": {f"dpt_vit_512x1024_80k{SEM}"},
    "ID03": {
        f"deeplabv3+_{name}{SEM}"
        for name in ("r50-d8_769x769_40k", "r50-d8_512x1024_40k", "r50-d8_512x1024_80k",
                     "r101-d8_512x1024_80k")
    },
    "TRN01": {
        f"{name}_512x1024_80k{SEM}" for name in ("upernet_vit-b", "upernet_deit-s", "dpt_vit")
    },
    "PAP01": {"paper cascade-rcnn"},
    "PAP02": {"paper psanet"},
    "COD01": {"vis4d sem_seg Semantic FPN"},
    "COD02": {
        "bdd100k-models sem_seg HRNet", "bdd100k-models ins_seg HRNet", "bdd100k-models ins_seg Mask R-CNN",
        "bdd100k-models sem_seg Deeplabv3+",
    },
}  # fmt: skip

# What a reading of the other seven documents and of their configs found, by code.
KNOWN_LATER: dict[str, set[str]] = {
    "ARC01": {
        f"faster_rcnn_{r}_fpn_dconv_{s}_det" for r, s in (("r50", "1x"), ("r50", "3x"), ("r101", "3x"))
    },
    "ARC02": {f"upernet_r50-d8_{size}_40k_drivable" for size in ("769x769", "512x1024")},
    "ARC08": {"cascade_rcnn_convnext-s_fpn_fp16_3x_det"},
    "COL03": {f"cascade_rcnn_swin-{size}_fpn_fp16_3x_det" for size in "sb"},
    "CFG03": {f"retinanet_{name}_fpn_3x_det" for name in ("pvt-s", "pvtv2-b1", "pvtv2-b2")},
    "URL02": {"qdtrack-frcnn_r50_fpn_12e_mot", "pcan-frcnn_r50_fpn_12e_mots"},
    "CFG02": {"qdtrack-frcnn_r50_fpn_12e_mot", "pcan-frcnn_r50_fpn_12e_mots"},
    "MON04": {"faster_rcnn_swin-t_fpn_3x_strong_det", "fcos_tricks_r50_fpn_1x_det"},
}


@pytest.fixture(scope="module")
def found(registry: Registry) -> list[Finding]:
    return lint(registry)


def published(registry: Registry, found: list[Finding]) -> list[Finding]:
    """Findings in the four first documents, without those in zoos that were added to compare with them."""
    later = [z.id for z in registry.zoos if z.id not in PUBLISHED and not z.synthetic]
    names = {m.id for m in registry.models if m.zoo.id in later or m.task in LATER}
    places = (*later, *(f"bdd100k-models {task}" for task in LATER))
    return [
        f
        for f in found
        if f.subject.name not in names and not any(f.subject.name.startswith(f"{p} ") for p in places)
    ]


def test_known_irregularities_of_the_later_documents(registry: Registry, found: list[Finding]) -> None:
    rows = {m.id: m for m in registry.models if m.task in LATER}
    here: dict[str, set[str]] = {}
    for finding in found:
        if finding.subject.name in rows:
            here.setdefault(finding.code, set()).add(finding.subject.name)
    for code, names in KNOWN_LATER.items():
        assert here[code] == {f"{name}_bdd100k" for name in names}, code
    headings = ("HRNet", "Swin Transformer", "Pyramid Vision Transformer", "Pyramid Vision Transformer v2")
    sixteen = {m.id for m in rows.values() if m.task == "det" and m.method.name in headings}
    assert here["COL04"] == sixteen
    assert len(sixteen) == 22
    assert not {"URL01", "COL01", "COL02", "COL05", "COL06", "NUM01", "NIL01"} & set(here)


@pytest.mark.parametrize("code", KNOWN)
def test_known_irregularities(registry: Registry, found: list[Finding], code: str) -> None:
    assert {f.subject.name for f in published(registry, found) if f.code == code} == KNOWN[code]


def test_what_the_zoos_never_published(registry: Registry, found: list[Finding]) -> None:
    counts = Counter(f.code for f in published(registry, found))
    assert counts["DIG01"] == counts["SIZ01"] == counts["LIC01"] == 79
    assert counts["NIL02"] == counts["NIL03"] == counts["CFG01"] == 76
    http = [f for f in found if f.code == "PAP04"]
    assert {f.subject.name for f in http} >= {"paper fcn", "paper ccnet", "paper mask-rcnn"}
    unlinked = {f.subject.name for f in found if f.code == "PAP05"}
    assert unlinked >= {
        "paper fcn",
        "paper apcnet",
        "paper hrnet",
        "paper vit",
        "paper deit",
        "paper qdtrack",
    }
    assert "paper pspnet" not in unlinked


def test_everything_is_acknowledged_with_a_reason(found: list[Finding]) -> None:
    assert open_findings(found) == []
    assert all(f.reason for f in found)


def test_nothing_that_agrees_is_found(registry: Registry, found: list[Finding]) -> None:
    """The columns, ids and configs of the real rows agree; the rules that say so are tried below."""
    assert not {f.code for f in published(registry, found)} & {
        "URL01",
        "URL02",
        "COL01",
        "COL02",
        "COL03",
        "COL04",
        "COL05",
        "COL06",
    }


TRAINING = "          training"
FCN = "        - id: fcn_r50-d8_512x1024_40k_sem_seg_bdd100k\n"
MASK = "        - id: mask_rcnn_r50_fpn_1x_32bs_ins_seg_bdd100k\n"
SLIDE = "        - id: fcn_r50-d8_769x769_40k_sem_seg_bdd100k\n"
SWIN = "        - id: upernet_swin-b_fp16_512x1024_80k_sem_seg_bdd100k\n"
GN = "        - id: fpn_r50_gn_512x1024_40k_sem_seg_bdd100k\n"


def around(row: str) -> tuple[str, str, str]:
    """The registry's text before an entry, the entry, and what follows."""
    start = TEXT.index(row)
    end = TEXT.index("        - id:", start + 10)
    return TEXT[:start], TEXT[start:end], TEXT[end:]


@pytest.mark.parametrize(
    ("code", "row", "old", "new"),
    [
        ("COL01", FCN, "Iters: 40K", "Iters: 80K"),
        ("COL01", FCN, "iters: 40000", "iters: 80000"),
        ("COL02", FCN, "Input: 512 * 1024", "Input: 769 * 769"),
        ("COL02", FCN, "crop: [512, 1024]", "crop: [769, 769]"),
        ("COL02", FCN, TRAINING, "          protocol: bdd100k-sem_seg-slide769\n" + TRAINING),
        ("COL03", SWIN, "FP16: ✓, ", ""),
        ("COL03", SWIN, "            fp16: true\n", ""),
        ("COL04", MASK, "Batch Size: 32", "Batch Size: 16"),
        ("COL04", MASK, "batch: 32, ", ""),
        ("COL05", MASK, "Lr schd: 1x", "Lr schd: 3x"),
        ("COL05", MASK, "schedule: sgd-1x", "schedule: sgd-3x"),
        ("COL06", GN, "GN: ✓, ", ""),
        ("ARC03", MASK, "Lr schd: 1x", "Lr schd: 1x, MS-train: ✓"),
        ("ARC02", FCN, "resnetv1c50_d8", "resnetv1c50_s32"),
        ("ARC06", FCN, "params: 49497734, ", ""),
        ("GAP01", FCN, "test: {mIoU: 53.06}", "test: {mIoU: 43.06}"),
        ("NUM01", FCN, "mIoU: 59.80", "mIoU: 59.8"),
        ("NUM02", FCN, "val: {mIoU: 59.80}, ", ""),
        ("DUP01", FCN, "mIoU: 59.80", "mIoU: 62.51"),
        ("ID01", FCN, "backbone: R-50-D8", "backbone: R-101-D8"),
        ("NIL01", FCN, TRAINING, "          artifacts: {weights: {sources: []}}\n" + TRAINING),
        ("URL01", FCN, TRAINING,
         "          artifacts: {weights: {sources: ['https://dl.cv.ethz.ch/bdd100k/sem_seg/models/"
         "fcn_r50-d8_769x769_40k_sem_seg_bdd100k.pth']}}\n" + TRAINING),
        ("URL02", FCN, TRAINING,
         "          artifacts: {weights: {sources: ['https://example.org/other.pth']}}\n" + TRAINING),
        ("URL03", FCN, TRAINING,
         "          artifacts: {scores-val: {sources: ['https://dl.cv.ethz.ch/bdd100k/sem_seg/scores-test/"
         "fcn_r50-d8_512x1024_40k_sem_seg_bdd100k.json']}}\n" + TRAINING),
        ("PRO01", SLIDE, "protocol: bdd100k-sem_seg-slide769", "protocol: bdd100k-sem_seg-whole"),
        ("ARC07", FCN, "resnetv1c50_d8", "resnetv1c101_d8"),
        ("COL04", MASK, "Batch Size: 32", "Batch Size: many"),
        ("SIZ02", FCN, TRAINING, "          artifacts: {weights: {size: 5}}\n" + TRAINING),
        ("ACK01", FCN, TRAINING, "          lint_ok: {COL01: no reason}\n" + TRAINING),
        ("ACK01", FCN, TRAINING, "          lint_ok: {COL99: no reason}\n" + TRAINING),
    ],
    ids=lambda value: value.strip()[:20],
)  # fmt: skip
def test_a_made_irregularity_is_found(code: str, row: str, old: str, new: str) -> None:
    before, entry, after = around(row)
    assert old in entry
    fresh = open_findings(lint(load_text(before + entry.replace(old, new, 1) + after, "registry.yaml")))
    assert code in {f.code for f in fresh}, fresh


@pytest.mark.parametrize(
    ("size", "number", "wrong"),
    [(1000, "59.80", None), (1001, "59.80", "the size (1001 and 1000 bytes)"), (1000, "59.81", "mIoU-val")],
)
def test_the_same_weights_under_two_models(size: int, number: str, wrong: str | None) -> None:
    """Aliases may be; another size, or another number by the same protocol, is a mistake in one of them."""
    before, entry, after = around(FCN)
    digest = f"sha256:{'ab' * 32} observed"

    def row(size: int) -> str:
        files = f"          artifacts: {{weights: {{size: {size} observed, digests: ['{digest}']}}}}\n"
        return entry.replace(TRAINING, files + TRAINING, 1)

    alias = (
        row(size).replace("- id: fcn_r50", "- id: alias_fcn_r50", 1).replace("mIoU: 59.80", f"mIoU: {number}")
    )
    changed = load_text(before + row(1000) + alias + after, "registry.yaml")
    found = [f for f in lint(changed) if f.code == "DIG02"]
    assert [f.subject.name.startswith("alias_") for f in found] == [True] * (wrong is not None)
    assert all(str(wrong) in f.message for f in found)


def test_an_acknowledgement_covers_what_is_under_it() -> None:
    without = TEXT.replace(
        "    DIG01: each row links a .md5 file whose content nobody has recorded yet\n", ""
    )
    fresh = open_findings(lint(load_text(without, "r")))
    assert {f.code for f in fresh} == {"DIG01"}
    assert len(fresh) == 260


def test_lines_of_findings(registry: Registry, found: list[Finding]) -> None:
    lines = TEXT.split("\n")
    places = located(registry, found)
    assert [p.line for p in places] == sorted(p.line for p in places)
    for place in places:
        name = place.finding.subject.name
        if name in registry.by_id:
            assert f"id: {name}" in lines[place.line - 1]


def test_lint_command(tmp_path: Path) -> None:
    clean = command("registry", "lint")
    assert (clean.code, clean.out) == (0, "")
    assert "0 open" in clean.err
    path = tmp_path / "r.yaml"
    path.write_text(TEXT.replace("mIoU: 59.80", "mIoU: 59.8", 1), encoding="utf-8")
    done = command("registry", "lint", path)
    assert done.code == 3
    assert f"{path}:{TEXT[: TEXT.index(FCN)].count(chr(10)) + 1}: NUM01 fcn_r50-d8_512x1024_40k" in done.out
    data = json.loads(command("registry", "lint", path, "--format", "json", "--code", "NUM01", "--all").out)
    assert [(f["subject"], f["acknowledged"] is None) for f in data if f["subject"].endswith("bdd100k")] == [
        ("fcn_r50-d8_512x1024_40k_sem_seg_bdd100k", True),
        ("semantic_fpn_r50_40k_bdd100k", False),
    ]
    rules = command("registry", "lint", "--rules").out.splitlines()[2:]  # below the head and its rule
    assert [line.split()[0] for line in rules] == list(RULES)
    wrong = command("registry", "lint", "--code", "NUM1")
    assert (wrong.code, len(wrong.errors)) == (2, 1)


def test_exported_schema_is_up_to_date_and_right() -> None:
    out = command("registry", "schema").out
    assert out == (default_path().parent / "registry.schema.json").read_text(encoding="utf-8")
    schema = json.loads(out)
    model = schema["$defs"]["ModelDoc"]
    assert model["additionalProperties"] is False
    assert model["required"] == ["id", "backbone"]
    assert schema["required"] == ["schema"]
    assert '"format": "decimal"' not in out


def test_registry_follows_the_exported_schema() -> None:
    """A validator of its own agrees with our loader on the real file, and on a broken one."""
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    import yaml

    schema = json.loads((default_path().parent / "registry.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    data = yaml.safe_load(TEXT)
    # A number that YAML 1.1 reads as text, and keys that it reads as numbers, are not the schema's business.
    assert [e.json_path for e in validator.iter_errors(data)] == []
    data["zoos"][0]["tasks"]["sem_seg"]["methods"][0]["models"][0]["bakbone"] = "x"
    assert [e.validator for e in validator.iter_errors(data)] == ["additionalProperties"]
