"""What every command prints as JSON: its keys and types; the data itself of lines that begin with `=`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.inprocess import command, command_apart
from tests.support.server import Server
from tests.support.tiny import DATASET, INS_SEG, SEM_SEG, make_data, make_weights, write_registry
from tests.surface.golden import SAMPLES, assert_golden, form

FEW = b"forty bytes that stand for real weights."
Script = Callable[[str], dict[str, Any]]
REAL = f"""
list
config
check --all --task sem_seg --matrix
registry lint --all
registry count demo_semfpn_r18n_sem_seg --check
registry lint --rules
plot params --task sem_seg -o TMP/params.svg
plot splits --task sem_seg -o TMP/splits.svg
selftest fpn_r50_512x1024_40k_sem_seg_bdd100k
registry import TMP/zoo.md --zoo tiny --title Tiny --task sem_seg
data mini --val 1 --out TMP/mini
pack -r TMP/mini/labels/sem_seg/masks/val -t sem_seg -o TMP/packed.zip --count 1
=registry check SAMPLES/registry.yaml
registry lint SAMPLES/registry.yaml
registry add new_one --like few_bytes --note note --dry-run --registry TMP/registry.yaml
=list --registry SAMPLES/registry.yaml
=info few_bytes {SEM_SEG} --registry SAMPLES/registry.yaml
=tables --registry SAMPLES/registry.yaml
"""
CACHE = """
fetch few_bytes left_behind --from TMP/theirs --dry-run
fetch few_bytes --from TMP/theirs --verify
fetch few_bytes left_behind --offline
adopt TMP/theirs
registry pin few_bytes --dry-run
bundle few_bytes -o TMP/bundle.zip
cache export -o TMP/export.zip
cache ls
cache verify
cache gc --older-than 0 --dry-run --cache TMP/old
cache import SAMPLES/bundle.zip
cache rm few_bytes --yes
"""
RECORDS = f"""
=results ls
=results show {SEM_SEG}
results show {INS_SEG}
results compare {SEM_SEG} {SEM_SEG}
results diff {SEM_SEG} {INS_SEG}
results prune --dry-run
results import SAMPLES/results --results TMP/mine
tables --measured
site build --checks SAMPLES/checks -o TMP/site
plot classes {SEM_SEG} -o TMP/classes.svg
plot reported -o TMP/reported.svg
plot speed --task sem_seg -o TMP/speed.svg
check {SEM_SEG} --from-scores SAMPLES/scores.json
check --merge SAMPLES/checks
"""
TASK = """
eval MODEL --data TMP/data --from TMP --device cpu --out TMP/out-TASK
score -t TASK -g GT -r PRED SCORES --ci --worst 2 --by weather --attributes TMP/attributes.json
score -t TASK -g GT -r PRED SCORES --against PRED --against-SCORES
vis overlay -t TASK -i TMP/data/images/10k/val -l PRED -o TMP/drawn-TASK
convert-labels -l GT -t TASK --to rle -o TMP/TASK.json
"""
RUNS = f"""
bench {SEM_SEG} --device cpu --size 64x64 --no-io --seconds 0.1
plot latency --task sem_seg -o TMP/latency.svg
export {SEM_SEG} --to onnx --size 64x64 --weights random -o TMP/network.onnx
predict {SEM_SEG} -i TMP/data/images/10k/val/frame00000.jpg --weights TMP/{SEM_SEG}.pth --device cpu \
-o TMP/one --registry TMP/plain.yaml
convert {SEM_SEG} --from TMP --to safetensors -o TMP/w.safetensors
check {SEM_SEG} --run --from TMP --data TMP/data --device cpu
sweep {SEM_SEG} --from TMP --data TMP/data --device cpu --tag x
vis color -t sem_seg -l TMP/data/labels/sem_seg/masks/val -o TMP/colours
vis compare -i TMP/data/images/10k/val -g TMP/data/labels/sem_seg/masks/val -r TMP/out-sem_seg/masks \
-t sem_seg -o TMP/compared
plot slices {SEM_SEG} --by weather --attributes TMP/attributes.json -o TMP/slices.svg
plot precision {INS_SEG} -o TMP/precision.svg
plot reliability {INS_SEG} -o TMP/reliability.svg
data check --data TMP/data --task sem_seg --split val
doctor --data TMP/data
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Runs commands with `--format json`; gives the exit status and the form of the data of each."""
    for name in ("BDDZOO_REGISTRY", "BDDZOO_MIRRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BDDZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BDDZOO_RESULTS", str(tmp_path / "results"))
    places = {"TMP": str(tmp_path), "SAMPLES": str(SAMPLES)}

    def run(lines: str) -> dict[str, Any]:
        found = {}
        for line in lines.strip().splitlines():
            words = line.removeprefix("=").split()
            for name, place in places.items():
                words = [word.replace(name, place) for word in words]
            done = (command_apart if words[0] in ("bench", "sweep") else command)(*words, "--format", "json")
            text = done.out
            assert text, (line, done)
            for name, place in places.items():
                text = text.replace(place, name)
            data = json.loads(text)
            found[line] = {"exit": done.code, **({"data": data} if line[0] == "=" else {"form": form(data)})}
        return found

    return run


def test_of_the_registry(script: Script, tmp_path: Path) -> None:
    rows = command("list", "--format", "json").data
    # One model of each kind of each zoo.
    some = {(row["zoo"], row["task"]): row["id"] for row in rows}.values()
    (tmp_path / "zoo.md").write_text(
        "### Tiny\n\n#### Results\n\n| Backbone | mIoU-val |\n| - | - |\n| R | 2.2 |\n"
    )
    text = (SAMPLES / "registry.yaml").read_text()
    (tmp_path / "registry.yaml").write_text(text)
    found = script(REAL)
    found["info ..."] = {"exit": 0, "form": form(command("info", *some, "--format", "json").data)}
    history = shutil.copy(SAMPLES / "health.json", tmp_path / "health.json")
    with Server() as server:
        url = server.put("few_bytes.pth", FEW)
        healthy = tmp_path / "healthy.yaml"
        healthy.write_text(text.replace("sources: []", f"sources: ['{url}']"))
        options = ("--registry", healthy, "--history", history)
        health = command("registry", "health", "few_bytes", *options, "--format", "json")
    seen = form(health.data)
    seen["hosts"] = seen["hosts"][url.split("/")[2]]
    found["registry health ..."] = {"exit": health.code, "form": seen}
    assert_golden("json_registry", found)
    old = json.loads((SAMPLES / "health.json").read_text())["files"]
    assert set(json.loads(history.read_text())["files"]) == {url, *old}, "the history is carried on"


def test_of_the_cache(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BDDZOO_REGISTRY", str(shutil.copy(SAMPLES / "registry.yaml", tmp_path / "r.yaml")))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "few_bytes.pth").write_bytes(FEW)
    shutil.copytree(SAMPLES / "cache", tmp_path / "old")
    assert_golden("json_cache", script(CACHE))


def test_of_records(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BDDZOO_REGISTRY", str(SAMPLES / "registry.yaml"))
    monkeypatch.setenv("BDDZOO_RESULTS", str(SAMPLES / "results"))
    assert_golden("json_records", script(RECORDS))


def test_of_what_runs_and_scores(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = write_registry(tmp_path / "plain.yaml")
    models = {"sem_seg": SEM_SEG, "ins_seg": INS_SEG}
    content = {task: make_weights(plain, task, tmp_path / f"{name}.pth") for task, name in models.items()}
    reported = {"sem_seg": {"mIoU": "1.00"}, "ins_seg": {"AP": "1.00", "box_AP": "1.00"}}
    registry, dataset = tmp_path / "registry.yaml", DATASET.format(count=4)
    write_registry(registry, weights=content, reported=reported, dataset=dataset)
    monkeypatch.setenv("BDDZOO_REGISTRY", str(registry))
    images = (make_data(tmp_path / "data") / "images/10k/val").iterdir()
    taken = {"weather": "clear", "scene": "city street", "timeofday": "daytime"}
    frames = [{"name": image.name, "attributes": taken} for image in images]
    (tmp_path / "attributes.json").write_text(json.dumps(frames))
    found = {}
    for task, kind in (("sem_seg", "masks"), ("ins_seg", "bitmasks")):
        lines = TASK.replace("GT", f"TMP/data/labels/TASK/{kind}/val").replace("PRED", f"TMP/out-TASK/{kind}")
        score_file = "score-file TMP/out-TASK/score.json"
        for before, there in (
            (" --against-SCORES", f" --against-{score_file}"),
            (" SCORES", f" --{score_file}"),
        ):
            lines = lines.replace(before, there if task == "ins_seg" else "")
        found |= script(lines.replace("TASK", task).replace("MODEL", models[task]))
    assert_golden("json_runs", found | script(RUNS))
