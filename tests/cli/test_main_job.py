"""The main job with full-size networks of the zoo: fetch over HTTP, verify, load strictly, run.

No weights of the zoo can be had, so the checkpoints hold deterministic weights, in the form in which
upstream saved its own; what upstream's software computed with the very same weights is recorded in
`tests/data/cli` (see the README there).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from bddzoo.datasets.classes import SEM_SEG
from bddzoo.datasets.formats.mask import read_bitmask, read_mask
from bddzoo.datasets.formats.rle import decode_rle
from bddzoo.datasets.mini import make_mini
from bddzoo.engines.load import build_network
from bddzoo.engines.recipe import recipe_state
from bddzoo.registry import load_registry
from tests.cli.command import ROOT, assert_one_line, bddzoo
from tests.shared import shared
from tests.support.sampling import sampled
from tests.support.server import Server

CLI = ROOT / "tests" / "data" / "cli"
# Model and the gain of its deterministic weights.
MODELS = {
    "sem_seg": ("deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k", 0.9),
    "ins_seg": ("mask_rcnn_r50_fpn_1x_ins_seg_bdd100k", 0.7),
}
HOST = "https://dl.cv.ethz.ch"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Zoo:
    """The zoo as it was: its host's files, and the registry that points to them."""

    server: Server
    registry: Path
    cache: Path
    md5: dict[str, str]

    def run(self, command: str, task: str, *arguments: object) -> Any:
        """Run a command on a task's model."""
        options = ["--registry", self.registry, "--cache", self.cache]
        return bddzoo(command, MODELS[task][0], *arguments, *options, timeout=500)


def checkpoint(task: str) -> bytes:
    """A checkpoint file as upstream's training wrote it."""
    name, gain = MODELS[task]
    state = recipe_state(build_network(load_registry(None).find(name)), gain)
    buffer = io.BytesIO()
    meta = {"mmcv_version": "1.3.17", "CLASSES": list(SEM_SEG.names), "epoch": 12, "iter": 40000}
    torch.save({"meta": meta, "state_dict": state}, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Iterator[Zoo]:
    folder = tmp_path_factory.mktemp("zoo")
    with Server() as server:
        md5 = {}
        for task, (name, _) in MODELS.items():
            data = checkpoint(task)
            md5[task] = hashlib.md5(data).hexdigest()
            server.put(f"bdd100k/{task}/models/{name}.pth", data)
            server.put(f"bdd100k/{task}/models/{name}.md5", f"{md5[task]}  {name}.pth\n".encode())
        registry = folder / "registry.yaml"
        registry.write_text((ROOT / "registry.yaml").read_text().replace(HOST, server.url))
        yield Zoo(server, registry, folder / "cache", md5)


@pytest.fixture(scope="module")
def fetched(zoo: Zoo) -> Zoo:
    """The zoo with both models in the cache, verified against the zoo's own MD5 files."""
    for task in MODELS:
        done = zoo.run("fetch", task, "--verify", "--format", "json")
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)
        assert (row["digest_state"], row["md5"]) == ("verified", zoo.md5[task])
    return zoo


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """The image that upstream's software was run on."""
    path = tmp_path_factory.mktemp("image") / "golden_0.png"
    shutil.copyfile(ROOT / "tests/data/engines/golden/input_720x1280.png", path)
    return path


def golden(name: str) -> bytes:
    return gzip.decompress((CLI / name).read_bytes())


def predicted(zoo: Zoo, command: str, task: str, image: Path, folder: Path) -> Path:
    """Predictions of a model on upstream's image, by either command."""
    out = folder / "out"
    if command == "predict":
        done = zoo.run("predict", task, "-i", image, "--out", out)
        assert done.returncode == 0, done.stderr
        return out
    # A mini set whose frame is that image.
    data = make_mini(folder / "mini", val=1).root
    (frame,) = (data / "images/10k/val").iterdir()
    for path in data.rglob(f"{frame.stem}.*"):
        path.rename(path.with_stem(image.stem))
    frame.with_stem(image.stem).unlink()
    shutil.copy(image, frame.parent)
    done = zoo.run("eval", task, "--data", data, "--results", folder / "results", "--out", out)
    # Numbers of another data set say nothing about the zoo's.
    assert done.returncode == 4, done.stderr
    assert "verdict: incomparable" in done.stdout
    (path,) = (folder / "results").rglob("*.json")
    record = json.loads(path.read_text())
    assert record["weights"]["state"] == "verified"
    assert record["weights"]["md5"] == zoo.md5[task]
    assert record["weights"]["source"].startswith(zoo.server.url)
    assert record["protocol"]["images"] == 1
    assert len(list((out / ("masks" if task == "sem_seg" else "bitmasks")).iterdir())) == 1
    return out


@pytest.mark.parametrize("command", sampled(("predict", "eval"), "predict".__eq__))
def test_semantic_predictions_are_upstreams(fetched: Zoo, image: Path, tmp_path: Path, command: str) -> None:
    out = predicted(fetched, command, "sem_seg", image, tmp_path)
    want = golden("deeplabv3+_r50-d8_512x1024_40k.sem_seg.json.gz")
    truth = np.full((720, 1280), 255, np.uint8)
    for label in json.loads(want)["frames"][0]["labels"]:
        truth[decode_rle(label["rle"])] = SEM_SEG.index(label["category"])
    different = int((read_mask(out / "masks/golden_0.png") != truth).sum())
    # Pixels whose two best logits are equal in float32 may fall either way on another processor.
    assert different <= 3
    if not different:
        assert (out / "sem_seg.json").read_bytes().replace(b"golden_0.png", b"golden_0.jpg") == want


@pytest.mark.parametrize("command", sampled(("predict", "eval"), "eval".__eq__))
def test_instance_predictions_are_upstreams(fetched: Zoo, image: Path, tmp_path: Path, command: str) -> None:
    out = predicted(fetched, command, "ins_seg", image, tmp_path)
    want = read_bitmask(CLI / "mask_rcnn_r50_fpn_1x.bitmask_golden_0.png")
    got = read_bitmask(out / "bitmasks/golden_0.png")
    assert (got != want).any(axis=-1).mean() < 1e-4
    det, score = (json.loads((out / f"{name}.json").read_text()) for name in ("det", "score"))
    want_det = json.loads(golden("mask_rcnn_r50_fpn_1x.det.json.gz"))["frames"][0]["labels"]
    want_score = json.loads(golden("mask_rcnn_r50_fpn_1x.score.json.gz"))[0]["labels"]
    for ours, theirs in zip(score[0]["labels"], want_score, strict=True):
        assert ours["score"] == pytest.approx(theirs["score"], abs=3e-5)
        assert {**ours, "score": 0} == {**theirs, "score": 0}
    for ours, theirs in zip(det["frames"][0]["labels"], want_det, strict=True):
        assert ours["category"] == theirs["category"]
        assert ours["box2d"] == pytest.approx(theirs["box2d"], abs=0.02)


@pytest.mark.parametrize("task", sampled(MODELS, "ins_seg".__eq__))
@pytest.mark.parametrize("step", sampled((5, 1), lambda step: step == 5))
def test_photographs_of_any_size(fetched: Zoo, tmp_path: Path, task: str, step: int) -> None:
    images = [p for p in sorted(shared("images").iterdir()) if p.suffix in (".jpg", ".png")][::step]
    done = fetched.run("predict", task, *(x for p in images for x in ("-i", p)), "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    for path in images:
        size = cv2.imread(str(path)).shape
        assert cv2.imread(str(tmp_path / "overlays" / f"{path.stem}.jpg")).shape == size
        if task == "sem_seg":
            assert read_mask(tmp_path / "masks" / f"{path.stem}.png").shape == size[:2]
        else:
            assert read_bitmask(tmp_path / "bitmasks" / f"{path.stem}.png").shape[:2] == size[:2]


def test_weights_of_the_other_model_are_refused_by_name(fetched: Zoo, image: Path, tmp_path: Path) -> None:
    (other,) = fetched.cache.rglob(f"{MODELS['ins_seg'][0]}.pth")
    done = fetched.run("predict", "sem_seg", "-i", image, "--out", tmp_path / "out", "--weights", other)
    assert_one_line(done, 6, "does not fit", "missing", "unexpected")
    assert not (tmp_path / "out").exists()
