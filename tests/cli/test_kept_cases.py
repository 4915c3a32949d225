# ruff: noqa: E501 - a case a line
"""Inputs after reports from the field, and hostile ones, each with what is right of it: one table.

The inputs are large or hostile and do not travel; the kinds that they are of are tested without them.
"""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import pytest

from tests.cli.command import environment
from tests.shared import shared
from tests.support.forked import command_line, run_forked

DEMO = "demo_semfpn_r18n_sem_seg"
CONVERT = ("convert", DEMO, "--to", "safetensors", "-o", "out.safetensors", "--weights")
LABELS = ("convert-labels", "-o", "out")
SCORE = ("score", "-t", "sem_seg")
CHECK = ("data", "check", "--task", "sem_seg", "--split", "val", "--data")

# Folder, command, exit status, and words of what is said.
CASES: list[tuple[str, tuple[str, ...], int, str]] = [
    ("fieldcases/01-convert-labels-polygons", (*LABELS, "-t", "sem_seg", "-l", "sem_seg_val.json", "--to", "masks"), 0, "1 frame"),
    ("fieldcases/01-convert-labels-polygons", (*LABELS, "-t", "ins_seg", "-l", "ins_seg_val.json", "--to", "coco"), 0, "1 frame"),
    ("fieldcases/03-pack-boxes-as-instances", ("pack", "-t", "ins_seg", "-r", "det_val.json", "--count", "1", "-o", "o.zip"), 5, "not of ins_seg"),
    ("fieldcases/05-eval-reproduced-on-labels-of-no-class", (*SCORE, "-g", "gt20", "-r", "pred"), 5, "of no class"),
    ("fieldcases/05-eval-reproduced-on-labels-of-no-class", (*SCORE, "-g", "gt19", "-r", "pred"), 5, "of no class"),
    *(("fieldcases/07-data-check-refuses-what-eval-reads", (*CHECK, name), 0, "partial")
      for name in ("motion_photo", "newline", "webp", "webp_named_jpg")),
    *(("fieldcases/10-coco-huge-coordinates", (*LABELS, "-t", "ins_seg", "-l", name, "--to", "bitmasks"), 5, "far outside")
      for name in ("huge.json", "huger.json")),
    ("fieldcases/13-coco-windows-paths", (*LABELS, "-t", "ins_seg", "-l", "win.json", "--to", "bitmasks"), 0, "1 frame"),
    ("fieldcases/15-coco-error-leaves-files", (*LABELS, "-t", "ins_seg", "-l", "dup.json", "--to", "bitmasks"), 5, "called a"),
    ("fieldcases/17-files-of-other-kinds-are-taken-for-json", (*SCORE, "-g", "gt", "-r", "upper"), 0, "100.00"),
    *(("fieldcases/17-files-of-other-kinds-are-taken-for-json", (*SCORE, "-g", "gt", "-r", name), 5, "neither")
      for name in ("jpg", "npy", "notes.py", "zipinzip.zip")),
    ("fieldcases/19-attributes-null-and-2018-files", (*SCORE, "-g", "gt", "-r", "pred", "--by", "weather", "--attributes", "null.json"), 0, "unknown"),
    ("fieldcases/19-attributes-null-and-2018-files", (*SCORE, "-g", "gt", "-r", "pred", "--by", "weather", "--attributes", "twice.json"), 5, "more than once"),
    ("fieldcases/19-attributes-null-and-2018-files", (*SCORE, "-g", "gt", "-r", "pred", "--by", "weather", "--attributes", "per_image"), 0, "clear"),
    ("fieldcases/20-json-with-bom", (*SCORE, "-g", "plain.json", "-r", "bom.json"), 0, "100.00"),
    ("fieldcases/20-json-with-bom", (*SCORE, "-g", "plain.json", "-r", "utf16.json"), 5, "UTF-16"),
    ("fieldcases/23-seg-folder-of-2018", (*CHECK, "bdd100k"), 0, "partial"),
    ("fieldcases/23-seg-folder-of-2018", (*SCORE, "-g", "bdd100k/seg/labels/val", "-r", "pred"), 0, "100.00"),
    *(("attackcases/04-tensors-larger-than-file", (*CONVERT, name), 6, words)
      for name, words in (("expanded.pth", "larger than"), ("expanded_1e9.pth", "larger than"), ("zip_bomb_1.2GB.pth", "unpack"))),
    *(("attackcases/05-pickle-keys-hang-and-crash", (*CONVERT, name), 6, "not a checkpoint")
      for name in ("deep_tuple_key.pth", "laugh_key.pth", "laugh_key_24.pth")),
    *(("attackcases/06-terminal-escapes", (*CONVERT, name), 6, "\\x1b[")
      for name in ("esc_global.pth", "esc_key.pth", "esc_member.pth", "st_esc.pth")),
    ("attackcases/06-terminal-escapes", ("--registry", "escape.yaml", "info", "m4-0"), 0, "\\x1b["),
    ("attackcases/06-terminal-escapes", ("--registry", "lines.yaml", "list"), 0, "\\x3a:error"),
    ("attackcases/13-registry-add-flow-style", ("--registry", "plain.yaml", "registry", "add", "u", "--like", "t", "--dry-run"), 2, "block style"),
    ("attackcases/15-raw-html-in-markdown", ("--registry", "script.yaml", "tables"), 0, "&lt;script"),
    ("attackcases/15-raw-html-in-markdown", ("--registry", "formula.yaml", "--format", "csv", "list"), 0, "'=cmd"),
]  # fmt: skip


def within_memory(arguments: list[str]) -> None:
    """`bddzoo ARGUMENTS` in an address space of 6 GB."""
    resource.setrlimit(resource.RLIMIT_AS, (6_000_000_000, 6_000_000_000))
    command_line(arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "command", "code", "words"), CASES, ids=[f"{c[0][:14]} {c[1][-1]}" for c in CASES]
)
def test_kept_case(tmp_path: Path, case: str, command: tuple[str, ...], code: int, words: str) -> None:
    folder = Path(shutil.copytree(shared(case), tmp_path / "case"))
    done = run_forked(within_memory, [*command], env=environment(), cwd=folder, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert words in said
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert not (code and (folder / "out").exists()), "nothing is left behind"
