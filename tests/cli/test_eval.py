"""`bddzoo eval` on tiny real networks: numbers, records, verdicts, exit codes, bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from bddzoo.datasets.classes import INS_SEG, SEM_SEG
from bddzoo.datasets.formats.mask import read_bitmask, read_mask
from bddzoo.evaluation import InsSegAccumulator, SemSegAccumulator
from tests.cli.command import assert_one_line, bddzoo
from tests.cli.inprocess import Done, command
from tests.support import tiny
from tests.support.server import Server

COUNT = 4
TASKS = {"sem_seg": tiny.SEM_SEG, "ins_seg": tiny.INS_SEG}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A registry, weights of both models, and a data set."""
    folder = tmp_path_factory.mktemp("world")
    registry = tiny.write_registry(folder / "registry.yaml")
    weights = {task: tiny.make_weights(registry, task, folder / f"{task}.pth") for task in TASKS}
    tiny.make_data(folder / "data", COUNT)
    return folder, weights


@pytest.fixture
def cli(world, tmp_path, monkeypatch):
    """Runs eval of a task with the world's registry, weights and data, unless told otherwise."""
    folder, _ = world
    monkeypatch.delenv("BDDZOO_RESULTS", raising=False)
    monkeypatch.delenv("BDDZOO_MIRRORS", raising=False)

    def evaluate(task: str = "sem_seg", *options: object, **replaced: Any) -> Done:
        values = {
            "registry": folder / "registry.yaml",
            "data": folder / "data",
            "weights": folder / f"{task}.pth",
            "results": tmp_path / "results",
            "cache": tmp_path / "cache",
            "device": "cpu",
            **replaced,
        }
        arguments = [x for name, value in values.items() if value is not None for x in (f"--{name}", value)]
        return command("eval", TASKS[task], *arguments, *options)

    return evaluate


def records(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((tmp_path / "results").rglob("*.json"))]


def copy_data(world, tmp_path) -> Path:
    return Path(shutil.copytree(world[0] / "data", tmp_path / "data"))


def test_semantic_numbers_are_those_of_the_written_predictions(cli, world, tmp_path):
    done = cli("sem_seg", "--format", "json", out=tmp_path / "out")
    result = json.loads(done.out)
    assert result["images"] == COUNT
    scores = SemSegAccumulator(SEM_SEG.names)
    masks = sorted((tmp_path / "out" / "masks").iterdir())
    assert len(masks) == COUNT
    for path in masks:
        scores.update(
            read_mask(world[0] / "data/labels/sem_seg/masks/val" / path.name), read_mask(path), path.stem
        )
    assert result["scores"]["summary"] == pytest.approx(scores.compute().summary)
    frames = json.loads((tmp_path / "out/sem_seg.json").read_text())["frames"]
    assert [f["name"] for f in frames] == [f"frame{i:05d}.jpg" for i in range(COUNT)]


def test_instance_numbers_are_those_of_the_written_predictions(cli, world, tmp_path):
    done = cli("ins_seg", "--format", "json", out=tmp_path / "out")
    result = json.loads(done.out)
    scores = InsSegAccumulator(INS_SEG.names)
    for frame in json.loads((tmp_path / "out/score.json").read_text()):
        name = Path(frame["name"]).stem + ".png"
        scores.update(
            read_bitmask(world[0] / "data/labels/ins_seg/bitmasks/val" / name),
            read_bitmask(tmp_path / "out/bitmasks" / name),
            frame["labels"],
            frame["name"],
        )
    summary = {k: v for k, v in result["scores"]["summary"].items() if not k.startswith("box_")}
    want = {k: v if v == v else None for k, v in scores.compute().summary.items()}
    assert summary == pytest.approx(want)
    assert "box_AP" in result["scores"]["summary"]
    assert "official toolkit has no such metric" in result["scores"]["definitions"]["box_AP"]


@pytest.mark.parametrize("task", TASKS)
def test_tables_name_the_metrics_and_every_class(cli, task):
    done = cli(task)
    assert done.code == 5  # nothing is reported for it
    assert "the zoo reports no number" in done.out
    words = ("mIoU", "fIoU", "pAcc") if task == "sem_seg" else ("AP50", "AP75", "APs", "APm", "APl", "box_AP")
    for word in (*words, *(SEM_SEG if task == "sem_seg" else INS_SEG).names):
        assert word in done.out
    assert "record: " in done.err


def test_the_record_says_what_was_measured_and_how(cli, world, tmp_path):
    cli("sem_seg")
    (record,) = records(tmp_path)
    protocol = record["protocol"]
    assert (protocol["dataset"], protocol["images"], protocol["split_images"]) == (
        f"bddzoo-mini-val{COUNT}",
        4,
        4,
    )
    assert (protocol["device"], protocol["precision"], protocol["batch_size"]) == ("cpu", "fp32", 1)
    assert (protocol["partial"], protocol["limit"], protocol["skipped"]) == (False, None, [])
    assert protocol["image_list"].startswith("sha256:")
    assert record["weights"]["size_bytes"] == len(world[1]["sem_seg"])
    assert record["weights"]["state"] == "unknown"
    assert record["run"]["command"][0] == "bddzoo"
    assert record["environment"]["packages"]["torch"]


def reproduced(world, cli, tmp_path, *, offset: float = 0.0, url: str = "http://127.0.0.1:9/x.pth") -> Path:
    """A registry that reports what the network really gives, shifted."""
    measured = json.loads(cli("sem_seg", "--format", "json").out)["scores"]["summary"]["mIoU"]
    return tiny.write_registry(
        tmp_path / "reported.yaml",
        weights=world[1],
        sources={"sem_seg": url},
        reported={"sem_seg": {"mIoU": f"{measured + offset:.2f}"}},
        dataset=f"bddzoo-mini-val{COUNT}",
    )


def test_reproduced_over_http(cli, world, tmp_path):
    with Server() as server:
        url = server.put(f"models/{tiny.SEM_SEG}.pth", world[1]["sem_seg"])
        registry = reproduced(world, cli, tmp_path, url=url)
        done = cli("sem_seg", registry=registry, weights=None)
    assert done.code == 0, done.err
    assert "verdict: reproduced" in done.out
    last = max(
        records(tmp_path), key=lambda r: r["run"]["started"] + str(r["weights"]["state"] == "verified")
    )
    assert last["weights"]["state"] == "verified"
    assert last["weights"]["source"] == url


def test_other_verdicts_have_other_codes(cli, world, tmp_path):
    registry = reproduced(world, cli, tmp_path, offset=5)
    assert cli("sem_seg", registry=registry).code == 3
    registry = reproduced(world, cli, tmp_path, offset=-0.5)
    assert cli("sem_seg", registry=registry).code == 3
    registry = reproduced(world, cli, tmp_path)
    assert cli("sem_seg", registry=registry).code == 0
    limited = cli("sem_seg", "--limit", 2, registry=registry)
    assert limited.code == 4
    assert "partial data set: limited to 2 images" in limited.out
    assert cli("sem_seg", "--limit", 100, registry=registry).code == 0
    (world[0] / "other.pth").write_bytes(world[1]["sem_seg"] + b"\0")
    unverified = cli("sem_seg", registry=registry, weights=world[0] / "other.pth")
    assert unverified.code == 6
    assert "not the zoo's file" in unverified.err


def test_a_real_bdd100k_folder_that_is_not_whole_is_never_reproduced(cli, world, tmp_path):
    data = copy_data(world, tmp_path)
    (data / "mini.json").unlink()
    registry = reproduced(world, cli, tmp_path)
    text = registry.read_text().replace(f"bddzoo-mini-val{COUNT}", "bdd100k")
    registry.write_text(text)
    done = cli("sem_seg", registry=registry, data=data)
    assert done.code == 4
    assert f"{COUNT} of 1000 images" in done.out


@pytest.mark.parametrize("task", TASKS)
def test_batches_give_the_same_numbers(cli, task):
    one, three = (
        json.loads(cli(task, "--format", "json", "--batch-size", n).out)["scores"]["summary"] for n in (1, 3)
    )
    assert one == pytest.approx(three)


def test_one_bad_image_fails_at_the_end(cli, world, tmp_path):
    data = copy_data(world, tmp_path)
    image = data / "images/10k/val/frame00001.jpg"
    image.write_bytes(image.read_bytes()[:-30])
    done = cli("sem_seg", data=data, out=tmp_path / "out")
    assert done.code == 5
    assert len(done.errors) == 1
    assert "1 of 4 images could not be used, nothing was recorded" in done.errors[0]
    assert f"warning: frame00001.jpg: {image} is damaged: it is cut short" in done.err
    assert "3 of 4 images" in done.out
    assert records(tmp_path) == []
    assert len(list((tmp_path / "out/masks").iterdir())) == 3


def test_skipping_a_bad_image_makes_the_record_partial(cli, world, tmp_path):
    data = copy_data(world, tmp_path)
    (data / "images/10k/val/frame00001.jpg").write_bytes(b"")
    registry = reproduced(world, cli, tmp_path)
    done = cli("sem_seg", "--skip-bad", data=data, registry=registry)
    assert done.code == 4
    partial = [r for r in records(tmp_path) if r["protocol"]["partial"]]
    assert [r["protocol"]["skipped"] for r in partial] == [["frame00001.jpg"]]
    assert partial[0]["protocol"]["images"] == 3


@pytest.mark.parametrize("task", TASKS)
def test_a_bad_label_is_a_bad_image(cli, world, tmp_path, task):
    data = copy_data(world, tmp_path)
    folder = data / ("labels/sem_seg/masks/val" if task == "sem_seg" else "labels/ins_seg/bitmasks/val")
    (folder / "frame00000.png").write_bytes(b"this is not PNG")
    cv2.imwrite(str(folder / "frame00002.png"), np.zeros((48, 80, 3), np.uint8))
    small = np.zeros((24, 40) if task == "sem_seg" else (24, 40, 4), np.uint8)
    cv2.imwrite(str(folder / "frame00003.png"), small)
    done = cli(task, data=data)
    assert done.code == 5
    assert "frame00000.png is not a PNG" in done.err
    assert "frame00002.png is no" in done.err
    assert "the image is 80x48 but its label" in done.err
    assert "3 of 4 images" in done.errors[0]


def test_missing_images_and_labels(cli, world, tmp_path):
    data = copy_data(world, tmp_path)
    (data / "images/10k/val/frame00003.jpg").unlink()
    done = cli("sem_seg", data=data)
    assert done.code == 5
    assert len(done.errors) == 1
    assert "1 label without an image (first: frame00003)" in done.errors[0]
    assert cli("sem_seg", "--skip-bad", data=data).code == 5  # the zoo reports nothing; see the record
    assert records(tmp_path)[0]["protocol"]["skipped"] == ["frame00003"]
    (data / "labels/sem_seg/masks/val/frame00000.png").unlink()
    assert "1 image without a label" in cli("sem_seg", "--skip-bad", data=data).err
    shutil.rmtree(data / "labels/sem_seg")
    done = cli("sem_seg", data=data)
    assert done.code == 5
    assert "no folder labels/sem_seg/masks/val" in done.errors[0]


def test_nothing_usable(cli, world, tmp_path):
    data = copy_data(world, tmp_path)
    for image in (data / "images/10k/val").iterdir():
        image.write_bytes(b"junk")
    done = cli("sem_seg", data=data)
    assert done.code == 5
    assert "no image of" in done.errors[0]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--device", "tpu"], 2, "no device is called 'tpu'"),
        (["--device", "cuda:77"], 5, "does not exist"),
        (["--limit", "0"], 2, "limit"),
        (["--batch-size", "0"], 2, "batch-size"),
        (["--split", "dev"], 2, "split"),
        (["--split", "train"], 5, "images/10k/train"),
        (["--weights", "nowhere.pth"], 5, "nowhere.pth"),
    ],
)
def test_options_that_make_no_sense(cli, options, code, words):
    done = cli("sem_seg", *options)
    assert done.code == code
    assert len(done.errors) == 1
    assert words in done.errors[0]


def test_weights_that_do_not_fit(cli, world, tmp_path):
    done = cli("sem_seg", weights=world[0] / "ins_seg.pth")
    assert done.code == 6
    assert "does not fit" in done.errors[0]
    half = tmp_path / "half.pth"
    half.write_bytes(world[1]["sem_seg"][:1000])
    done = cli("sem_seg", weights=half)
    assert done.code == 6
    assert len(done.errors) == 1


def test_predictions_are_not_overwritten_unasked(cli, tmp_path):
    out = tmp_path / "out"
    assert cli("sem_seg", out=out).code == 5
    done = cli("sem_seg", out=out)
    assert done.code == 2
    assert "holds predictions already" in done.errors[0]
    assert cli("sem_seg", "--force", out=out).code == 5


def test_no_permission_to_write(cli, tmp_path):
    (tmp_path / "file").write_text("")
    for options in ({"out": tmp_path / "file" / "out"}, {"results": tmp_path / "file" / "results"}):
        done = cli("sem_seg", **options)
        assert done.code == 5
        assert "cannot write" in done.errors[0]


def test_an_unreachable_source_is_a_network_error(cli, world, tmp_path):
    registry = tiny.write_registry(
        tmp_path / "r.yaml", weights=world[1], sources={"sem_seg": "http://127.0.0.1:9/tiny.pth"}
    )
    done = cli("sem_seg", registry=registry, weights=None)
    assert done.code == 7
    assert len(done.errors) == 1


def test_a_process_of_its_own(world, tmp_path):
    """The same through a real process: nothing but the error line on stderr, nothing on stdout."""
    done = bddzoo("eval", tiny.SEM_SEG, "--data", tmp_path / "no", "--registry", world[0] / "registry.yaml")
    assert_one_line(done, 5, "does not exist")


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys; from bddzoo.cli.main import run; code = run([sys.argv[1], '--help']);"
        "print([m for m in ('torch', 'cv2', 'numpy', 'rich', 'bddzoo.engines') if m in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
    assert "Examples:" in done.stdout


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(world, tmp_path):
    """Resident memory after the first fifth of many frames is what it is at the end."""
    from bddzoo.registry import load_registry
    from bddzoo.results import WeightsUsed
    from bddzoo.runs.measure import MeasureOptions, Watcher, measure

    data = tiny.make_data(tmp_path / "many", 500, height=96, width=160)
    model = load_registry(world[0] / "registry.yaml").find(tiny.INS_SEG)
    process = psutil.Process()
    seen: dict[int, int] = {}

    def watch(done: int, total: int) -> None:
        seen[done] = process.memory_info().rss

    options = MeasureOptions(device="cpu", out=tmp_path / "out")
    used = WeightsUsed(name="w.pth")
    outcome = measure(model, data, world[0] / "ins_seg.pth", used, options, Watcher(progress=watch))
    assert outcome.scores.frames == 500
    # 400 frames of 96x160 with up to 12 masks each would hold 74 MB.
    assert seen[500] - seen[100] < 20e6
