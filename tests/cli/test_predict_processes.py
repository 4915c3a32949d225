"""`predict --gpus N` and `eval --split test -o DIR` with processes on the CPU: each image exactly once."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bddzoo.runs.predict import Prediction
from tests.cli.command import assert_one_line, bddzoo
from tests.cli.conftest import COUNT, TinyZoo
from tests.cli.test_eval_processes import MODELS, files, interrupt_all, kill_one
from tests.support.sampling import sampled
from tests.support.tiny import make_data

MANY = 1200


def predict(tiny: TinyZoo, task: str, images: Path, out: Path, *more: object) -> list[object]:
    return [
        *("predict", MODELS[task], "--registry", tiny.registry, "--weights", tiny.weights[task]),
        *("-i", images, "-o", out, "--device", "cpu", *more),
    ]


def evaluate(tiny: TinyZoo, task: str, data: Path, out: Path, *more: object) -> list[object]:
    return [
        *("eval", MODELS[task], "--registry", tiny.registry, "--weights", tiny.weights[task]),
        *("--data", data, "--split", "test", "-o", out, "--results", out.parent / "results"),
        *("--device", "cpu", "--format", "json", *more),
    ]


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose test split has no labels, as the published one."""
    root = make_data(tmp_path_factory.mktemp("test"), COUNT + 1, height=720, width=1280)
    (root / "images/10k/val").rename(root / "images/10k/test")
    shutil.rmtree(root / "labels")
    return root


def named(path: Path) -> list[str]:
    """The frames of a JSON file, as often as they are in it."""
    content = json.loads(path.read_text())
    return sorted(frame["name"] for frame in (content if isinstance(content, list) else content["frames"]))


@pytest.mark.slow
@pytest.mark.parametrize("task", sampled(MODELS, "ins_seg".__eq__))
def test_several_processes_write_what_one_writes(tiny: TinyZoo, tmp_path: Path, task: str) -> None:
    images = tiny.data / "images/10k/val"
    told = []
    for count in (1, 3):
        done = bddzoo(
            *predict(tiny, task, images, tmp_path / str(count), "--gpus", count, "--format", "json")
        )
        assert done.returncode == 0, done.stderr
        told.append({**json.loads(done.stdout), "out": None})
    assert told[0] == told[1]
    assert [row["name"] for row in told[0]["images"]] == sorted(p.name for p in images.iterdir())
    assert files(tmp_path / "1") == files(tmp_path / "3")


@pytest.mark.slow
def test_more_processes_than_images(tiny: TinyZoo, tmp_path: Path) -> None:
    image = next((tiny.data / "images/10k/val").iterdir())
    done = bddzoo(*predict(tiny, "sem_seg", image, tmp_path / "out", "--gpus", 4))
    assert done.returncode == 0, done.stderr
    assert named(tmp_path / "out/sem_seg.json") == [image.name]


@pytest.mark.slow
@pytest.mark.parametrize("task", sampled(MODELS, "sem_seg".__eq__))
def test_a_split_without_labels_is_predicted_and_not_judged(
    tiny: TinyZoo, tmp_path: Path, test_set: Path, task: str
) -> None:
    outputs = []
    for count in (1, 2):
        out = tmp_path / str(count) / "out"
        done = bddzoo(*evaluate(tiny, task, test_set, out, "--gpus", count))
        assert done.returncode == 0, done.stderr
        row = json.loads(done.stdout)
        assert (row["images"], row["scores"], row["verdict"], row["failures"]) == (COUNT + 1, None, None, [])
        assert "nothing was scored or judged" in done.stderr
        assert not (tmp_path / str(count) / "results").exists()
        outputs.append(files(out))
    assert outputs[0] == outputs[1]
    parts = {"sem_seg": ["masks", "sem_seg.json"], "ins_seg": ["bitmasks", "det.json", "score.json"]}[task]
    assert sorted(p.name for p in out.iterdir()) == parts
    archive = tmp_path / "submission.zip"
    options = ("-i", test_set / "images/10k/test", "--count", COUNT + 1)
    packed = bddzoo("pack", "-t", task, "-r", out, *options, "-o", archive)
    assert packed.returncode == 0, packed.stderr
    assert archive.stat().st_size


def test_without_out_or_with_labels_it_says_what_to_do(tiny: TinyZoo, tmp_path: Path, test_set: Path) -> None:
    command = evaluate(tiny, "sem_seg", test_set, tmp_path / "out")
    place = command.index("-o")
    assert_one_line(bddzoo(*command[:place], *command[place + 2 :]), 5, "has no labels", "-o DIR")
    command = [*evaluate(tiny, "sem_seg", tiny.data, tmp_path / "out", "--resume"), "--split", "val"]
    assert_one_line(bddzoo(*command), 2, "--resume", "is scored in one run")


@pytest.fixture
def many(tiny: TinyZoo, tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    image = next((tiny.data / "images/10k/val").iterdir())
    for index in range(MANY):
        os.link(image, folder / f"{index:04d}.jpg")
    return folder


def busy(out: Path) -> Callable[[], bool]:
    """Whether both processes have written something."""
    return lambda: len({p.parents[2] for p in out.glob(".*.part/part*/.*.part/masks/*.png")}) == 2


def check_part(out: Path, before: set[str] = frozenset()) -> set[str]:
    """What a stopped run left: a whole prediction set of some images, and a note that says which."""
    names = Counter(named(out / "sem_seg.json"))
    assert set(names.values()) == {1}
    assert {p.stem for p in (out / "masks").iterdir()} == {Path(n).stem for n in names}
    assert {p.stem for p in (out / "overlays").iterdir()} == {Path(n).stem for n in names}
    note = json.loads((out / "unfinished.json").read_text())
    assert set(note["done"]) == set(names)
    assert note["total"] == MANY
    assert not list(out.glob(".*"))
    assert before < set(names)
    return set(names)


@pytest.mark.slow
def test_ctrl_c_a_death_and_resuming_lose_and_repeat_no_image(
    tiny: TinyZoo, tmp_path: Path, many: Path
) -> None:
    out = tmp_path / "out"
    command = predict(tiny, "sem_seg", many, out, "--gpus", 2)
    done, team = interrupt_all(command, busy(out))
    assert_one_line(done, 130, "interrupted")
    assert len(team) == 2
    first = check_part(out)
    assert f"{len(first)} of {MANY} images are written" in done.stderr

    done, _ = kill_one([*command, "--resume"], busy(out))
    assert_one_line(done, 5, "signal 9, SIGKILL")
    assert "--resume does the rest" in done.stderr
    second = check_part(out, first)

    for path in many.iterdir():  # the rest may be few, so that the test ends
        if path.name not in second and path.name < f"{MANY - 3:04d}":
            path.unlink()
    left = {path.name for path in many.iterdir()} - second
    done = bddzoo(*command, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"{len(second)} were there from before" in done.stderr
    assert named(out / "sem_seg.json") == sorted(second | left)
    assert not (out / "unfinished.json").exists()


def test_what_can_be_checked_without_weights_is(tiny: TinyZoo, tmp_path: Path) -> None:
    """A model of unknown classes, or a folder in use, is refused before a download."""
    from bddzoo.errors import UsageError
    from bddzoo.registry import load_registry
    from bddzoo.runs.loop import MeasureOptions

    model = load_registry(tiny.registry).find(MODELS["sem_seg"])
    (tmp_path / "masks").mkdir()
    with pytest.raises(UsageError, match="holds predictions already"):
        Prediction(model, {}, MeasureOptions(out=tmp_path))
