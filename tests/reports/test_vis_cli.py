import json
import os
import re
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np
import pytest

from bddzoo.datasets.classes import PAN_SEG, SEM_SEG
from bddzoo.datasets.masks import write_mask, write_rgba
from bddzoo.painting.colours import object_palette
from tests.cli.command import assert_one_line, interrupt, run_here
from tests.reports.vis_data import NAMES, bitmask, class_map, make, photo


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make(tmp_path_factory.mktemp("vis"))


@pytest.fixture
def vis(capsys):
    return lambda *arguments: run_here(capsys, "vis", *arguments)


def read(path) -> np.ndarray:
    return cv2.imdecode(np.fromfile(str(path), np.uint8), cv2.IMREAD_COLOR)


def warnings(done) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("warning:")]


def pictures(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in (".jpg", ".png"))


def test_colours_of_classes_are_the_official_ones(vis, data, tmp_path):
    assert vis("color", "-t", "sem_seg", "-i", data / "masks.zip", "-o", tmp_path).returncode == 0
    table = np.zeros((256, 3), np.uint8)
    table[:19] = SEM_SEG.palette
    for seed, name in enumerate(NAMES):
        assert np.array_equal(read(tmp_path / f"{name}.png")[..., ::-1], table[class_map(seed)])


def test_colours_of_objects_are_the_same_in_every_run(vis, data, tmp_path):
    for out in ("a", "b"):
        vis("color", "-t", "ins_seg", "-i", data / "bitmasks", "-o", tmp_path / out)
    vis("color", "-t", "ins_seg", "-i", data / "bitmasks", "-o", tmp_path / "c", "--seed", "1")
    for seed, name in enumerate(NAMES):
        a, b, c = (read(tmp_path / out / f"{name}.png") for out in "abc")
        ids = bitmask(seed)[..., 2].astype(int) << 8 | bitmask(seed)[..., 3]
        assert np.array_equal(a, b)
        assert np.array_equal(a[..., ::-1], object_palette(0)[ids])
        assert np.array_equal(c[..., ::-1], object_palette(1)[ids])


def test_panoptic_stuff_has_its_class_colour_and_things_their_own(vis, data, tmp_path):
    assert vis("color", "-t", "pan_seg", "-i", data / "pan", "-o", tmp_path).returncode == 0
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
    assert vis("color", "-t", "ins_seg", "-i", tmp_path / "in", "-o", tmp_path / "out").returncode == 0
    assert np.array_equal(read(tmp_path / "out/a.png")[..., ::-1], object_palette(0)[ids])


@pytest.mark.parametrize(
    "labels", ["masks", "masks.zip", "masks.json", "bitmasks", "bitmasks.zip", "bitmasks.json", "coco.json"]
)
@pytest.mark.parametrize("images", ["images", "images.zip"])
def test_overlays_of_everything(vis, data, tmp_path, images, labels):
    done = vis("overlay", "-i", data / images, "-l", data / labels, "-o", tmp_path, "--boxes", "--scores")
    assert done.returncode == 0, done.stderr
    assert pictures(tmp_path) == sorted(f"{name}.jpg" for name in NAMES)
    for seed, name in enumerate(NAMES):
        drawn = read(tmp_path / f"{name}.jpg")
        assert drawn.shape == photo(seed).shape
        assert np.abs(drawn.astype(int) - photo(seed)).mean() > 5


def test_alpha_zero_without_anything_is_the_picture(vis, data, tmp_path):
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


@pytest.fixture
def broken(data, tmp_path):
    """A damaged label, one of another size, a damaged picture, one without labels; one that is whole."""
    for folder in ("images", "masks"):
        shutil.copytree(data / folder, tmp_path / folder)
    label = tmp_path / "masks/e.png"
    label.write_bytes(label.read_bytes()[:60])
    write_mask(tmp_path / "masks/ü.png", np.zeros((32, 48), np.uint8))
    picture = tmp_path / "images/d#1%20.png"
    picture.write_bytes(picture.read_bytes()[:60])
    shutil.copy(tmp_path / "images/e.png", tmp_path / "images/lonely.png")
    return tmp_path


def test_what_cannot_be_drawn_is_told_and_the_rest_is_done(vis, broken):
    done = vis("overlay", "-i", broken / "images", "-l", broken / "masks", "-o", broken / "out")
    assert done.returncode == 5
    told = "\n".join(warnings(done))
    for words in ("e.png is damaged", "48x32, its picture is 96x64", "d#1%20.png is damaged", "no labels in"):
        assert words in told
    assert len(warnings(done)) == 4
    assert pictures(broken / "out") == ["a b+c.jpg"]
    listed = json.loads(vis(*done.args[1:], "--format", "json").stdout)["failed"]
    assert sorted(entry["name"] for entry in listed) == sorted(("e", "ü", "d#1%20", "lonely"))


def test_comparisons_go_on_after_a_broken_frame(vis, broken):
    done = vis(
        "compare", broken / "images", "--gt", broken / "masks", "--pred", broken / "masks", "-o", broken / "o"
    )
    assert done.returncode == 5
    assert len(warnings(done)) == 5  # the picture without labels has none in two sets
    assert [f["name"] for f in json.loads((broken / "o/compare.json").read_text())["frames"]] == ["a b+c"]


def test_nothing_that_can_be_drawn_is_one_error(vis, tmp_path, data):
    write_mask(tmp_path / "masks/e.png", np.zeros((5, 5), np.uint8))
    done = vis("overlay", "-i", data / "images/e.png", "-l", tmp_path / "masks", "-o", tmp_path / "out")
    assert_one_line(done, 5, "not one of 1 pictures", "5x5")


def test_a_folder_that_cannot_be_written_to(vis, data, tmp_path):
    place = "/proc/nowhere" if os.geteuid() == 0 else tmp_path / "locked"
    if os.geteuid():
        place.mkdir(mode=0o500)
    assert_one_line(vis("color", "-t", "sem_seg", "-i", data / "masks", "-o", place), 5, "cannot write")
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file/out"
    assert_one_line(vis("color", "-t", "sem_seg", "-i", data / "masks", "-o", inside), 5, "cannot write")


def test_a_picture_that_cannot_be_written_ends_the_run(vis, data, tmp_path):
    for name in NAMES:
        (tmp_path / f"{name}.png").mkdir()
    done = vis("color", "-t", "sem_seg", "-i", data / "masks", "-o", tmp_path, "--force")
    assert_one_line(done, 5, "cannot write")
    assert not warnings(done)


def test_many_failures_are_counted_not_listed(vis, tmp_path):
    for i in range(40):
        write_mask(tmp_path / f"in/{i:02}.png", np.zeros((2, 2), np.uint8))
        if i:
            (tmp_path / f"in/{i:02}.png").write_bytes(b"")
    done = vis("color", "-t", "sem_seg", "-i", tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 5
    assert len(warnings(done)) == 11
    assert "29 more" in warnings(done)[-1]


@pytest.mark.slow
def test_ten_thousand_frames(vis, tmp_path):
    write_mask(tmp_path / "in/00000.png", np.zeros((4, 4), np.uint8))
    for i in range(1, 10_000):
        os.link(tmp_path / "in/00000.png", tmp_path / f"in/{i:05}.png")
    done = vis("color", "-t", "sem_seg", "-i", tmp_path / "in", "-o", tmp_path / "out", "--format", "json")
    assert json.loads(done.stdout)["drawn"] == 10_000
    assert len(pictures(tmp_path / "out")) == 10_000


def test_an_interrupted_run_is_taken_up_again(vis, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(300):
        write_mask(tmp_path / f"in/{i:03}.png", rng.integers(0, 19, (720, 1280), dtype=np.uint8))
    out = tmp_path / "out"
    command = ["vis", "color", "-t", "sem_seg", "-i", tmp_path / "in", "-o", out]
    done = interrupt(command, lambda: out.is_dir() and len(pictures(out)) > 3)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert not [p.name for p in out.iterdir() if p.name.endswith(".part")]
    before = pictures(out)
    assert 0 < len(before) < 300
    assert all(read(out / name) is not None for name in before)
    for i in range(20, 300):
        (tmp_path / f"in/{i:03}.png").unlink()
    told = json.loads(vis(*command[1:], "--format", "json").stdout)
    assert told["drawn"] + told["kept"] == 20
    assert told["kept"] == len([name for name in before if name < "020"])


# Comparisons.


@pytest.fixture
def compared(vis, data, tmp_path):
    """Predictions A, the truth but for frame e, and B, wrong by the number of the frame."""
    for seed, name in enumerate(NAMES):
        wrong = class_map(seed)
        wrong[: 4 * seed] = 5
        write_mask(tmp_path / f"one/masks/{name}.png", class_map(seed))
        write_mask(tmp_path / f"two/masks/{name}.png", wrong)
    sides = ("--gt", data / "masks", "--pred", tmp_path / "one/masks", "--pred", tmp_path / "two/masks")
    return lambda *more: vis("compare", data / "images", *sides, "-o", tmp_path / "out", *more)


def test_a_frame_has_all_its_pictures(compared, tmp_path):
    assert compared().returncode == 0
    files = [f"{stem}.jpg" for stem in ("image", "truth", "one", "one-errors", "two", "two-errors")]
    assert pictures(tmp_path / "out") == sorted(["sheet.jpg", *(f"{n}/{f}" for n in NAMES for f in files)])
    assert read(tmp_path / "out/sheet.jpg").shape[1] > 6 * 320


def test_the_worst_frames_come_first(compared, tmp_path):
    done = compared("--worst", "2", "--format", "json")
    told = json.loads(done.stdout)["frames"]
    shares = [
        1 - (class_map(s)[: 4 * s][class_map(s)[: 4 * s] != 255] == 5).mean() if s else 0 for s in range(4)
    ]
    assert [frame["name"] for frame in told] == [NAMES[3], NAMES[2]]
    assert shares[3] > 0
    assert told[0]["difference"] > told[1]["difference"] > 0
    counted = class_map(3) != 255
    assert told[0]["difference"] == pytest.approx(counted[:12].sum() / counted.sum(), abs=1e-4)
    assert told[0]["shares"]["one"]["right"] == 1
    assert told[0]["shares"]["two"]["right"] == pytest.approx(1 - told[0]["difference"], abs=1e-4)


def test_comparisons_are_resumed_with_the_same_sheet(compared, tmp_path):
    compared()
    (tmp_path / f"out/{NAMES[1]}/two.jpg").unlink()
    told = json.loads(compared("--format", "json").stdout)
    assert (told["drawn"], told["kept"]) == (1, 3)
    assert len(told["frames"]) == 4


def test_sheets_have_pages(vis, tmp_path):
    for i in range(45):
        write_mask(tmp_path / f"m/{i:02}.png", np.zeros((9, 16), np.uint8))
    done = vis(
        "compare", tmp_path / "m", "--gt", tmp_path / "m", "--pred", tmp_path / "m", "-o", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "out").glob("sheet*")) == ["sheet-001.jpg", "sheet-002.jpg"]


class Links(HTMLParser):
    """Everything that a page names."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for key, value in attrs if key in ("src", "href")]


def test_the_page_asks_for_nothing_but_its_pictures(compared, tmp_path):
    assert compared("--html").returncode == 0
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "{{" not in page
    assert not re.search(r"https?://|//[a-z]+\.", page)
    links = Links()
    links.feed(page)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    named = [link for link in links.found if link != "data:,"] + [
        f for frame in data["frames"] for f in frame["files"]
    ]
    assert len(named) == 2 * 4 * 6
    for link in named:
        assert urlsplit(link).scheme == ""
        assert (tmp_path / "out" / unquote(urlsplit(link).path)).is_file(), link


def test_the_page_can_hold_its_pictures(compared, tmp_path):
    assert compared("--embed", "--worst", "1").returncode == 0
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 6
    assert 'href="' in page
    assert "image.jpg" not in page


def test_a_name_cannot_break_out_of_the_page(vis, data, tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    write_mask(tmp_path / "m" / (evil.replace("/", "") + ".png"), np.zeros((9, 16), np.uint8))
    sides = ("--gt", tmp_path / "m", "--pred", tmp_path / "m", "--name", "<b>&")
    assert vis("compare", tmp_path / "m", *sides, "-o", tmp_path / "out", "--html").returncode == 0
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--name", "x"], 2, "1 --name for 2 --pred"),
        (["--name", "x", "--name", "x"], 2, "taken"),
        (["--name", "../x", "--name", "y"], 2, "part of a file name"),
        (["--score-file", "s.json"], 2, "several"),
        (["--worst", "0"], 2, "--worst"),
        (["--pred", "nope"], 5, "no such file"),
    ],
)
def test_arguments_that_make_no_sense(compared, more, code, words):
    assert_one_line(compared(*more), code, words)


def test_labels_of_two_tasks_cannot_be_compared(vis, data, tmp_path):
    done = vis(
        "compare", data / "images", "--gt", data / "masks", "--pred", data / "bitmasks", "-o", tmp_path
    )
    assert_one_line(done, 2, "different tasks", "sem_seg", "ins_seg")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.zip", "b.zip"], ["a", "b"]),
        (["runs/a/masks", "runs/b/masks"], ["a", "b"]),
        (["x/y/p.json", "x/y/p.json"], ["p-1", "p-2"]),
        (["only/masks"], ["masks"]),
    ],
)
def test_predictions_are_called_by_what_tells_them_apart(tmp_path, paths, names):
    from bddzoo.reports.pictures.compare import short_names

    assert short_names([tmp_path / path for path in paths]) == names
