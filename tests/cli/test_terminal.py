"""Every command's output on a real terminal of 80 and of 200 columns: width, colours, columns of `list`."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from bddzoo.text import width
from tests.cli.test_one_instrument import EVERY
from tests.support.sampling import sampled
from tests.support.terminal import session
from tests.surface.golden import SAMPLES

ROOT = Path(__file__).resolve().parents[2]
SEM, INS = "demo_semfpn_r18n_sem_seg", "demo_mask_rcnn_r18n_ins_seg"
DET = "demo_faster_rcnn_r18n_det"
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
GREEN, RED, YELLOW = "\x1b[32m", "\x1b[31m", "\x1b[33m"

# A command line for each, with its exit status where that is not 0. They run in this order, in one folder.
LINES: dict[str, tuple[str, int]] = {
    "data mini": ("data mini -o bdd", 0),
    "data check": ("data check --data bdd", 0),
    "doctor": ("doctor --data bdd", 0),
    "config": ("config", 0),
    "list": ("list", 0),
    "info": (f"info {SEM} mask_rcnn_r50_fpn_1x_ins_seg_bdd100k openseg_ade20k_hrnet_w48_ocr", 0),
    "fetch": ("fetch demo* --what weights,scores,preds", 0),
    "cache ls": ("cache ls", 0),
    "cache verify": ("cache verify", 0),
    "cache export": ("cache export -o cache.zip", 0),
    "cache import": ("cache import cache.zip", 0),
    "cache gc": ("cache gc --dry-run", 0),
    "cache rm": ("cache rm --all --dry-run", 0),
    "adopt": (f"adopt {ROOT}/bddzoo/demo", 0),
    "bundle": (f"bundle {SEM} -o bundle.zip", 0),
    "results import": (f"results import {ROOT}/benchmarks/results/demo", 0),
    "results ls": ("results ls", 0),
    "results show": (f"results show {SEM}", 0),
    "results diff": (f"results diff {SEM} {INS} --all", 0),
    "results compare": (f"results compare {SEM} {SEM}", 0),
    "results prune": ("results prune --dry-run", 0),
    "score": (f"score -t sem_seg -g bdd/labels/sem_seg/masks/val -r {ROOT}/bddzoo/demo/{SEM}.zip", 0),
    "check": (f"check {SEM} {INS} --data bdd --link scores --link registry", 5),
    "pack": (f"pack -t sem_seg -r {ROOT}/bddzoo/demo/{SEM}.zip --count 24 -o pack.zip", 0),
    "convert-labels": ("convert-labels -t sem_seg -l bdd/labels/sem_seg/masks/val --to rle -o rle.json", 0),
    "plot classes": (f"plot classes {SEM} -o classes.svg", 0),
    "plot params": ("plot params -t sem_seg -o params.svg", 0),
    "plot reported": ("plot reported -t sem_seg --zoo demo -o reported.svg", 0),
    "plot splits": ("plot splits -t sem_seg -o splits.svg", 0),
    "plot slices": (f"plot slices {SEM} --by weather --attributes bdd -o slices.svg", 0),
    "vis color": ("vis color -t sem_seg -l few/labels -o colours", 0),
    "vis overlay": ("vis overlay -t sem_seg -i few/images -l few/labels -o drawn", 0),
    "vis compare": ("vis compare -i few/images -g few/labels -r few/labels -o compared", 0),
    "site build": (f"--registry {SAMPLES}/registry.yaml site build -o site", 0),
    "registry check": ("registry check", 0),
    "registry lint": ("registry lint --all", 0),
    "registry pin": ("--registry own.yaml registry pin demo* --dry-run", 0),
}
# These print documents, code, or what other commands print; or nothing but what a run of minutes would give.
DOCUMENTS = {
    *("tables", "registry schema", "registry import", "registry add"),
    *("demo", "registry health", "registry count"),
}
# These run networks, or plot the records of networks that were run; with their exit status.
RUN: dict[str, tuple[str, int]] = {
    "eval": (f"eval {SEM} {DET} --data bdd --limit 1 --device cpu -o predictions", 4),
    "predict": (f"predict {INS} -i bdd/images/10k/val --limit 1 --device cpu -o instances", 0),
    "selftest": ("selftest demo* fpn_r50*40k*sem_seg*", 6),  # no golden of the demo's networks
    "convert": (f"convert {SEM} --to safetensors -o converted.safetensors", 0),
    "sweep": (f"sweep {SEM} --data bdd --limit 1 --device cpu", 4),
    "bench": (f"bench {SEM} --device cpu --size 96x160 --seconds 0.2 --no-io", 0),
    "export": (f"export {SEM} --to onnx --size 64x96 -o network.onnx", 0),
    "plot speed": ("plot speed -t sem_seg --zoo demo -o speed.svg", 0),
    "plot latency": ("plot latency -t sem_seg --zoo demo -o latency.svg", 0),
    "plot precision": (f"plot precision {INS} -o precision.svg", 0),
    "plot reliability": (f"plot reliability {INS} -o reliability.svg", 0),
}


def test_every_command_is_looked_at() -> None:
    assert {*LINES, *RUN, *DOCUMENTS} == set(EVERY)


def run(lines: list[str], columns: int, folder: Path, **changes: str) -> list[tuple[int, str]]:
    """Run commands in a folder, with an own home."""
    shutil.copyfile(ROOT / "registry.yaml", folder / "own.yaml")
    home = {"HOME": str(folder), "BDDZOO_RESULTS": "results", "BDDZOO_CACHE": "cache", "OMP_NUM_THREADS": "1"}
    return session([line.split() for line in lines], columns, folder, **home, **changes)


def too_wide(text: str, columns: int) -> list[str]:
    lines = CODES.sub("", text).splitlines()
    # A word cannot be broken where somebody is to copy it: a path, an address.
    return [line for line in lines if width(line) > columns and len(line.split()) > 1]


def letter_by_letter(text: str) -> bool:
    """Whether a column is so narrow that words stand in it one letter below the other."""
    lines = CODES.sub("", text).splitlines()
    return any(all(len(line.strip()) == 1 for line in lines[at : at + 3]) for at in range(len(lines) - 2))


def shown_within(lines: dict[str, tuple[str, int]], columns: int, folder: Path) -> dict[str, str]:
    """What commands print, which end as they should and fit the terminal."""
    done = run([line for line, _ in lines.values()], columns, folder)
    assert {n: code for n, (code, _) in zip(lines, done, strict=True)} == {
        n: c for n, (_, c) in lines.items()
    }
    shown = {name: text for name, (_, text) in zip(lines, done, strict=True)}
    assert {name: wide for name, text in shown.items() if (wide := too_wide(text, columns))} == {}
    assert [name for name, text in shown.items() if letter_by_letter(text)] == []
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("columns", sampled([80, 200], (80).__eq__))
def test_output_fits_the_terminal(columns: int, tmp_path: Path, mini_set: Path) -> None:
    shutil.copytree(mini_set, tmp_path / "bdd")
    for few, whole in (("images", "images/10k/val"), ("labels", "labels/sem_seg/masks/val")):
        (tmp_path / "few" / few).mkdir(parents=True)
        for path in sorted((mini_set / whole).iterdir())[:2]:
            shutil.copy(path, tmp_path / "few" / few)
    shown = shown_within(LINES, columns, tmp_path)
    head = CODES.sub("", shown["list"]).splitlines()[0].split()
    assert {"params", "zoo"} <= set(head) if columns == 200 else "model" in head
    assert f"{GREEN}reproduced\x1b[0m" in shown["results ls"]
    assert f"{GREEN}reproduced\x1b[0m" in shown["results show"]
    assert f"{YELLOW}not looked at\x1b[0m" in shown["check"]


@pytest.mark.slow
@pytest.mark.parametrize("columns", sampled([80, 200], (80).__eq__))
def test_output_of_networks_fits_the_terminal(columns: int, tmp_path: Path, mini_set: Path) -> None:
    shutil.copytree(mini_set, tmp_path / "bdd")
    lines = {"results import": LINES["results import"], **RUN}
    if find_spec("onnxscript") is None:  # of the extra onnx
        del lines["export"]
    shown = shown_within(lines, columns, tmp_path)
    assert f"{YELLOW}incomparable\x1b[0m" in shown["eval"]
    assert f"{YELLOW}incomparable\x1b[0m" in shown["sweep"]


@pytest.mark.parametrize("change", [{"NO_COLOR": "1"}, {"NO_COLOR": "anything"}, {"TERM": "dumb"}])
def test_no_colours_where_none_are_wanted(change: dict[str, str], tmp_path: Path) -> None:
    lines = [f"results import {ROOT}/benchmarks/results/demo", "results ls", f"results show {SEM}"]
    done = run(lines, 80, tmp_path, **change)
    assert [code for code, _ in done] == [0, 0, 0]
    assert "reproduced" in done[1][1]
    assert not any("\x1b" in text for _, text in done)
    coloured = run(["--no-color results ls", "results ls"], 80, tmp_path, **{"TERM": "xterm"})
    assert ["\x1b" in text for _, text in coloured] == [False, True]
