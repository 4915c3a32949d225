"""Images of every awkward kind: read as upstream reads them, or refused by name."""

import struct

import cv2
import numpy as np
import pytest

from bddzoo.datasets.decode import exif_orientation, read_image
from bddzoo.errors import MissingError
from tests.attacks.labels import chunk
from tests.shared import shared


@pytest.fixture
def image():
    # Smooth, so that JPEG keeps it recognisable.
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, 255 - x * 2], axis=-1).astype(np.uint8)


def exif(orientation: int, order: str = "<") -> bytes:
    head = b"II" if order == "<" else b"MM"
    return head + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


def with_exif(content: bytes, orientation: int, thumbnail: bytes = b"") -> bytes:
    body = b"Exif\0\0" + exif(orientation) + thumbnail
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]


def written(path, content: bytes):
    path.write_bytes(content)
    return path


def test_plain_files_have_no_remarks(tmp_path, image):
    found = read_image(written(tmp_path / "a.jpg", jpeg(image)))
    assert found.remarks == ()
    assert found.size == (40, 60)
    assert np.abs(found.pixels.astype(int) - image).mean() < 6
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, image)
    cv2.imwrite(str(tmp_path / "a.bmp"), image)
    assert np.array_equal(read_image(tmp_path / "a.bmp").pixels, image)


def test_grey_and_16_bit_and_alpha(tmp_path, image):
    grey = image[..., 0]
    found = read_image(written(tmp_path / "a.jpg", jpeg(grey)))
    assert found.pixels.shape == (40, 60, 3)
    assert found.remarks == ("grey: its one channel is used three times",)
    cv2.imwrite(str(tmp_path / "deep.png"), image.astype(np.uint16) * 256 + 17)
    found = read_image(tmp_path / "deep.png")
    assert np.array_equal(found.pixels, image)
    assert found.remarks == ("16 bits a channel: the low 8 are dropped",)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([image, grey]))
    found = read_image(tmp_path / "alpha.png")
    assert np.array_equal(found.pixels, image)
    assert found.remarks == ("transparency is ignored",)


def test_cmyk(tmp_path, image):
    """A four-component JPEG made by Pillow, which torchvision brings along."""
    pillow = pytest.importorskip("PIL.Image", reason="makes the CMYK file")
    pillow.fromarray(image[..., ::-1]).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    found = read_image(tmp_path / "a.jpg")
    assert found.remarks == ("CMYK: converted to RGB without a colour profile",)
    assert np.abs(found.pixels.astype(int) - image).mean() < 6


def test_every_truncation_of_a_jpeg_is_refused(tmp_path, image):
    content = with_exif(jpeg(image), 1)
    path = tmp_path / "cut.jpg"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(MissingError, match=r"cut\.jpg is"):
            read_image(path)


def test_a_progressive_jpeg_cut_between_scans_is_refused(tmp_path, image):
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert read_image(written(tmp_path / "a.jpg", content)).size == (40, 60)
    last_scan = content.rfind(b"\xff\xda")
    with pytest.raises(MissingError, match="cut short"):
        read_image(written(tmp_path / "a.jpg", content[:last_scan]))


def test_a_thumbnail_does_not_hide_a_truncation(tmp_path, image):
    """The end marker of a thumbnail within the EXIF block is not the end of the found."""
    content = with_exif(jpeg(image), 1, jpeg(image[:8, :8]))
    assert read_image(written(tmp_path / "a.jpg", content)).size == (40, 60)
    with pytest.raises(MissingError, match="cut short"):
        read_image(written(tmp_path / "a.jpg", content[:-40]))


def test_trailing_bytes_after_the_end_are_fine(tmp_path, image):
    assert read_image(written(tmp_path / "a.jpg", jpeg(image) + b"\0" * 100)).remarks == ()


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\xff\xd8hello", b"GIF89a"]
)
def test_not_an_image(tmp_path, content):
    with pytest.raises(MissingError, match=r"x\.jpg"):
        read_image(written(tmp_path / "x.jpg", content))


def test_truncated_and_damaged_png(tmp_path, image):
    content = cv2.imencode(".png", image)[1].tobytes()
    for end in (len(content) // 2, len(content) - 5):
        with pytest.raises(MissingError, match=r"a\.png is damaged: it is cut short"):
            read_image(written(tmp_path / "a.png", content[:end]))
    at = content.index(b"IDAT") + 10
    with pytest.raises(MissingError, match="checksum"):
        read_image(written(tmp_path / "a.png", content[:at] + b"\xaa\x55" + content[at + 2 :]))


def test_pixels_that_cannot_be_decoded(tmp_path, image):
    content = cv2.imencode(".png", image)[1].tobytes()
    at = content.index(b"IDAT")
    content = content[: at - 4] + chunk(b"IDAT", b"junk") + content[-12:]
    with pytest.raises(MissingError, match=r"a\.png is damaged or not an image"):
        read_image(written(tmp_path / "a.png", content))


def test_missing_and_unreadable(tmp_path):
    with pytest.raises(MissingError, match="no such file"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(MissingError, match="cannot read"):
        read_image(tmp_path)


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_tag(order):
    assert [exif_orientation(exif(n, order)) for n in (0, 1, 6, 8, 9)] == [None, 1, 6, 8, None]
    assert exif_orientation(b"") is None
    for length in range(26):
        exif_orientation(exif(6, order)[:length])


def test_real_photographs():
    folder = shared("images")
    sizes = {p.name: read_image(p).size for p in sorted(folder.iterdir()) if p.suffix in (".jpg", ".png")}
    assert sizes["coco_000000397133.jpg"] == (427, 640)
    assert sizes["omz_street_b_640x360.png"] == (360, 640)
    assert read_image(folder / "omz_street_b_640x360.png").remarks == ("transparency is ignored",)
