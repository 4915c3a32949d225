"""What goes wrong while a network runs: one line on stderr, the right status, no record of a wrong number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.command import assert_one_line, interrupt, plain, run_here
from tests.cli.conftest import TinyZoo
from tests.support.tiny import SEM_SEG, make_data


@pytest.fixture
def data(tiny: TinyZoo, tmp_path: Path) -> Path:
    """A copy of the data set, to be damaged."""
    return Path(shutil.copytree(tiny.data, tmp_path / "data"))


@pytest.fixture
def evaluate(tiny: TinyZoo, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs `bddzoo eval` of the tiny model, with results and cache in the test's own folder."""

    def run(*more: object, weights: Path | None = None, data: Path | None = None):
        return run_here(capsys, *arguments(tiny, tmp_path, *more, weights=weights, data=data))

    return run


def arguments(
    tiny: TinyZoo, tmp_path: Path, *more: object, weights: Path | None = None, data: Path | None = None
) -> list[object]:
    return [
        "eval",
        SEM_SEG,
        *("--registry", tiny.registry, "--data", data or tiny.data, "--cache", tmp_path / "cache"),
        *("--results", tmp_path / "results", "--weights", weights or tiny.weights["sem_seg"]),
        *("--device", "cpu", *more),
    ]


def records(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "results").rglob("*") if path.is_file() and path.suffix != ".npz"]


def first(folder: Path, pattern: str) -> Path:
    return min(folder.rglob(pattern))


def checkpoint(path: Path, tiny: TinyZoo, change: Any) -> Path:
    """A changed copy of the weights."""
    content = torch.load(tiny.weights["sem_seg"], weights_only=True)
    change(content["state_dict"])
    torch.save(content, path)
    return path


def test_a_whole_run_leaves_one_record(evaluate, tmp_path: Path) -> None:
    done = evaluate("--format", "json")
    value = json.loads(done.stdout)
    assert done.returncode == 3, "random weights do not give the reported number"
    assert "mIoU differs" in value["verdict"]["reasons"][0]
    assert [str(path) for path in records(tmp_path)] == [value["record"]]


def test_missing_image(evaluate, tmp_path: Path, data: Path) -> None:
    image = first(data / "images", "*.jpg")
    image.unlink()
    assert_one_line(evaluate(data=data), 5, "1 label without an image", image.stem)
    assert records(tmp_path) == []


def test_all_images_missing(evaluate, tmp_path: Path, data: Path) -> None:
    for image in data.rglob("*.jpg"):
        image.unlink()
    assert_one_line(evaluate(data=data), 5, "images/10k/val")
    assert records(tmp_path) == []


@pytest.mark.parametrize("content", [b"this is not PNG", b"", b"\x89PNG\r\n\x1a\n cut short"])
def test_label_that_is_not_a_png(evaluate, tmp_path: Path, data: Path, content: bytes) -> None:
    label = first(data / "labels" / "sem_seg", "*.png")
    label.write_bytes(content)
    done = evaluate(data=data)
    assert_one_line(done, 5, "1 of 4 images could not be used")
    assert label.name in done.stderr
    assert records(tmp_path) == []


def test_skipped_images_are_never_a_pass(evaluate, tmp_path: Path, data: Path) -> None:
    first(data / "images", "*.jpg").write_bytes(b"no JPEG")
    done = evaluate("--skip-bad", "--format", "json", data=data)
    assert done.returncode == 4
    reasons = json.loads(done.stdout)["verdict"]["reasons"]
    assert any("skipped" in reason for reason in reasons)
    assert any("partial" in reason for reason in reasons)


def test_checkpoint_with_a_missing_key(evaluate, tiny: TinyZoo, tmp_path: Path) -> None:
    bad = checkpoint(tmp_path / "w.pth", tiny, lambda s: s.pop("decode_head.conv_seg.bias"))
    done = evaluate(weights=bad)
    assert_one_line(done, 6, "decode_head.conv_seg.bias")
    assert records(tmp_path) == []


def test_checkpoint_with_an_extra_key(evaluate, tiny: TinyZoo, tmp_path: Path) -> None:
    bad = checkpoint(tmp_path / "w.pth", tiny, lambda s: s.update(stranger=torch.zeros(1)))
    assert_one_line(evaluate(weights=bad), 6, "stranger")
    assert records(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 cut short"])
def test_checkpoint_that_is_none(evaluate, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    done = evaluate(weights=tmp_path / "w.pth")
    assert_one_line(done, 6, "w.pth")
    assert records(tmp_path) == []


def test_checkpoint_that_names_code_is_refused_unread(evaluate, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",))

    torch.save({"state_dict": {}, "x": Evil()}, tmp_path / "w.pth")
    assert_one_line(evaluate(weights=tmp_path / "w.pth"), 6, "exec")
    assert not (tmp_path / "owned").exists()


def test_other_weights_than_the_zoos_are_never_reproduced(evaluate, tiny: TinyZoo, tmp_path: Path) -> None:
    other = checkpoint(tmp_path / "w.pth", tiny, lambda s: s["decode_head.conv_seg.bias"].zero_())
    done = evaluate("--format", "json", weights=other)
    assert json.loads(done.stdout)["verdict"]["verdict"] != "reproduced"
    assert "warning: not the zoo's file" in plain(done.stderr)


@pytest.mark.parametrize("option", ["--results", "--out"])
def test_no_permission_to_write(evaluate, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in ("/proc/nowhere", tmp_path / "file" / "below"):
        done = evaluate(option, place)
        assert done.returncode in (2, 5), done.stderr
        assert_one_line(done, done.returncode)
    assert records(tmp_path) == []


@pytest.mark.parametrize("device", ["cuda:99", "tpu"])
def test_device_that_is_not_there(evaluate, tmp_path: Path, device: str) -> None:
    done = evaluate("--device", device)
    assert done.returncode in (2, 5), done.stderr
    assert_one_line(done, done.returncode, device)


def test_ctrl_c_in_the_middle_of_a_run(tiny: TinyZoo, tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = make_data(tmp_path / "data", 800)
    command = arguments(tiny, tmp_path, "--out", out, "--batch-size", "1", data=data)
    done = interrupt(command, lambda: out.exists())
    assert_one_line(done, 130, "interrupted")
    assert records(tmp_path) == []
    for path in out.rglob("*.png"):
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82"), "half a PNG under a final name"
