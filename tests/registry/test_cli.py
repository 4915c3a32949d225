"""list, info, tables and registry, through the command line."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bddzoo.registry import load_registry
from tests.cli.command import ROOT, assert_one_line, bddzoo
from tests.cli.inprocess import command as run
from tests.registry.facts import PUBLISHED, rows, tables
from tests.registry.test_errors import GOOD
from tests.support.terminal import on_a_terminal

HEAVY = ("torch", "numpy", "cv2", "rich", "requests", "tabulate", "mmengine")
MODEL = "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k"


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "--where", "mIoU-val > 62", "--sort", "mIoU-val", "--format", "md"],
        ["list", "--format", "csv"],
        ["list", "--format", "json"],
        ["info", MODEL],
        ["info", MODEL, "--format", "json"],
        ["tables"],
        ["tables", "--like", "upstream"],
        ["tables", "--check", "-o", "docs/zoo/vis4d-sem_seg.md"],
        ["registry", "check"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    """The commands that need no network must start at once."""
    code = (
        "import sys\nfrom bddzoo.cli.main import run\n"
        f"code = run({arguments!r})\n"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "assert not heavy, heavy\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "up to date" in done.stderr


def test_list_as_a_table() -> None:
    done = run("list", "--zoo", "bdd100k-models", "--task", "sem_seg", "--sort", "mIoU-val", "--reverse")
    assert done.code == 0
    header, _, first, *rest = done.out.splitlines()
    assert header.split() == ["model", "method", "backbone", "metric", "val", "test", "params"]
    assert first.split() == [
        "upernet_convnext-b_fp16_512x1024_80k_sem_seg_bdd100k",
        "ConvNeXt", "ConvNeXt-B", "mIoU", "67.26", "59.82", "122,002,086",
    ]  # fmt: skip
    assert len(rest) == 52
    assert "53 of" in done.err


def test_list_as_data() -> None:
    everything = json.loads(run("list", "--format", "json").out)
    published = [m for m in everything if m["zoo"] in PUBLISHED]
    assert len(published) == 337
    assert {row[3] for row in rows()} <= {m["id"] for m in published}
    one = next(m for m in everything if m["id"] == MODEL)
    assert one["reported"] == {"val": {"mIoU": 62.51}, "test": {"mIoU": 55.14}}
    assert one["settings"] == {"Iters": "40K", "Input": "512 * 1024"}
    assert one["params"] == 43_589_878
    empty = next(m for m in everything if m["id"] == "fcn-3x3-resnet101-lip")
    assert empty["reported"] == {"val": {"mIoU": None, "PixelACC": None}}
    assert (empty["params"], empty["not_buildable"]) == (56_803_264, None)
    odd = next(m for m in everything if m["id"] == "isa-wide-resnet38-lip")
    assert (odd["params"], odd["not_buildable"]["reason"]) == (None, "fixed-aux-width")


def test_list_as_csv_and_markdown() -> None:
    arguments = (
        "list",
        "--task",
        "ins_seg",
        "--columns",
        "id, lr schd ,AP-val,Box AP-test",
        "--zoo",
        "bdd100k*",
    )
    table = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv").out)))
    assert len(table) == 26
    assert table[0] == {
        "id": "mask_rcnn_r50_fpn_1x_ins_seg_bdd100k", "Lr schd": "1x", "AP-val": "16.24",
        "Box AP-test": "19.59",
    }  # fmt: skip
    lines = run(*arguments, "--format", "md").out.splitlines()
    assert lines[0] == "| id | Lr schd | AP-val | Box AP-test |"
    assert lines[1] == "| :-- | :-- | --: | --: |"
    assert len(lines) == 28


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["list", "--where", "mIuO-val > 3"], 2, ["no column 'mIuO-val'", "mIoU-val"]),
        (["list", "--where", "mIoU-val"], 2, ["cannot read the condition"]),
        (["list", "--sort", "nonsense-column"], 2, ["no column"]),
        (["list", "--columns", "id,methd"], 2, ["no column 'methd'", "method"]),
        (["list", "--task", "semseg"], 2, ["semseg"]),
        (["list", "--zoo", "vis5d"], 5, ["there is no zoo 'vis5d'", "did you mean", "vis4d"]),
        (["list", "--method", "Deeplab3"], 5, ["no model matches", "Deeplabv3"]),
        (["list", "nothing*"], 5, ["no model or zoo fits 'nothing*'"]),
        (["info", MODEL[:-1]], 5, ["no model", MODEL]),
        (["info"], 2, ["MODEL"]),
        (["tables", "--zoo", "vis5d"], 2, ["no tables of zoo 'vis5d'", "vis4d"]),
        (["tables", "--check", "-o", "none.md"], 5, ["cannot read the document none.md"]),
        (["tables", "--check", "-o", "pyproject.toml"], 2, ["has no block to render"]),
        (["tables", "--check", "-o", "x.md", "--zoo", "demo"], 2, ["markers"]),
        (["registry", "check", "none.yaml"], 5, ["cannot read the registry none.yaml"]),
        (["registry", "import", "pyproject.toml"], 2, ["no table found"]),
        (["--registry", "none.yaml", "list"], 5, ["cannot read the registry none.yaml"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_line(arguments: list[str], code: int, words: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    (error,) = done.errors
    assert all(word in error for word in words), error


def test_a_registry_with_typos_is_several_lines_with_places(tmp_path: Path) -> None:
    path = tmp_path / "typo.yaml"
    path.write_text(GOOD.replace("59.80", "59.8o").replace("engine: mmseg", "engin: mmseg"), encoding="utf-8")
    done = bddzoo("--registry", path, "list")
    assert done.returncode == 2
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: {path}:")
    assert 'engin: unknown key; did you mean "engine"?' in first
    assert second.endswith('one: reported.val.mIoU: expected a number between 0 and 100, got "59.8o"')


def test_a_registry_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(GOOD, encoding="utf-8")
    done = bddzoo("list", "--format", "json", env={"BDDZOO_REGISTRY": str(path)})
    assert [m["id"] for m in json.loads(done.stdout)] == ["one", "two"]
    path.write_text("schema: 1\nzoos: [", encoding="utf-8")
    assert_one_line(bddzoo("list", env={"BDDZOO_REGISTRY": str(path)}), 2, "other.yaml:2: YAML syntax")


def test_info_says_what_is_known_and_what_is_not() -> None:
    text = run("info", MODEL).out
    for part in (
        "https://arxiv.org/abs/1802.02611", "ECCV 2018", "Liang-Chieh Chen", "62.51", "55.14", "43,589,878",
        "424 state-dict entries", "ResNetV1c(depth=50", "DepthwiseSeparableASPPHead(", "into 1280 x 720",
        "size unknown; digest unknown (MD5 promised at https://dl.cv.ethz.ch/", "weights: unknown",
    ):  # fmt: skip
        assert part in text
    empty = run("info", "ocnet-hrnetv2-48-lip").out
    assert "mIoU-val        unknown" in empty
    assert "cannot be built  no-network-class: the zoo's repository has no class for this method" in empty
    assert "mean" not in empty
    lip = run("info", "openseg_lip_hrnet_w48_ocr").out
    for part in (
        "to exactly 473 x 473, cubic, as uint8",
        "BGR mean 0.485 0.456 0.406, std 0.229 0.224 0.225, of grey levels / 255",
        "averaged with the mirrored image, classes 14-15 16-17 18-19 swapped", "by OpenCV's cubic",
        "fills           ocr-hrnetv2-48-lip",
    ):  # fmt: skip
        assert part in lip
    assert "but 80000 iterations" in run("info", "openseg_cityscapes_hrnet_w48_ocr").out


def test_info_of_every_model() -> None:
    models = load_registry().models
    done = run("info", *[m.id for m in models])
    assert done.code == 0
    assert "None" not in done.out
    pages = json.loads(run("info", *[m.id for m in models], "--format", "json").out)
    assert [p["id"] for p in pages] == [m.id for m in models]
    assert pages[0]["artifacts"]["weights"]["digests"] == []
    assert pages[0]["network"]["parts"]["backbone"]["type"] == "ResNetV1c"


def test_tables_like_upstream() -> None:
    for zoo, task in (("vis4d", "sem_seg"), ("bdd100k-models", "ins_seg"), ("openseg.pytorch", "sem_seg")):
        out = run("tables", "--like", "upstream", "--zoo", zoo, "--task", task).out
        assert [line for line in out.split("\n") if line.startswith("|")] == [
            line for table in tables(zoo, task) for line in table
        ]


def test_tables_write_and_check(tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_text("# Doc\n\n<!-- bddzoo:tables zoo=vis4d -->\n<!-- /bddzoo:tables -->\n", encoding="utf-8")
    drifted = run("tables", "--check", "-o", path)
    assert drifted.code == 3
    assert drifted.out.startswith(f"--- {path} (as it is)")
    assert "+| Semantic FPN | [`semantic_fpn_r50_40k_bdd100k`]" in drifted.out
    assert len(drifted.errors) == 1
    assert run("tables", "-o", path).code == 0
    assert run("tables", "--check", "-o", path).code == 0
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("59.2", "59.3"), encoding="utf-8")
    assert run("tables", "--check", "-o", path, "-o", "docs/zoo/vis4d-sem_seg.md").code == 3
    assert path.read_text(encoding="utf-8") == text.replace("59.2", "59.3")  # a check never writes


PAGES = [ROOT / "docs" / "registry.md", *sorted((ROOT / "docs" / "zoo").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_our_pages_are_up_to_date(page: Path) -> None:
    done = run("tables", "--check", "-o", page)
    assert done.code == 0, done.out


def test_every_section_has_a_page() -> None:
    pages = {p.stem for p in (ROOT / "docs" / "zoo").glob("*.md")}
    assert pages == {f"{s.zoo.id}-{s.task}" for s in load_registry().sections if not s.zoo.synthetic}


def test_import_prints_a_registry(tmp_path: Path) -> None:
    document = tmp_path / "t.md"
    document.write_text(run("tables", "--like", "upstream", "--zoo", "vis4d").out, encoding="utf-8")
    done = run("registry", "import", document, "--zoo", "copy", "--task", "sem_seg")
    assert done.code == 0
    path = tmp_path / "copy.yaml"
    path.write_text(done.out, encoding="utf-8")
    again = run("--registry", path, "tables", "--like", "upstream", "--zoo", "copy")
    assert again.out == document.read_text(encoding="utf-8")


def test_completion_of_models_and_methods() -> None:
    done = bddzoo(
        env={"_BDDZOO_COMPLETE": "bash_complete", "COMP_WORDS": "bddzoo info dpt_", "COMP_CWORD": "2"}
    )
    if not done.stdout:  # run as a module, the program completes under the module's name
        done = bddzoo(
            env={
                "_PYTHON_M_BDDZOO_COMPLETE": "bash_complete",
                "COMP_WORDS": "bddzoo info dpt_",
                "COMP_CWORD": "2",
            }
        )
    assert "dpt_vit_512x1024_80k_sem_seg_bdd100k" in done.stdout


def test_the_guides_example_is_the_registrys_entry() -> None:
    from bddzoo.registry.edit import Editor
    from bddzoo.registry.reader import parse

    guide = (ROOT / "docs" / "registry.md").read_text(encoding="utf-8")
    example = guide.partition("```yaml\n")[2].partition("```")[0]
    (entry,) = parse(example, "docs/registry.md")
    editor = Editor((ROOT / "registry.yaml").read_text(encoding="utf-8"), "registry.yaml")
    assert entry == editor.model_data(entry["id"])


@pytest.mark.parametrize("columns", [60, 100, 150, 250])
def test_a_list_fits_the_terminal(columns: int) -> None:
    """On a terminal, columns are left out until the table fits; ids stay whole."""
    status, shown = on_a_terminal("list", "--task", "ins_seg", "--zoo", "bdd100k*", COLUMNS=str(columns))
    assert status == 0
    lines = shown.rstrip("\n").split("\n")
    assert len(lines) == 28
    assert max(len(line) for line in lines) <= columns
    assert [line.split()[0] for line in lines[2:]] == [row[3] for row in rows() if row[1] == "ins_seg"]
    assert ("params" in lines[0]) is (columns >= 150)


@pytest.mark.parametrize("arguments", [[], ["registry"]], ids=["bddzoo", "registry"])
def test_help_without_arguments_is_readable(arguments: list[str]) -> None:
    done = run(*arguments)
    text = done.err + done.out
    assert text.startswith("Usage: bddzoo")
    assert "\nExamples:\n" in text or "\n  Examples:\n" in text
