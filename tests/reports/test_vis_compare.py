"""`vis compare`: images, sheets, figures and the page."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from bddzoo.datasets.formats.mask import write_mask
from tests.cli.command import assert_one_line
from tests.reports.vis_data import NAMES, class_map, images_in, read, warnings


def test_comparisons_go_on_after_a_broken_frame(vis, broken):
    done = vis(
        "compare", "-i", broken / "images", "-g", broken / "masks", "-r", broken / "masks", "-o", broken / "o"
    )
    assert done.returncode == 5
    assert len(warnings(done)) == 5  # the image without labels has none in two sets
    assert [f["name"] for f in json.loads((broken / "o/compare.json").read_text())["frames"]] == ["a b+c"]


@pytest.fixture
def compared(vis, data, tmp_path):
    """Predictions A, the truth but for frame e, and B, wrong by the number of the frame."""
    for seed, name in enumerate(NAMES):
        wrong = class_map(seed)
        wrong[: 4 * seed] = 5
        write_mask(tmp_path / f"one/masks/{name}.png", class_map(seed))
        write_mask(tmp_path / f"two/masks/{name}.png", wrong)
    sides = ("-g", data / "masks", "-r", tmp_path / "one/masks", "-r", tmp_path / "two/masks")
    return lambda *more: vis("compare", "-i", data / "images", *sides, "-o", tmp_path / "out", *more)


def test_a_frame_has_all_its_images(compared, tmp_path):
    assert compared().returncode == 0
    files = [f"{stem}.jpg" for stem in ("image", "truth", "one", "one-errors", "two", "two-errors")]
    assert images_in(tmp_path / "out") == sorted(["sheet.jpg", *(f"{n}/{f}" for n in NAMES for f in files)])
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
        "compare", "-i", tmp_path / "m", "-g", tmp_path / "m", "-r", tmp_path / "m", "-o", tmp_path / "out"
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


def test_the_page_asks_for_nothing_but_its_images(compared, tmp_path):
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


def test_the_page_can_hold_its_images(compared, tmp_path):
    assert compared("--embed", "--worst", "1").returncode == 0
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 6
    assert 'href="' in page
    assert "image.jpg" not in page


def test_a_name_cannot_break_out_of_the_page(vis, data, tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    write_mask(tmp_path / "m" / (evil.replace("/", "") + ".png"), np.zeros((9, 16), np.uint8))
    sides = ("-g", tmp_path / "m", "-r", tmp_path / "m", "--name", "<b>&")
    assert vis("compare", "-i", tmp_path / "m", *sides, "-o", tmp_path / "out", "--html").returncode == 0
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
        (["-r", "nope"], 5, "no such file"),
    ],
)
def test_arguments_that_make_no_sense(compared, more, code, words):
    assert_one_line(compared(*more), code, words)


def test_labels_of_two_tasks_cannot_be_compared(vis, data, tmp_path):
    done = vis(
        "compare", "-i", data / "images", "-g", data / "masks", "-r", data / "bitmasks", "-o", tmp_path
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
    from bddzoo.reports.vis.compare import short_names

    assert short_names([tmp_path / path for path in paths]) == names
