"""Panoptic segmentation and image tagging, from weights to scores, with small real networks."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bddzoo.datasets.classes import PAN_SEG as PAN_SEG_CLASSES
from bddzoo.datasets.formats.mask import read_bitmask
from bddzoo.datasets.formats.rle import decode_rle
from bddzoo.datasets.mini import make_mini
from tests.cli.command import assert_one_line, bddzoo, run_here
from tests.support.tiny_tasks import (
    PAN_SEG,
    SCENE,
    SKIES,
    WEATHER,
    make_tasks,
    make_tasks_weights,
    write_tasks_registry,
)


@dataclass(frozen=True)
class Zoo:
    """Registry, weights by model, and a data set; to be read only."""

    registry: Path
    weights: dict[str, Path]
    data: Path


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    folder = tmp_path_factory.mktemp("tasks")
    registry = write_tasks_registry(folder / "registry.yaml")
    weights = {
        name: make_tasks_weights(registry, name, folder / f"{name}.pth") for name in (PAN_SEG, WEATHER, SCENE)
    }
    return Zoo(registry, weights, make_tasks(folder / "data"))


@pytest.fixture
def call(zoo: Zoo, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs a command on a model of the zoo, on the CPU."""

    def run(command: str, model: str, *more: object, weights: Path | None = None):
        own = ["--results", tmp_path / "results"] if command == "eval" else []
        return run_here(
            capsys,
            *(command, model, "--registry", zoo.registry, "--cache", tmp_path / "cache", *own),
            *("--weights", weights or zoo.weights[model], "--device", "cpu", *more),
        )

    return run


def score(capsys, task: str, gt: Path, pred: Path, *more: object):
    return run_here(capsys, "score", "-t", task, "-g", gt, "-r", pred, *more, "--format", "json")


def scores(done) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["bddzoo"]


def test_eval_gives_what_score_gives_of_its_files(zoo, call, tmp_path, capsys):
    for model, task, gt in (
        (PAN_SEG, "pan_seg", "labels/pan_seg/bitmasks/val"),
        (WEATHER, "tagging", "labels/det_20/det_val.json"),
        (SCENE, "tagging", "labels/det_20/det_val.json"),
    ):
        done = call("eval", model, "--data", zoo.data, "-o", tmp_path / model, "--format", "json")
        assert done.returncode == 5, done.stderr  # the zoo reports no number
        found = json.loads(done.stdout)
        again = scores(score(capsys, task, zoo.data / gt, tmp_path / model))
        assert found["images"] == 4
        for metric, value in found["scores"]["summary"].items():
            assert again["summary"][metric] == pytest.approx(value, abs=1e-9), (model, metric)
        record = json.loads(Path(found["record"]).read_text())
        assert record["task"] == task
        assert record["protocol"].get("center_crop") == ([32, 32] if task == "tagging" else None)


def test_a_network_is_scored_on_the_classes_of_the_mini_set(zoo, call, tmp_path, capsys):
    make_mini(tmp_path / "mini", val=2)
    labels = tmp_path / "mini/labels/pan_seg/bitmasks/val"
    done = call("eval", PAN_SEG, "--data", tmp_path / "mini", "-o", tmp_path / "out", "--format", "json")
    assert done.returncode == 5, done.stderr  # the zoo reports no number
    found = json.loads(done.stdout)
    painted = np.unique(np.concatenate([read_bitmask(path)[..., 0].ravel() for path in labels.iterdir()]))
    counted = set(found["scores"]["per_class"]["PQ"]) - set(found["scores"]["absent_classes"])
    assert counted == {PAN_SEG_CLASSES.names[value - 1] for value in painted if value}
    again = scores(score(capsys, "pan_seg", labels, tmp_path / "out"))
    assert again["summary"] == pytest.approx(found["scores"]["summary"], abs=1e-9)


def test_what_predict_writes_of_a_panoptic_network(zoo, call, tmp_path, capsys):
    done = call("predict", PAN_SEG, "-i", zoo.data / "images/10k/val", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    frames = json.loads((tmp_path / "out/pan_seg.json").read_text())["frames"]
    assert [frame["name"] for frame in frames] == [f"frame{i:05d}.jpg" for i in range(4)]
    things = 0
    for frame in frames:
        stem = Path(frame["name"]).stem
        assert cv2.imread(str(tmp_path / f"out/overlays/{stem}.jpg")).shape == (48, 80, 3)
        bitmask = read_bitmask(tmp_path / f"out/bitmasks/{stem}.png")
        numbers = bitmask[..., 2].astype(int) << 8 | bitmask[..., 3]
        covered = np.zeros(numbers.shape, int)
        for number, label in enumerate(frame["labels"], 1):
            mask = decode_rle(label["rle"])
            assert np.array_equal(mask, numbers == number)
            kind = int(label["id"]) % 1000
            # The networks' order: ten things, which are numbered, then thirty kinds of stuff.
            assert (int(label["id"]) >= 1000) == (kind < 10)
            assert set(bitmask[mask, 0].tolist()) == {kind + 31 if kind < 10 else kind - 9}
            assert label["score"] is None
            covered += mask
            things += kind < 10
        assert np.array_equal(covered, numbers > 0), "no pixel is of two segments"
    assert things > 0
    json_scores = score(capsys, "pan_seg", zoo.data / "labels/pan_seg/bitmasks/val", tmp_path / "out")
    assert json_scores.returncode == 0
    same = score(capsys, "pan_seg", tmp_path / "out/pan_seg.json", tmp_path / "out/pan_seg.json")
    assert scores(same)["summary"]["PQ"] == 100


def test_predicted_weather_slices_other_scores_and_is_called_predicted(zoo, call, tmp_path, capsys):
    assert call("predict", WEATHER, "-i", zoo.data / "images/10k/val", "-o", tmp_path / "out").returncode == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["overlays", "tagging.json"]
    masks = zoo.data / "labels/sem_seg/masks/val"
    file = tmp_path / "out/tagging.json"
    by = ("--by", "weather", "--attributes", file)
    done = score(capsys, "sem_seg", masks, masks, *by)
    assert f"weather of {file} is what a network predicted, not a label" in done.stderr
    found = scores(done)
    assert found["predicted_attributes"] == ["weather"]
    frames = json.loads(file.read_text())["frames"]
    assert set(found["slices"]["weather"]) == {frame["attributes"]["weather"] for frame in frames}
    labels = score(
        capsys,
        "sem_seg",
        masks,
        masks,
        "--by",
        "weather",
        "--attributes",
        zoo.data / "labels/det_20/det_val.json",
    )
    assert "predicted" not in labels.stderr
    assert "predicted_attributes" not in scores(labels)
    assert set(scores(labels)["slices"]["weather"]) == set(SKIES)


def test_several_processes_write_the_same(zoo, tmp_path):
    for model, parts in ((PAN_SEG, ("pan_seg.json", "bitmasks")), (SCENE, ("tagging.json",))):
        own = ("--registry", zoo.registry, "--weights", zoo.weights[model], "--device", "cpu")
        for name, more in (("one", ()), ("two", ("--gpus", 2))):
            where = ("-i", zoo.data / "images/10k/val", "-o", tmp_path / model / name)
            assert bddzoo("predict", model, *own, *where, *more).returncode == 0
        for part in parts:
            one, two = (tmp_path / model / name / part for name in ("one", "two"))
            if one.is_dir():
                assert [p.read_bytes() for p in sorted(one.iterdir())] == [
                    p.read_bytes() for p in sorted(two.iterdir())
                ]
            else:
                assert one.read_bytes() == two.read_bytes()


def test_bad_weights_are_one_line(zoo, call, tmp_path):
    def check(model: str, file: Path, words: str) -> None:
        out = ("-i", zoo.data / "images/10k/val", "-o", tmp_path / "out")
        assert_one_line(call("predict", model, *out, weights=file), 6, words)
        assert not (tmp_path / "out").exists()

    cut = tmp_path / "cut.pth"
    for model in (PAN_SEG, WEATHER):
        cut.write_bytes(zoo.weights[model].read_bytes()[:-2000])
        check(model, cut, "cut.pth")
    check(PAN_SEG, zoo.weights[WEATHER], "tiny_weather.pth")
    check(WEATHER, zoo.weights[PAN_SEG], "tiny_panoptic.pth")
    state = torch.load(zoo.weights[WEATHER], weights_only=True)["state_dict"]
    state["head.fc.weight"] = state["head.fc.weight"][:4].clone()
    torch.save({"state_dict": state}, tmp_path / "four.pth")
    check(WEATHER, tmp_path / "four.pth", "head.fc.weight")


def test_bad_data_is_one_line(zoo, call, tmp_path, capsys):
    data = Path(shutil.copytree(zoo.data, tmp_path / "data", symlinks=True))
    bitmask = data / "labels/pan_seg/bitmasks/val/frame00001.png"
    labels = data / "labels/det_20/det_val.json"
    for model, file, content, words in (
        (PAN_SEG, bitmask, bitmask.read_bytes()[:-30], "frame00001"),
        (PAN_SEG, bitmask, (data / "labels/sem_seg/masks/val/frame00001.png").read_bytes(), "not a bitmask"),
        (PAN_SEG, bitmask, _bitmask_of_class(41), "41"),
        (WEATHER, labels, labels.read_bytes()[:-30], "det_val.json"),
        (WEATHER, labels, b"[]", "det_val.json"),
        (WEATHER, labels, b'{"images": [], "annotations": []}', "det_val.json"),
        (WEATHER, labels, labels.read_bytes().replace(b'"rainy"', b'"hail"'), "hail"),
        (WEATHER, labels, labels.read_bytes().replace(b'"weather": "rainy", ', b""), "frame00001"),
    ):
        good = file.read_bytes()
        file.write_bytes(content)
        done = call("eval", model, "--data", data)
        assert done.returncode == 5, (words, done.stderr)
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.glob("results/**/*.json")), "a wrong number was recorded"
        file.write_bytes(good)
    shutil.rmtree(data / "labels")
    for model, place in ((PAN_SEG, "labels/pan_seg/bitmasks/val"), (SCENE, "labels/det_20/det_val.json")):
        assert_one_line(call("eval", model, "--data", data), 5, place)


def _bitmask_of_class(value: int) -> bytes:
    pixels = np.zeros((48, 80, 4), np.uint8)
    pixels[:, :, 2], pixels[:, :, 3] = value, 1  # OpenCV's order: B, G, R, A
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_predictions_of_another_task_are_refused(zoo, call, tmp_path, capsys):
    assert (
        call("predict", WEATHER, "-i", zoo.data / "images/10k/val", "-o", tmp_path / "tags").returncode == 0
    )
    done = score(
        capsys, "tagging", zoo.data / "labels/det_20/det_val.json", tmp_path / "tags", "--attribute", "scene"
    )
    assert_one_line(done, 5, "has no scene for any frame")
    assert call("predict", PAN_SEG, "-i", zoo.data / "images/10k/val", "-o", tmp_path / "pan").returncode == 0
    done = score(capsys, "tagging", zoo.data / "labels/det_20/det_val.json", tmp_path / "pan/pan_seg.json")
    assert_one_line(done, 5, "has no frame with attributes")


def test_a_number_is_reproduced_from_published_predictions_and_by_the_network(zoo, call, tmp_path, capsys):
    """Ground truth is what the network sees: a mistake anywhere between them would show."""
    data = Path(shutil.copytree(zoo.data, tmp_path / "data", symlinks=True))
    for model in (PAN_SEG, WEATHER):
        assert call("predict", model, "-i", data / "images/10k/val", "-o", tmp_path / model).returncode == 0
    shutil.rmtree(data / "labels/pan_seg/bitmasks/val")
    shutil.copytree(tmp_path / PAN_SEG / "bitmasks", data / "labels/pan_seg/bitmasks/val")
    shutil.copyfile(tmp_path / WEATHER / "tagging.json", data / "labels/det_20/det_val.json")
    for reported, verdicts in ((100.0, ("reproduced", "unverified")), (99.0, ("better-than-reported",) * 2)):
        registry = write_tasks_registry(tmp_path / f"{reported}.yaml", reported)
        for model in (PAN_SEG, WEATHER):
            common = (
                model,
                "--registry",
                registry,
                "--data",
                data,
                "--results",
                tmp_path / f"results{reported}",
            )
            done = run_here(
                capsys, "check", *common, "--link", "predictions", "-r", tmp_path / model, "--format", "json"
            )
            assert f'"{verdicts[0]}"' in done.stdout, done.stdout
            done = run_here(
                capsys,
                "eval",
                *common,
                "--weights",
                zoo.weights[model],
                "--device",
                "cpu",
                "--format",
                "json",
            )
            assert json.loads(done.stdout)["verdict"]["verdict"] == verdicts[1], done.stdout


def test_tags_in_place_of_labels_are_told(zoo, call, tmp_path, capsys):
    assert (
        call("predict", WEATHER, "-i", zoo.data / "images/10k/val", "-o", tmp_path / "tags").returncode == 0
    )
    tags = tmp_path / "tags/tagging.json"
    for task, gt in (
        ("sem_seg", "labels/sem_seg/masks/val"),
        ("ins_seg", "labels/ins_seg/bitmasks/val"),
        ("pan_seg", "labels/pan_seg/bitmasks/val"),
        ("det", "labels/det_20/det_val.json"),
    ):
        done = score(capsys, task, zoo.data / gt, tags)
        assert "Traceback" not in done.stderr
        assert "holds labels of tagging" in done.stderr, (task, done.stderr)
