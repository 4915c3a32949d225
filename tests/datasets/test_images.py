"""One reader for images: every command says the same about the same file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bddzoo.datasets.decode import read_image
from bddzoo.datasets.formats.mask import write_mask
from bddzoo.datasets.layouts import BddLayout, find_images
from bddzoo.errors import MissingError
from tests.cli.inprocess import Done, command
from tests.evaluation.commands import refused, score

PIXELS = np.zeros((720, 1280, 3), np.uint8)
PIXELS[:300, :500] = (200, 90, 10)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64


def encoded(kind: str, turn: int | None = None) -> bytes:
    """The pixels as a file; with an EXIF orientation, stored so that it turns them upright."""
    stored = PIXELS
    # What each orientation undoes (TIFF 6.0, tag 274).
    undo = {2: [2], 3: [3], 4: [4], 5: [5], 6: [8], 7: [7], 8: [6]}.get(turn or 1, [])
    image = Image.fromarray(stored)
    for one in undo:
        image = image.transpose(
            {
                2: Image.Transpose.FLIP_LEFT_RIGHT,
                3: Image.Transpose.ROTATE_180,
                4: Image.Transpose.FLIP_TOP_BOTTOM,
                5: Image.Transpose.TRANSPOSE,
                6: Image.Transpose.ROTATE_270,
                7: Image.Transpose.TRANSVERSE,
                8: Image.Transpose.ROTATE_90,
            }[one]
        )
    out = io.BytesIO()
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {"quality": 100}
    if turn is not None:
        exif = Image.Exif()
        exif[0x0112] = turn
        options["exif"] = exif
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_images_are_read_upright(tmp_path, kind, turn):
    (tmp_path / "a").write_bytes(encoded(kind, turn))
    found = read_image(tmp_path / "a")
    assert found.size == (720, 1280)
    assert np.abs(found.pixels[..., ::-1].astype(int) - PIXELS).mean() < 1
    assert found.remarks == ((f"EXIF orientation {turn} is applied",) if turn != 1 else ())


def with_film(content: bytes) -> bytes:
    return content + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40


# File name, content, and a word of what is wrong with it.
FILES = {
    "plain": ("a.jpg", encoded("JPEG"), ""),
    "turned": ("a.jpg", encoded("JPEG", 6), ""),
    "motion photo": ("a.jpg", with_film(encoded("JPEG")), ""),
    "newline behind": ("a.jpg", encoded("JPEG") + b"\n", ""),
    "film behind a PNG": ("a.png", with_film(encoded("PNG")), ""),
    "webp": ("a.webp", encoded("WEBP"), ""),
    "webp called jpg": ("a.jpg", encoded("WEBP"), ""),
    "bmp": ("a.bmp", encoded("BMP"), ""),
    "capitals": ("a.PNG", encoded("PNG"), ""),
    "heic": ("a.heic", HEIC, "HEIC"),
    "heic called jpg": ("a.jpg", HEIC, "HEIC"),
    "web page": ("a.jpg", b"<!DOCTYPE html><html>gone</html>", "web page"),
    "cut jpg": ("a.jpg", encoded("JPEG")[:-500], "cut short"),
    "cut png": ("a.png", encoded("PNG")[:-50], "cut short"),
    "cut webp": ("a.webp", encoded("WEBP")[:-50], "cut short"),
    "cut bmp": ("a.bmp", encoded("BMP")[:-5000], "damaged"),
    "empty": ("a.jpg", b"", "empty"),
    "text": ("a.jpg", b"no such luck", "damaged"),
    "cut tif": ("a.tif", encoded("TIFF")[:-50_000], "damaged"),
    "tif called jpg": ("a.jpg", encoded("TIFF"), ""),
    "gif": ("a.gif", encoded("GIF"), ""),
    "avif": ("a.avif", b"\0\0\0\x1cftypavif" + bytes(80), "an AVIF image"),
    "video": ("a.jpg", b"\0\0\0\x18ftypmp42" + bytes(80), "a video"),
    "JPEG 2000": ("a.jpg", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(80), "a JPEG 2000 image"),
    "JPEG XL": ("a.jpg", b"\xff\x0a" + bytes(80), "a JPEG XL image"),
    "PDF": ("a.jpg", b"%PDF-1.4\n" + bytes(80), "a PDF document"),
    "zip": ("a.jpg", b"PK\x03\x04" + bytes(80), "a zip archive"),
    "zeros": ("a.jpg", bytes(5000), "nothing but zeros"),
}


def make_set(root: Path, name: str, content: bytes) -> Path:
    folder = root / "images/10k/val"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    write_mask(root / "labels/sem_seg/masks/val/a.png", np.zeros((720, 1280), np.uint8))
    return root


def check(root: Path, task: str = "sem_seg") -> Done:
    return command("data", "check", "--data", root, "--task", task, "--split", "val")


@pytest.mark.parametrize("what", FILES)
def test_every_command_says_the_same_of_an_image(tmp_path, capfd, what):
    name, content, wrong = FILES[what]
    root = make_set(tmp_path / "set", name, content)
    (frame,) = BddLayout(root).listing("sem_seg", "val").frames
    assert [*find_images([root / "images"], tmp_path / "out")] == [name]
    checked, sides = check(root), ("-i", root / "images", "-l", root / "labels")
    drawn = command("vis", "overlay", "-t", "sem_seg", *sides, "-o", tmp_path / "vis")
    said = capfd.readouterr().err + checked.err + drawn.err
    assert "OpenCV" not in said, "of a damaged file is said what is wrong, and nothing else"
    if not wrong:
        assert (checked.code, drawn.code) == (0, 0), (checked, drawn)
        assert read_image(frame.image).size == (720, 1280)
        return
    assert (checked.code, drawn.code) == (5, 5)
    with pytest.raises(MissingError, match=wrong) as error:
        read_image(frame.image)
    assert error.value.message in checked.out
    assert error.value.message in drawn.err


def test_folders_behind_links_are_read_by_all(tmp_path):
    root = make_set(tmp_path / "elsewhere", "a.jpg", encoded("JPEG"))
    (tmp_path / "set").mkdir()
    for part in ("images", "labels"):
        (tmp_path / "set" / part).symlink_to(root / part)
    # A link in a circle ends.
    (root / "labels/sem_seg/masks/val/round").symlink_to(root / "labels/sem_seg/masks/val")
    linked = tmp_path / "set"
    assert check(linked).code == 0
    assert score("sem_seg", linked / "labels", linked / "labels").code == 0


@pytest.fixture
def old(tmp_path) -> Path:
    """The segmentation folder as it was published in 2018."""
    root = tmp_path / "bdd100k"
    for part in ("images", "labels"):
        (root / "seg" / part / "val").mkdir(parents=True)
    (root / "seg/images/val/a.jpg").write_bytes(encoded("JPEG"))
    write_mask(root / "seg/labels/val/a_train_id.png", np.zeros((720, 1280), np.uint8))
    return root


def test_the_layout_of_2018_is_read(old, tmp_path):
    (frame,) = BddLayout(old).listing("sem_seg", "val").frames
    assert (frame.stem, frame.label.name) == ("a", "a_train_id.png")
    assert check(old).code == 0
    write_mask(tmp_path / "pred/a.png", np.zeros((720, 1280), np.uint8))
    assert score("sem_seg", old / "seg/labels/val", tmp_path / "pred").code == 0
    assert check(old, "ins_seg").code == 5
    (old / "drivable_maps").mkdir()
    with pytest.raises(MissingError, match="drivable_maps/ is of 2018"):
        BddLayout(old).listing("drivable", "val")


ATTRIBUTES = {
    "null": ([{"name": "a.jpg", "attributes": {"weather": None}}], {"unknown": 1}),
    "no attributes": (
        [{"name": "a.jpg", "attributes": {"weather": "clear"}}, {"name": "b.jpg"}],
        {"clear": 1},
    ),
    "windows": ([{"name": "x\\a.jpg", "attributes": {"weather": "clear"}}], {"clear": 1}),
    "of 2018": ({"name": "a", "frames": [{"objects": []}], "attributes": {"weather": "clear"}}, {"clear": 1}),
    "twice": (
        [{"name": "a.jpg", "attributes": {"weather": w}} for w in ("clear", "snowy")],
        "more than once",
    ),
    "no name": ([{"attributes": {"weather": "clear"}}], "has no name"),
    "no object": ([{"name": "a", "attributes": 3}], "is not a list of frames"),
}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("what", ATTRIBUTES)
def test_attributes_from_any_file(tmp_path, what, mark):
    content, expected = ATTRIBUTES[what]
    (tmp_path / "a.json").write_bytes(mark + json.dumps(content).encode())
    write_mask(tmp_path / "m/a.png", np.zeros((4, 4), np.uint8))
    attributes = ["--by", "weather", "--attributes", tmp_path / "a.json", "--format", "json"]
    done = score("sem_seg", tmp_path / "m", tmp_path / "m", *attributes)
    if isinstance(expected, str):
        assert expected in refused(done)
    else:
        assert done.code == 0, done.err
        slices = done.data["bddzoo"]["slices"]["weather"]
        assert {value: found["frames"] for value, found in slices.items()} == expected


@pytest.mark.parametrize("turn", range(2, 9))
def test_the_upright_reader_is_opencvs(tmp_path, turn):
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG", turn))
    assert np.array_equal(read_image(tmp_path / "a.jpg").pixels, cv2.imread(str(tmp_path / "a.jpg")))
