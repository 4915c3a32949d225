import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from bddzoo.engines.checkpoint import read_checkpoint
from bddzoo.errors import IntegrityError, MissingError

DATA = Path(__file__).parents[1] / "data/engines"
NAMES = ["conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(content, path, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def weights():
    return {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}


class Foreign:
    pass


class Runs:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["legacy", "zip", "opt", "module_prefix"])
def test_files_that_upstream_wrote(kind):
    state = read_checkpoint(DATA / f"tiny_ckpt_{kind}.pth")
    assert list(state) == [*NAMES, "bn.num_batches_tracked"]
    assert state["conv.weight"].shape == (4, 3, 3, 3)


@FORMS
@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": weights(), "meta": {"epoch": 3}},
        {"model": weights()},
        weights(),
        {"state_dict": {f"module.{k}": v for k, v in weights().items()}, "optimizer": {"lr": 0.1}},
    ],
)
def test_forms(tmp_path, content, zipped):
    state = read_checkpoint(save(content, tmp_path / "w.pth", zipped))
    assert list(state) == ["a", "b"]
    assert torch.equal(state["a"], weights()["a"])


@FORMS
def test_numpy_in_meta_is_harmless(tmp_path, zipped):
    meta = {
        "f": np.float64(1.5),
        "i": np.int64(2),
        "b": np.bool_(True),
        "a": np.arange(3),
        "s": np.array(["x"]),
    }
    assert read_checkpoint(save({"state_dict": weights(), "meta": meta}, tmp_path / "w.pth", zipped))


@FORMS
def test_history_buffers_are_harmless(tmp_path, zipped):
    from mmengine.logging import HistoryBuffer

    hub = {"log_scalars": {"loss": HistoryBuffer([1.0, 2.0], [1, 1])}}
    content = {"state_dict": weights(), "message_hub": hub, "meta": {"loss": HistoryBuffer([3.0], [1])}}
    assert list(read_checkpoint(save(content, tmp_path / "w.pth", zipped))) == ["a", "b"]


@FORMS
def test_history_buffers_and_arrays_that_hold_nothing_are_harmless(tmp_path, zipped):
    from mmengine.logging import HistoryBuffer

    content = {"state_dict": weights(), "meta": {"loss": HistoryBuffer(), "boxes": np.zeros((0, 4))}}
    assert list(read_checkpoint(save(content, tmp_path / "w.pth", zipped))) == ["a", "b"]


@FORMS
@pytest.mark.parametrize("protocol", [4, 5])
def test_a_pickle_protocol_that_cannot_be_read_safely_is_named(tmp_path, zipped, protocol):
    path = tmp_path / "w.pth"
    torch.save(weights(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with pytest.raises(IntegrityError, match=f"pickle protocol is {protocol}.*save it again"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "odd", [torch.ones(2, device="meta"), torch.eye(2).to_sparse()], ids=["meta", "sparse"]
)
def test_tensors_without_plain_numbers_are_refused(tmp_path, odd):
    with pytest.raises(IntegrityError, match=r"without plain numbers.*: b"):
        read_checkpoint(save({"state_dict": {**weights(), "b": odd}}, tmp_path / "w.pth"))


@FORMS
def test_foreign_objects_are_refused_by_name_and_nothing_runs(tmp_path, zipped):
    target = tmp_path / "made-by-the-file"
    content = {"state_dict": weights(), "meta": {"x": Foreign(), "y": Runs(target)}}
    with pytest.raises(IntegrityError, match=r"would run code.*Foreign") as caught:
        read_checkpoint(save(content, tmp_path / "w.pth", zipped))
    if zipped:
        assert "mkdir" in str(caught.value)
    assert not target.exists()


def test_a_pickled_module_is_refused(tmp_path):
    with pytest.raises(IntegrityError, match=r"torch\.nn\.modules\.conv\.Conv2d"):
        read_checkpoint(save(torch.nn.Conv2d(1, 1, 1), tmp_path / "w.pth"))


@FORMS
@pytest.mark.parametrize("share", [0.0, 0.0001, 0.02, 0.5, 0.999])
def test_half_a_file(tmp_path, zipped, share):
    whole = save({"state_dict": {"a": torch.randn(300, 300)}}, tmp_path / "w.pth", zipped).read_bytes()
    half = tmp_path / "half.pth"
    half.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(IntegrityError, match=r"half\.pth") as caught:
        read_checkpoint(half)
    assert "\n" not in str(caught.value)
    assert "would run code" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "HTML page"),
        (b"hello world\n", "a text file"),
        (b'{"message": "not found"}', "a text file"),
        (b"\x08\x07\x12\x07pytorch\x1a\x031.0", "ONNX"),
        (b"\x00" * 64, "begins with 00 00"),
        (b"\x80\x02abc", "damaged"),
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"a":1}', "safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 12\n", "Git LFS"),
        (b"", "an empty file"),
    ],
)
def test_other_files(tmp_path, content, words):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=words):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(tmp_path):
    torch.jit.script(torch.nn.Conv2d(1, 1, 1)).save(str(tmp_path / "w.pt"))
    with pytest.raises(IntegrityError, match="TorchScript"):
        read_checkpoint(tmp_path / "w.pt")


def test_archives_packed_again_with_compression(tmp_path):
    source = save({"state_dict": {"a": torch.arange(1000.0)}}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(tmp_path / "z.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert torch.equal(read_checkpoint(tmp_path / "z.pth")["a"], torch.arange(1000.0))


def test_another_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(IntegrityError, match="without weights"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.ones(3), "holds a Tensor"),
        ({"a": 1}, "not tensors: a"),
        ({}, "no entries"),
        ({"module.a": torch.ones(1), "a": torch.ones(1)}, "'a' twice"),
    ],
)
def test_content_that_is_no_state(tmp_path, content, words):
    with pytest.raises(IntegrityError, match=words):
        read_checkpoint(save(content, tmp_path / "w.pth"))


def test_no_such_file(tmp_path):
    with pytest.raises(MissingError, match="no checkpoint"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(MissingError, match="folder"):
        read_checkpoint(tmp_path)


def test_a_plain_pickle_of_today_is_refused_with_a_reason_and_no_remark(tmp_path):
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"state_dict": print}, protocol=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(IntegrityError, match=r"(damaged|refused): \w"):
            read_checkpoint(path)
