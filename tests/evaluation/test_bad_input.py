"""Files that cannot be scored: one line that names them, exit 5, no hang, no score."""

import json
import os
import socket
import zipfile

import cv2
import numpy as np
import pytest

from bddzoo.datasets.formats import json_index
from bddzoo.errors import MissingError
from bddzoo.evaluation import disk
from bddzoo.evaluation.disk import evaluate
from bddzoo.evaluation.jobs import run_jobs
from bddzoo.evaluation.mask_frames import MaskWork
from bddzoo.evaluation.options import Options
from tests.attacks.labels import png
from tests.evaluation import scenes
from tests.evaluation.commands import refused, score
from tests.evaluation.test_oracle import label, write_png

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("either_way")]


@pytest.fixture
def masks(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        truth = scenes.class_map(rng)
        write_png(tmp_path / f"gt/f{i}.png", truth)
        write_png(tmp_path / f"pred/f{i}.png", scenes.disturbed(rng, truth))
    return tmp_path


def refusal(root, *more, task="sem_seg", gt="gt", pred="pred"):
    """The one line that a refusal prints."""
    line = refused(score(task, root / gt, root / pred, "--out-file", root / "out.json", *more))
    assert not (root / "out.json").exists()
    return line


@pytest.mark.parametrize("nproc", ["1", "3"])
def test_all_bad_files_are_listed(masks, nproc):
    for i in (1, 4):
        path = masks / f"pred/f{i}.png"
        path.write_bytes(path.read_bytes()[:-20])
    (masks / "pred/f5.png").write_bytes(b"no image")
    line = refusal(masks, "--nproc", nproc)
    assert "3 frames cannot be scored" in line
    assert all(f"f{i}.png" in line for i in (1, 4, 5))


def test_many_bad_files_are_counted(tmp_path):
    truth = scenes.class_map(np.random.default_rng(0))
    for i in range(30):
        write_png(tmp_path / f"gt/f{i:02}.png", truth)
        (tmp_path / "pred").mkdir(exist_ok=True)
        (tmp_path / f"pred/f{i:02}.png").write_bytes(b"")
    line = refusal(tmp_path)
    assert "30 frames" in line
    assert "and 20 more" in line
    assert "is empty" in line


def test_one_truncated_png_among_a_thousand(tmp_path):
    done, content = cv2.imencode(".png", scenes.class_map(np.random.default_rng(0), (8, 8)))
    assert done
    for side in ("gt", "pred"):
        (tmp_path / side).mkdir()
        for i in range(1000):
            (tmp_path / side / f"f{i:04}.png").write_bytes(content.tobytes())
    bad = tmp_path / "pred/f0777.png"
    bad.write_bytes(bad.read_bytes()[:-9])
    assert "pred/f0777.png is damaged" in refusal(tmp_path)
    done = score("sem_seg", tmp_path / "gt", tmp_path / "pred", "--allow-partial")
    assert done.code == 0
    assert "999 frames, PARTIAL" in done.out
    assert "f0777.png" in done.err


def test_a_file_that_vanishes_meanwhile(masks, monkeypatch):
    work = MaskWork.semantic

    def vanish(self, pair):
        (masks / "pred/f3.png").unlink(missing_ok=True)
        return work(self, pair)

    monkeypatch.setattr(MaskWork, "semantic", vanish)
    with pytest.raises(MissingError, match=r"no such file: .*f3\.png"):
        evaluate("sem_seg", masks / "gt", masks / "pred", options=Options(workers=2))


def test_decompression_bombs_are_not_inflated(masks):
    (masks / "pred/f2.png").write_bytes(png(100_000, 100_000, rows=1))
    assert "f2.png claims 100000x100000 pixels" in refusal(masks)
    # An image whose data end early is not an image either.
    (masks / "pred/f2.png").write_bytes(png(40, 24 * 1000, rows=24))
    assert "f2.png" in refusal(masks)


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.zeros((24, 40), np.uint16), "16-bit grey"),
        (np.zeros((24, 40, 3), np.uint8), "RGB"),
        (np.zeros((24, 40, 4), np.uint8), "RGBA"),
        (np.zeros((40, 24), np.uint8), "transposed"),
        (np.zeros((12, 80), np.uint8), "80x12"),
    ],
)
def test_images_of_another_kind(masks, pixels, text):
    assert cv2.imwrite(str(masks / "pred/f1.png"), pixels)
    line = refusal(masks)
    assert "pred/f1.png" in line
    assert text in line


def test_a_class_map_is_no_bitmask(masks):
    (masks / "score.json").write_text(json.dumps([{"name": f"f{i}.jpg"} for i in range(6)]))
    line = refusal(masks, "--score-file", str(masks / "score.json"), task="ins_seg")
    assert "holds labels of sem_seg, not of ins_seg" in line


def test_ground_truth_values_that_are_no_class(masks):
    truth = np.full((24, 40), 33, np.uint8)
    truth[:3] = 2
    write_png(masks / "gt/f0.png", truth)
    assert "gt/f0.png: 840 pixels are of no class" in refusal(masks)


def frames_json(path, count=3, *, scored=True, name="f{}.jpg", **more):
    mask = np.zeros((720, 1280), bool)
    mask[100:200, 100:300] = True
    extra = {"score": 0.5} if scored else {}
    frames = [
        {"name": name.format(i), "labels": [label(1, "car", mask, **extra, **more)]} for i in range(count)
    ]
    path.write_text(json.dumps(frames))
    return path


@pytest.fixture
def rles(tmp_path):
    frames_json(tmp_path / "gt.json", scored=False)
    frames_json(tmp_path / "pred.json")
    return tmp_path


@pytest.mark.parametrize("task", ["sem_seg", "ins_seg"])
@pytest.mark.parametrize("nproc", ["1", "2"])
def test_json_that_was_cut_in_the_middle(rles, task, nproc):
    text = (rles / "pred.json").read_text()
    (rles / "pred.json").write_text(text[: len(text) // 2])
    line = refusal(rles, "--nproc", nproc, task=task, gt="gt.json", pred="pred.json")
    assert "pred.json is not a list of frames" in line


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f[1].pop("name"), "frame 2"),
        (lambda f: f[1]["labels"][0]["rle"].update(counts="0000"), "frame f1.jpg: the RLE of category car"),
        (
            lambda f: f[1]["labels"][0]["rle"].update(counts="\x7f\x7f"),
            "frame f1.jpg: the RLE of category car",
        ),
        (lambda f: f[1]["labels"][0]["rle"].update(counts=""), "frame f1.jpg: the RLE of category car"),
        (lambda f: f[1]["labels"][0]["rle"].update(counts="P" * 40), "frame f1.jpg: the RLE of category car"),
        (lambda f: f[1]["labels"][0]["rle"].update(counts=[1, 2]), "frame f1.jpg: Expected `str`"),
        (lambda f: f[1]["labels"][0]["rle"].update(size=[10**6, 10**6]), "frame f1.jpg"),
        (lambda f: f[1]["labels"][0].update(rle=None, poly2d=[{"vertices": [[0, 0]]}]), "f1.jpg: a polygon"),
        (lambda f: f[1].update(labels=3), "frame f1.jpg: Expected `array"),
        (lambda f: f[1].update(name="f0.jpg"), "has frame f0.jpg more than once"),
        (lambda f: f.pop(), "no prediction for 1 of 3 frames: f2.jpg"),
    ],
)
@pytest.mark.parametrize("task", ["sem_seg", "ins_seg"])
@pytest.mark.parametrize("nproc", ["1", "2"])
def test_broken_frames(rles, change, text, task, nproc):
    # With more than one process, the official toolkit hangs forever on an invalid RLE.
    frames = json.loads((rles / "pred.json").read_text())
    change(frames)
    (rles / "pred.json").write_text(json.dumps(frames))
    line = refusal(rles, "--nproc", nproc, task=task, gt="gt.json", pred="pred.json")
    assert "pred.json" in line
    assert text in line


@pytest.mark.parametrize("content", ["", "3", '{"labels": []}', "[" * 100_000, "\0" * 1000, '["a"]'])
def test_json_of_another_kind(rles, content):
    (rles / "pred.json").write_text(content)
    assert "pred.json" in refusal(rles, gt="gt.json", pred="pred.json")


def test_a_two_gigabyte_file_of_nothing_takes_no_memory(rles):
    with (rles / "pred.json").open("wb") as file:
        file.write(b"[")
        file.truncate(2 << 30)
    line = refusal(rles, gt="gt.json", pred="pred.json")
    assert "pred.json is not a list of frames" in line


def test_scores_that_do_not_fit_the_bitmasks(tmp_path):
    mask = scenes.paint([(1, 3, 0, 2, 9, 2, 9)])
    for side in ("gt", "pred"):
        write_png(tmp_path / side / "f.png", mask)
    scores = tmp_path / "s.json"
    for content, text in (
        ([{"name": "g.jpg"}], "has no scores for f.png"),
        ([{"name": "f.jpg"}, {"name": "f.png"}], "lists a frame more than once"),
        ([{"name": "f.jpg", "labels": [{"index": "a", "score": 1}]}], "s.json, frame f.jpg"),
        ([{"name": "f.jpg", "labels": [{"index": 1}]}], "s.json, frame f.jpg"),
    ):
        scores.write_text(json.dumps(content))
        assert text in refusal(tmp_path, "--score-file", str(scores), task="ins_seg")


def pack(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*") if folder.is_dir() else [folder]):
            if file.is_file():
                archive.write(file, prefix + file.name)


def test_archives_give_the_numbers_of_folders(masks, rles):
    pack(masks / "gt", masks / "gt.zip", "gt/")
    pack(masks / "pred", masks / "pred.zip", "some/folder/")
    plain = evaluate("sem_seg", masks / "gt", masks / "pred").scores
    for workers in (1, 3):
        packed = evaluate("sem_seg", masks / "gt.zip", masks / "pred.zip", options=Options(workers=workers))
        assert packed.scores == plain
    pack(rles / "pred.json", rles / "predictions.zip", "x/")
    scores = evaluate("ins_seg", rles / "gt.json", rles / "predictions.zip").scores
    assert scores.summary["AP50"] == pytest.approx(100)


def test_scores_are_found_in_the_archive_of_the_bitmasks(tmp_path):
    rng = np.random.default_rng(4)
    gt, pred, scores = scenes.ins_frame(rng)
    write_png(tmp_path / "gt/f.png", gt)
    write_png(tmp_path / "pred/f.png", pred)
    (tmp_path / "pred/score.json").write_text(json.dumps([{"name": "f.jpg", "labels": scores}]))
    pack(tmp_path / "pred", tmp_path / "pred.zip")
    (tmp_path / "pred/score.json").rename(tmp_path / "score.json")
    apart = evaluate("ins_seg", tmp_path / "gt", tmp_path / "pred", score_file=tmp_path / "score.json")
    assert (
        evaluate("ins_seg", tmp_path / "gt", tmp_path / "pred.zip").scores.to_json() == apart.scores.to_json()
    )


def test_broken_archives(masks):
    pack(masks / "pred", masks / "pred.zip")
    content = bytearray((masks / "pred.zip").read_bytes())
    content[60:90] = bytes(30)
    (masks / "pred.zip").write_bytes(content)
    assert "f0.png" in refusal(masks, pred="pred.zip")
    (masks / "pred.zip").write_bytes(content[: len(content) // 2])
    assert "pred.zip is not a readable zip archive" in refusal(masks, pred="pred.zip")


def test_archives_that_inflate_to_gigabytes(rles):
    with zipfile.ZipFile(rles / "pred.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pred.json", b" " * (40 << 20))
    assert "claims 41943040 bytes" in refusal(rles, gt="gt.json", pred="pred.zip")


def test_archive_junk_is_passed_over(masks):
    pack(masks / "pred", masks / "pred.zip")
    with zipfile.ZipFile(masks / "pred.zip", "a") as archive:
        archive.writestr("__MACOSX/._f0.png", b"x")
        archive.writestr(".DS_Store", b"x")
    assert evaluate("sem_seg", masks / "gt", masks / "pred.zip").scores.frames == 6


def test_no_read_permission_and_folders_in_place_of_files(masks):
    (masks / "pred/f0.png").unlink()
    (masks / "pred/f0.png").symlink_to(masks / "nowhere.png")
    assert "f0.png" in refusal(masks)


def test_a_result_that_cannot_be_written_says_so(masks):
    (masks / "file").write_text("")
    done = score("sem_seg", masks / "gt", masks / "pred", "--out-file", masks / "file/out.json")
    assert done.code == 5
    warning, error = done.err.splitlines()
    assert warning.startswith("warning: predicted values that are not a class are counted as wrong:")
    assert error.startswith("error:")


def test_pipes_are_not_waited_for(masks, rles, monkeypatch):
    (masks / "pred/f3.png").unlink()
    os.mkfifo(masks / "pred/f3.png")
    assert "f3.png is a pipe or a device" in refusal(masks)
    (masks / "pred/f3.png").unlink()
    monkeypatch.chdir(masks / "pred")  # the path of a socket has to be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("f3.png")
        assert "f3.png is a pipe or a device" in refusal(masks)
    os.mkfifo(rles / "pipe.json")
    line = refusal(rles, gt="gt.json", pred="pipe.json")
    assert "pipe.json is neither a file nor a folder" in line


@pytest.mark.parametrize("colour", [0, 3])
def test_more_pixels_than_the_header_says_are_refused_and_not_inflated(masks, capfd, colour):
    pytest.importorskip("imagecodecs")
    (masks / "pred/f2.png").write_bytes(png(40, 24, colour=colour, rows=100_000))
    assert "pred/f2.png is damaged: its pixels are not what its header says" in refusal(masks)
    assert capfd.readouterr() == ("", ""), "of what it decodes with"


def test_more_frames_than_any_data_set_has(rles, monkeypatch):
    monkeypatch.setattr(json_index, "MAX_FRAMES", 1)
    assert "more than 1 frames in it" in refusal(rles, gt="gt.json", pred="pred.json")


def test_a_frame_that_never_ends(rles, monkeypatch):
    monkeypatch.setattr(json_index, "MAX_FRAME", 1 << 20)
    (rles / "pred.json").write_bytes(b'[{"name": "f0.jpg", "labels": [' + b" " * (1 << 23))
    line = refusal(rles, gt="gt.json", pred="pred.json")
    assert "pred.json is not a list of frames: a frame in it is larger than" in line


def test_refusals_hold_no_pixels():
    """A set may have thousands of bad frames."""

    def work(job):
        pixels = np.zeros(1 << 20, np.uint8)
        try:
            raise ValueError(len(pixels))
        except ValueError as error:
            raise MissingError(f"{job} is bad") from error

    for workers in (1, 2):
        for job, error in run_jobs(work, ["a", "b"], workers):
            assert str(error) == f"{job} is bad"
            assert error.__traceback__ is None
            assert error.__context__ is None


@pytest.mark.parametrize(
    ("option", "text", "status"), [("--out-file", "is a directory", 2), ("--plots", "it is not a folder", 5)]
)
def test_places_that_cannot_be_written_to_are_told_at_once(masks, monkeypatch, option, text, status):
    place = masks / ("gt" if option == "--out-file" else "gt/f0.png")
    monkeypatch.setattr(disk, "run_jobs", lambda *_: pytest.fail("it was scored"))
    done = score("sem_seg", masks / "gt", masks / "pred", option, place)
    assert done.code == status
    assert text in done.err
