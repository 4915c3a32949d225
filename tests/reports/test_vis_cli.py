"""`vis color` and `vis overlay`."""

import json
import os
import shutil

import numpy as np
import pytest

from bddzoo.datasets.classes import PAN_SEG, SEM_SEG
from bddzoo.datasets.formats.mask import write_mask, write_rgba
from bddzoo.painting.colouring import object_palette
from tests.cli.command import assert_one_line, interrupt
from tests.reports.vis_data import NAMES, bitmask, class_map, images_in, photo, read, warnings
from tests.support.sampling import sampled


def test_colours_of_classes_are_the_official_ones(vis, data, tmp_path):
    assert vis("color", "-t", "sem_seg", "-l", data / "masks.zip", "-o", tmp_path).returncode == 0
    table = np.zeros((256, 3), np.uint8)
    table[:19] = SEM_SEG.palette
    for seed, name in enumerate(NAMES):
        assert np.array_equal(read(tmp_path / f"{name}.png")[..., ::-1], table[class_map(seed)])


def test_colours_of_objects_are_the_same_in_every_run(vis, data, tmp_path):
    for out in ("a", "b"):
        vis("color", "-t", "ins_seg", "-l", data / "bitmasks", "-o", tmp_path / out)
    vis("color", "-t", "ins_seg", "-l", data / "bitmasks", "-o", tmp_path / "c", "--seed", "1")
    for seed, name in enumerate(NAMES):
        a, b, c = (read(tmp_path / out / f"{name}.png") for out in "abc")
        ids = bitmask(seed)[..., 2].astype(int) << 8 | bitmask(seed)[..., 3]
        assert np.array_equal(a, b)
        assert np.array_equal(a[..., ::-1], object_palette(0)[ids])
        assert np.array_equal(c[..., ::-1], object_palette(1)[ids])


def test_panoptic_stuff_has_its_class_colour_and_things_their_own(vis, data, tmp_path):
    assert vis("color", "-t", "pan_seg", "-l", data / "pan", "-o", tmp_path).returncode == 0
    drawn = read(tmp_path / "e.png")[..., ::-1]
    truth = bitmask(NAMES.index("e"))
    road = (truth[..., 0] > 0) & (truth[..., 3] <= 1)
    assert (drawn[road] == PAN_SEG.palette[PAN_SEG.index("road")]).all()
    things = (truth[..., 0] > 0) & ~road
    assert (drawn[things] == object_palette(0)[300]).all(axis=-1).any()


def test_more_objects_than_a_palette_holds(vis, tmp_path):
    ids = np.arange(1, 401, dtype=np.uint16).reshape(20, 20)
    pixels = np.dstack([np.full_like(ids, 3), np.zeros_like(ids), ids >> 8, ids & 255]).astype(np.uint8)
    write_rgba(tmp_path / "in/a.png", pixels)
    assert vis("color", "-t", "ins_seg", "-l", tmp_path / "in", "-o", tmp_path / "out").returncode == 0
    assert np.array_equal(read(tmp_path / "out/a.png")[..., ::-1], object_palette(0)[ids])


@pytest.mark.parametrize(
    "labels", ["masks", "masks.zip", "masks.json", "bitmasks", "bitmasks.zip", "bitmasks.json", "coco.json"]
)
@pytest.mark.parametrize("images", ["images", "images.zip"])
def test_overlays_of_everything(vis, data, tmp_path, images, labels):
    done = vis("overlay", "-i", data / images, "-l", data / labels, "-o", tmp_path, "--boxes", "--scores")
    assert done.returncode == 0, done.stderr
    assert images_in(tmp_path) == sorted(f"{name}.jpg" for name in NAMES)
    for seed, name in enumerate(NAMES):
        drawn = read(tmp_path / f"{name}.jpg")
        assert drawn.shape == photo(seed).shape
        assert np.abs(drawn.astype(int) - photo(seed)).mean() > 5


def test_alpha_zero_without_anything_is_the_image(vis, data, tmp_path):
    plain = ("--alpha", "0", "--no-outlines", "--no-names", "--ext", "png")
    assert vis("overlay", "-i", data / "images", "-l", data / "masks", "-o", tmp_path, *plain).returncode == 0
    for seed, name in enumerate(NAMES):
        assert np.array_equal(read(tmp_path / f"{name}.png"), photo(seed))


def test_what_is_finished_is_kept_until_it_is_old(vis, data, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(data / "masks", work)
    arguments = ("overlay", "-i", data / "images", "-l", work, "-o", tmp_path / "out", "--format", "json")

    def run(*more):
        done = vis(*arguments, *more)
        told = json.loads(done.stdout)
        return told["drawn"], told["kept"]

    assert run() == (4, 0)
    assert run() == (0, 4)
    (tmp_path / "out/e.jpg").unlink()
    assert run() == (1, 3)
    assert run("--force") == (4, 0)
    assert run("--alpha", "0.9") == (4, 0)
    assert run("--alpha", "0.9") == (0, 4)
    later = (tmp_path / "out/e.jpg").stat().st_mtime_ns + 10**9
    os.utime(work / "e.png", ns=(later, later))
    assert run("--alpha", "0.9") == (1, 3)


def test_what_cannot_be_drawn_is_told_and_the_rest_is_done(vis, broken):
    done = vis("overlay", "-i", broken / "images", "-l", broken / "masks", "-o", broken / "out")
    assert done.returncode == 5
    told = "\n".join(warnings(done))
    for words in ("e.png is damaged", "48x32, its image is 96x64", "d#1%20.png is damaged", "no labels in"):
        assert words in told
    assert len(warnings(done)) == 4
    assert images_in(broken / "out") == ["a b+c.jpg"]
    listed = json.loads(vis(*done.args[1:], "--format", "json").stdout)["failed"]
    assert sorted(entry["name"] for entry in listed) == sorted(("e", "ü", "d#1%20", "lonely"))


def test_nothing_that_can_be_drawn_is_one_error(vis, tmp_path, data):
    write_mask(tmp_path / "masks/e.png", np.zeros((5, 5), np.uint8))
    done = vis("overlay", "-i", data / "images/e.png", "-l", tmp_path / "masks", "-o", tmp_path / "out")
    assert_one_line(done, 5, "not one of 1 image", "5x5")


def test_a_folder_that_cannot_be_written_to(vis, data, tmp_path):
    place = "/proc/nowhere" if os.geteuid() == 0 else tmp_path / "locked"
    if os.geteuid():
        place.mkdir(mode=0o500)
    assert_one_line(vis("color", "-t", "sem_seg", "-l", data / "masks", "-o", place), 5, "cannot write")
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file/out"
    assert_one_line(vis("color", "-t", "sem_seg", "-l", data / "masks", "-o", inside), 5, "cannot write")


def test_an_image_that_cannot_be_written_ends_the_run(vis, data, tmp_path):
    for name in NAMES:
        (tmp_path / f"{name}.png").mkdir()
    done = vis("color", "-t", "sem_seg", "-l", data / "masks", "-o", tmp_path, "--force")
    assert_one_line(done, 5, "cannot write")
    assert not warnings(done)


def test_many_failures_are_counted_not_listed(vis, tmp_path):
    for i in range(40):
        write_mask(tmp_path / f"in/{i:02}.png", np.zeros((2, 2), np.uint8))
        if i:
            (tmp_path / f"in/{i:02}.png").write_bytes(b"")
    done = vis("color", "-t", "sem_seg", "-l", tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 5
    assert len(warnings(done)) == 11
    assert "29 more" in warnings(done)[-1]


@pytest.mark.slow
@pytest.mark.parametrize("count", sampled((2_500, 10_000), (2_500).__eq__))
def test_thousands_of_frames(vis, tmp_path, count):
    write_mask(tmp_path / "in/00000.png", np.zeros((4, 4), np.uint8))
    for i in range(1, count):
        os.link(tmp_path / "in/00000.png", tmp_path / f"in/{i:05}.png")
    done = vis("color", "-t", "sem_seg", "-l", tmp_path / "in", "-o", tmp_path / "out", "--format", "json")
    assert json.loads(done.stdout)["drawn"] == count
    assert len(images_in(tmp_path / "out")) == count


def test_an_interrupted_run_is_taken_up_again(vis, tmp_path):
    noise = np.random.default_rng(0).integers(0, 19, (720, 1280), dtype=np.uint8)
    write_mask(tmp_path / "in/000.png", noise)
    for i in range(1, 300):
        os.link(tmp_path / "in/000.png", tmp_path / f"in/{i:03}.png")
    out = tmp_path / "out"
    command = ["vis", "color", "-t", "sem_seg", "-l", tmp_path / "in", "-o", out]
    done = interrupt(command, lambda: out.is_dir() and len(images_in(out)) > 3)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert not [p.name for p in out.iterdir() if p.name.endswith(".part")]
    before = images_in(out)
    assert 0 < len(before) < 300
    assert all(read(out / name) is not None for name in before)
    for i in range(20, 300):
        (tmp_path / f"in/{i:03}.png").unlink()
    told = json.loads(vis(*command[1:], "--format", "json").stdout)
    assert told["drawn"] + told["kept"] == 20
    assert told["kept"] == len([name for name in before if name < "020"])


def test_images_of_ones_own_are_not_drawn_over(vis, tmp_path):
    """The folder of the sources is never written to, and one that holds something only with --force."""
    for i in range(2):
        write_mask(tmp_path / f"in/{i}.png", np.full((4, 4), i, np.uint8))
    before = {p.name: p.read_bytes() for p in (tmp_path / "in").iterdir()}
    color = ("color", "-t", "sem_seg", "-l", tmp_path / "in")
    for more in ((), ("--force",)):
        assert_one_line(vis(*color, "-o", tmp_path / "in", *more), 2, "holds what is to be drawn")
    shutil.copytree(tmp_path / "in", tmp_path / "mine")
    assert_one_line(vis(*color, "-o", tmp_path / "mine"), 2, "was not drawn by bddzoo", "--force")
    for folder in ("in", "mine"):
        assert {p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} == before
    assert vis(*color, "-o", tmp_path / "mine", "--force").returncode == 0
