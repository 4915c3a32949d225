"""Wrong weights, odd images and absent devices, on the networks that ship with the package."""

from __future__ import annotations

import json
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.command import ROOT, assert_one_line, bddzoo, plain, run_here

SEM_SEG, INS_SEG = "demo_semfpn_r18n_sem_seg", "demo_mask_rcnn_r18n_ins_seg"


def shipped(model: str) -> Path:
    return ROOT / "bddzoo" / "demo" / f"{model}.pth"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "street.jpg"
    cv2.imwrite(
        str(path),
        cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8), (9, 9), 0),
    )
    return path


@pytest.fixture
def predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs `bddzoo predict` of a demo model into the test's own folder."""

    def run(*inputs: object, model: str = SEM_SEG, **options: object) -> subprocess.CompletedProcess[str]:
        values = {"out": tmp_path / "out", "cache": tmp_path / "cache", "device": "cpu", **options}
        named = [x for name, value in values.items() for x in (f"--{name}", value)]
        images = [part for item in inputs if isinstance(item, Path) for part in ("-i", item)]
        more = [item for item in inputs if not isinstance(item, Path)]
        return run_here(capsys, "predict", model, *images, *more, *named)

    return run


def state(model: str = SEM_SEG) -> dict[str, Any]:
    return dict(torch.load(shipped(model), weights_only=True)["state_dict"])


def saved(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def nothing_left(tmp_path: Path) -> bool:
    return not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("model", [SEM_SEG, INS_SEG])
def test_weights_of_another_model(predict, image: Path, tmp_path: Path, model: str) -> None:
    other = INS_SEG if model == SEM_SEG else SEM_SEG
    done = predict(image, model=model, weights=shipped(other))
    assert_one_line(done, 6, "does not fit", "missing", "unexpected")
    assert nothing_left(tmp_path)


def test_weights_of_another_class_count(predict, image: Path, tmp_path: Path) -> None:
    content = state()
    for name in ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias"):
        content[name] = torch.cat((content[name], content[name][:1]))
    done = predict(image, weights=saved(tmp_path / "w.pth", {"state_dict": content}))
    assert_one_line(done, 6, "decode_head.conv_seg.weight", "19", "20")
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_half_a_weights_file(predict, image: Path, tmp_path: Path, zipped: bool, share: float) -> None:
    path = saved(tmp_path / "w.pth", {"state_dict": OrderedDict(state())}, zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert_one_line(predict(image, weights=path), 6, "w.pth")
    assert nothing_left(tmp_path)


def test_torchscript_and_onnx(predict, image: Path, tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    assert_one_line(predict(image, weights=tmp_path / "script.pt"), 6, "script.pt is a TorchScript program")
    # ModelProto: ir_version 8, producer_name "pytorch", as torch.onnx writes it.
    (tmp_path / "net.onnx").write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(200))
    assert_one_line(predict(image, weights=tmp_path / "net.onnx"), 6, "net.onnx is an ONNX model")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_names_code(predict, image: Path, tmp_path: Path, zipped: bool) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",))

    path = saved(tmp_path / "w.pth", {"state_dict": state(), "extra": Evil()}, zipped)
    assert_one_line(predict(image, weights=path), 6, "would run code", "exec")
    assert not (tmp_path / "owned").exists()


def odd_images(folder: Path, image: Path) -> dict[str, str]:
    """Files, and words of the line that is said about each."""
    folder.mkdir()
    pixels = cv2.imread(str(image))
    cv2.imwrite(str(folder / "deep.png"), pixels.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "grey.jpg"), pixels[:, :, 0])
    cv2.imwrite(str(folder / "clear.png"), np.dstack((pixels, pixels[:, :, :1])))
    opened = Image.open(image)
    opened.convert("CMYK").save(folder / "press.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    opened.save(folder / "turned.jpg", exif=exif)
    return {
        "deep.png": "16 bits",
        "grey.jpg": "grey",
        "clear.png": "transparency",
        "press.jpg": "CMYK",
        "turned.jpg": "EXIF orientation 6",
    }


@pytest.mark.parametrize("model", [SEM_SEG, INS_SEG])
def test_odd_images_are_used_and_remarked_on(predict, image: Path, tmp_path: Path, model: str) -> None:
    words = odd_images(tmp_path / "odd", image)
    done = predict(tmp_path / "odd", "--format", "json", model=model)
    assert done.returncode == 0, done.stderr
    for name, word in words.items():
        (line,) = [line for line in plain(done.stderr).splitlines() if name in line]
        assert line.startswith("warning:")
        assert word in line
    rows = {row["name"]: (row["width"], row["height"]) for row in json.loads(done.stdout)["images"]}
    assert rows == {name: (72, 96) if name == "turned.jpg" else (96, 72) for name in words}


def test_bad_images_are_reported_and_the_others_written(predict, image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    content = image.read_bytes()
    (folder / "good.jpg").write_bytes(content)
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    done = predict(folder, "--format", "json")
    assert done.returncode == 5
    value = json.loads(done.stdout)
    assert [row["name"] for row in value["images"]] == ["good.jpg"]
    assert sorted(value["failures"]) == ["cut.jpg", "empty.jpg", "text.jpg"]
    for name in value["failures"]:
        assert len([line for line in done.stderr.splitlines() if name in line]) == 1
    assert "cut short" in done.stderr


def test_only_bad_images(predict, image: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(image.read_bytes()[:-20])
    assert_one_line(predict(cut), 5, "not one of 1 image could be used")
    assert nothing_left(tmp_path)


def test_empty_folder(predict, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_one_line(predict(tmp_path / "empty"), 5, "no image in folder")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("device", "code"), [("cuda:99", 5), ("tpu", 2), ("cuda:-1", 2), ("cuda:x", 2), ("mps", 2), ("", 2)]
)
def test_device_that_is_not_there(predict, image: Path, tmp_path: Path, device: str, code: int) -> None:
    assert_one_line(predict(image, device=device), code, f"'{device}'")
    assert nothing_left(tmp_path)


def test_speedups_that_a_cpu_does_not_have(predict, image: Path, tmp_path: Path) -> None:
    assert_one_line(predict(image, "--amp"), 2, "--amp needs a GPU")
    assert nothing_left(tmp_path)
    assert predict(image, "--channels-last").returncode == 0


def test_a_compiler_that_is_not_there(image: Path, tmp_path: Path) -> None:
    """`torch.compile` finds out late; the command says it before the first image."""
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"), "CXX": "/no/such/compiler"}
    options = ("--out", tmp_path / "out", "--cache", tmp_path / "cache", "--device", "cpu", "--compile")
    done = bddzoo("predict", SEM_SEG, "-i", image, *options, env=cache)
    assert_one_line(done, 5, "torch.compile does not work", "run without it")
    assert nothing_left(tmp_path)
