"""`bddzoo predict` on tiny real networks: files, any size, and what goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bddzoo.datasets.formats.mask import read_bitmask, read_mask
from bddzoo.datasets.formats.rle import decode_rle
from tests.cli.command import assert_one_line, bddzoo, interrupt
from tests.cli.inprocess import Done, command
from tests.shared import shared
from tests.support import tiny

TASKS = {"sem_seg": tiny.SEM_SEG, "ins_seg": tiny.INS_SEG}
SIZES = {"a.jpg": (48, 80), "b.png": (33, 47), "c.jpg": (120, 40), "d.png": (7, 200), "e.bmp": (1, 1)}


def _images(inputs: Iterable[object]) -> tuple[list[object], list[object]]:
    """Images as options, and everything from the first option on as it is."""
    given = list(inputs)
    first = next((i for i, item in enumerate(given) if str(item).startswith("-")), len(given))
    return [part for item in given[:first] for part in ("-i", item)], given[first:]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A registry whose protocols rescale, weights, and images of mixed sizes."""
    folder = tmp_path_factory.mktemp("world")
    registry = tiny.write_registry(folder / "registry.yaml", scale=[128, 72])
    for task in TASKS:
        tiny.make_weights(registry, task, folder / f"{task}.pth")
    (folder / "images").mkdir()
    for name, (height, width) in SIZES.items():
        rng = np.random.default_rng(len(name) + height)
        cv2.imwrite(str(folder / "images" / name), rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
    return folder


@pytest.fixture
def cli(world, tmp_path):

    def predict(task: str, *inputs: object, **replaced: Any) -> Done:
        values = {
            "registry": world / "registry.yaml",
            "weights": world / f"{task}.pth",
            "out": tmp_path / "out",
            "device": "cpu",
            **replaced,
        }
        options = [x for name, value in values.items() if value is not None for x in (f"--{name}", value)]
        images, more = _images(inputs)
        return command("predict", TASKS[task], *options, *images, *more)

    return predict


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_predictions_inside_the_folder_of_images_are_no_images(cli, world, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(world / "images", folder)
    out = folder / "seen"
    assert cli("sem_seg", folder, out=out).code == 0
    before = files(folder)
    assert cli("sem_seg", folder, "--force", out=out).code == 0
    assert files(folder) == before
    assert cli("sem_seg", out / "overlays", out=tmp_path / "again").code == 0  # who asks for them gets them


def test_whatever_a_file_is_called_and_is_a_warning_is_one_line(cli, world, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copyfile(world / "images/a.jpg", folder / "good.jpg")
    (folder / "two\nlines\x1b[31m.jpg").write_bytes(b"nonsense")
    os.mkfifo(folder / "pipe.jpg")
    done = cli("sem_seg", folder)
    assert done.code == 5
    warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "pipe.jpg is a pipe or a device" in warnings[0]
    assert "two\\x0alines\\x1b[31m.jpg" in warnings[1]


@pytest.mark.parametrize("batch", [1, 3])
def test_semantic_predictions_of_mixed_sizes(cli, world, tmp_path, batch):
    done = cli("sem_seg", world / "images", "--batch-size", batch)
    assert done.code == 0, done.err
    out = tmp_path / "out"
    stems = [Path(name).stem for name in SIZES]
    assert files(out) == {
        "sem_seg.json",
        *(f"masks/{stem}.png" for stem in stems),
        *(f"overlays/{stem}.jpg" for stem in stems),
    }
    frames = {f["name"]: f for f in json.loads((out / "sem_seg.json").read_text())["frames"]}
    assert set(frames) == set(SIZES)
    for name, size in SIZES.items():
        mask = read_mask(out / "masks" / f"{Path(name).stem}.png")
        assert mask.shape == size
        assert cv2.imread(str(out / "overlays" / f"{Path(name).stem}.jpg")).shape[:2] == size
        assert sum(decode_rle(la["rle"]).sum() for la in frames[name]["labels"]) == mask.size
        assert name in done.out


def test_instance_predictions_of_mixed_sizes(cli, world, tmp_path):
    done = cli("ins_seg", world / "images", "--format", "json")
    assert done.code == 0, done.err
    out = tmp_path / "out"
    result = json.loads(done.out)
    scores = {f["name"]: f["labels"] for f in json.loads((out / "score.json").read_text())}
    rles = {f["name"]: f["labels"] for f in json.loads((out / "ins_seg.json").read_text())["frames"]}
    for row in result["images"]:
        size = SIZES[row["name"]]
        bitmask = read_bitmask(out / "bitmasks" / f"{Path(row['name']).stem}.png")
        assert (row["height"], row["width"]) == bitmask.shape[:2] == size
        ids = bitmask[..., 2].astype(int) << 8 | bitmask[..., 3]
        assert row["instances"] == len(scores[row["name"]]) >= ids.max()
        assert sum(decode_rle(la["rle"]).sum() for la in rles[row["name"]]) == (ids > 0).sum()
    assert {row["name"] for row in result["images"]} == set(SIZES)


def test_a_large_score_threshold_draws_nothing(cli, world, tmp_path):
    image = world / "images/b.png"
    done = cli("ins_seg", image, "--min-score", 1)
    assert "nothing above the score" in done.out
    plain = cv2.imencode(".jpg", cv2.imread(str(image)), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    assert (tmp_path / "out/overlays/b.jpg").read_bytes() == plain.tobytes()


def test_a_bad_image_does_not_keep_the_others(cli, world, tmp_path):
    bad = tmp_path / "images" / "bad.jpg"
    bad.parent.mkdir()
    bad.write_bytes((world / "images/a.jpg").read_bytes()[:300])
    done = cli("sem_seg", world / "images/b.png", bad, world / "images/a.jpg")
    assert done.code == 5
    assert done.err.count("warning:") == 1
    assert f"{bad} is damaged: it is cut short" in done.err
    assert "1 could not be used" in done.err
    assert {p.name for p in (tmp_path / "out/masks").iterdir()} == {"a.png", "b.png"}
    done = cli("sem_seg", bad, out=tmp_path / "other")
    assert done.code == 5
    assert "not one of 1 image could be used" in done.errors[0]
    assert files(tmp_path / "other") == set()


def test_unusual_images_are_remarked_on(cli, tmp_path):
    grey = tmp_path / "grey.png"
    cv2.imwrite(str(grey), np.zeros((30, 40), np.uint16))
    done = cli("sem_seg", grey)
    assert done.code == 0
    assert "grey.png: grey: its one channel is used three times" in done.err
    assert "grey.png: 16 bits a channel" in done.err


def test_equal_names_are_refused_before_anything_runs(cli, world, tmp_path):
    twin = tmp_path / "twin" / "a.png"
    twin.parent.mkdir()
    cv2.imwrite(str(twin), np.zeros((5, 5, 3), np.uint8))
    done = cli("sem_seg", world / "images/a.jpg", twin, weights=tmp_path / "never-looked-at")
    assert done.code == 2
    assert "would write outputs of the same name" in done.errors[0]
    assert str(twin) in done.errors[0]
    done = cli("sem_seg", world / "images/a.jpg", world / "images")
    assert "is given twice" in done.errors[0]
    assert not (tmp_path / "out").exists()


def test_earlier_predictions_are_kept_unless_asked(cli, world, tmp_path):
    assert cli("sem_seg", world / "images/a.jpg").code == 0
    done = cli("sem_seg", world / "images/b.png")
    assert done.code == 2
    assert "holds predictions already" in done.errors[0]
    assert cli("sem_seg", world / "images/b.png", "--force").code == 0
    assert {p.name for p in (tmp_path / "out/masks").iterdir()} == {"b.png"}


def test_inputs_that_are_not_there(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    done = cli("sem_seg", tmp_path / "empty")
    assert done.code == 5
    assert "no image in folder" in done.errors[0]
    done = cli("sem_seg", tmp_path / "nowhere.jpg")
    assert done.code == 5
    assert "no such file or folder" in done.errors[0]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--alpha", "2"], 2),
        (["--device", "npu"], 2),
        (["--device", "cuda:50"], 5),
        (["--min-score", "-1"], 2),
    ],
)
def test_options_that_make_no_sense(cli, world, options, code):
    done = cli("sem_seg", world / "images/a.jpg", *options)
    assert done.code == code
    assert len(done.errors) == 1


@pytest.fixture
def interrupted(world, tmp_path):
    """Starts on many images, sends Ctrl-C when some are done; returns the command and what was said."""
    many = tmp_path / "many"
    many.mkdir()
    for index in range(COUNT):
        os.link(world / "images/a.jpg", many / f"{index:04d}.jpg")

    def start(*options: object) -> tuple[list[object], str]:
        out = tmp_path / "out"
        arguments = ["--registry", world / "registry.yaml", "--weights", world / "ins_seg.pth", "--out", out]
        command = ["predict", tiny.INS_SEG, "-i", many, *arguments, *options]

        def ready() -> bool:
            # Below the draft: what an earlier run left lies in the folder itself.
            drawn = len(list(out.glob(".*.part/overlays/*.jpg")))
            return drawn >= 3 + len(list(out.glob("overlays/*.jpg")))

        done = interrupt(command, ready)
        assert_one_line(done, 130)
        assert done.stderr.splitlines()[-1] == "error: interrupted"
        return command, done.stderr

    return start


COUNT = 2000


def consistent(out: Path) -> set[str]:
    """The stems in a prediction set, which are the same in all of its parts."""
    stems = {p.stem for p in (out / "bitmasks").iterdir()}
    assert {p.stem for p in (out / "overlays").iterdir()} == stems
    for name in ("score.json", "det.json", "ins_seg.json"):
        content = json.loads((out / name).read_text())
        frames = content if isinstance(content, list) else content["frames"]
        assert sorted(Path(frame["name"]).stem for frame in frames) == sorted(stems)
    return stems


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_keeps_what_is_done_and_resume_goes_on(interrupted, tmp_path):
    out = tmp_path / "out"
    command, said = interrupted()
    first = consistent(out)
    assert 3 <= len(first) < COUNT
    assert f"{len(first)} of {COUNT} images are written" in said
    assert set(json.loads((out / "unfinished.json").read_text())["done"]) == {f"{s}.jpg" for s in first}
    assert not list(out.glob(".*"))

    again = bddzoo(*command)
    assert again.returncode == 2
    assert f"holds {len(first)} of {COUNT} images of an interrupted run" in again.stderr
    assert consistent(out) == first

    _, said = interrupted("--resume")
    second = consistent(out)
    assert first < second
    assert f"{len(second)} of {COUNT} images are written" in said

    for index in range(COUNT):  # the rest may be few, so that the test ends
        if f"{index:04d}" not in second and index < COUNT - 2:
            (tmp_path / "many" / f"{index:04d}.jpg").unlink()
    done = bddzoo(*command, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"{len(second)} were there from before" in done.stderr
    assert consistent(out) == second | {f"{COUNT - 2:04d}", f"{COUNT - 1:04d}"}
    assert not (out / "unfinished.json").exists()


def unfinished(world: Path, out: Path, cli: Any, task: str = "sem_seg") -> None:
    """Make a folder look as if a run had been interrupted after its first image."""
    assert cli(task, world / "images/a.jpg").code == 0
    sha256 = hashlib.sha256((world / f"{task}.pth").read_bytes()).hexdigest()
    made_with = {"model": TASKS[task], "weights": sha256, "precision": "fp32", "options": {}}
    done = {"a.jpg": str((world / "images/a.jpg").resolve())}
    (out / "unfinished.json").write_text(json.dumps({"made_with": made_with, "total": 2, "done": done}))


@pytest.mark.parametrize("task", TASKS)
def test_a_resumed_set_is_the_set_of_one_run(cli, world, tmp_path, task):
    images = [world / "images" / name for name in ("a.jpg", "b.png")]
    assert cli(task, *images, out=tmp_path / "whole").code == 0
    unfinished(world, tmp_path / "out", cli, task)
    done = cli(task, *images, "--resume", "--format", "json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["earlier"] == ["a.jpg"]
    assert [row["name"] for row in told["images"]] == ["b.png"]
    whole, resumed = tmp_path / "whole", tmp_path / "out"
    assert files(whole) == files(resumed)
    for name in files(whole):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name


def test_what_cannot_be_resumed(cli, world, tmp_path):
    out = tmp_path / "out"
    unfinished(world, out, cli)
    image = world / "images/a.jpg"
    done = cli("sem_seg", image, "--resume", "--force")
    assert (done.code, len(done.errors)) == (2, 1)
    other = tmp_path / "a.jpg"
    cv2.imwrite(str(other), np.zeros((9, 9, 3), np.uint8))
    done = cli("sem_seg", other, "--resume")
    assert done.code == 2
    assert "its a.jpg is" in done.errors[0]
    note = json.loads((out / "unfinished.json").read_text())
    note["made_with"]["weights"] = "0" * 64
    (out / "unfinished.json").write_text(json.dumps(note))
    done = cli("sem_seg", image, "--resume")
    assert done.code == 2
    assert "its weights was 0000" in done.errors[0]
    (out / "unfinished.json").write_text("{}")
    done = cli("sem_seg", image, "--resume")
    assert (done.code, len(done.errors)) == (2, 1)
    assert cli("sem_seg", image, "--force").code == 0
    assert not (out / "unfinished.json").exists()
    done = cli("sem_seg", image, "--resume")
    assert done.code == 2
    assert "holds predictions already" in done.errors[0]
    assert cli("sem_seg", image, "--resume", out=tmp_path / "fresh").code == 0


@pytest.mark.parametrize("task", TASKS)
def test_real_photographs(cli, tmp_path, task):
    folder = shared("images")
    done = cli(task, folder)
    assert done.code == 0, done.err
    images = [p for p in folder.iterdir() if p.suffix in (".jpg", ".png")]
    for path in images:
        assert (
            cv2.imread(str(tmp_path / "out/overlays" / f"{path.stem}.jpg")).shape
            == cv2.imread(str(path)).shape
        )
