"""What commands write to: never a device, a pipe, or a file that is something else."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from bddzoo.errors import UsageError
from bddzoo.files import is_special, write_bytes
from tests.cli.command import assert_one_line


@pytest.fixture
def pipe(tmp_path):
    """A named pipe; like a device it is there and is not a file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_pipe_is_written_to_and_stays(pipe):
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"through")
    reader.join(30)
    assert got == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(p.name for p in pipe.parent.iterdir()) == ["pipe"]


def test_what_is_special(tmp_path, pipe):
    (tmp_path / "link").symlink_to(pipe)
    (tmp_path / "file").write_text("")
    found = {p.name: is_special(p) for p in [*tmp_path.iterdir(), tmp_path / "absent"]}
    assert found == {"pipe": True, "link": True, "file": False, "absent": False}


@pytest.mark.parametrize("command", ["bundle net_a -o {0}", "cache export -o {0}"])
def test_archives_replace_nothing_but_bundles(zoo, run, tmp_path, pipe, command):
    assert run("fetch", "net_a", "-q").returncode == 0
    zoo.requests.clear()
    for path, words in (
        (pipe, "is not a regular file"),
        (tmp_path / "registry.yaml", "exists and is not a bundle"),
    ):
        before = path.stat()
        assert_one_line(run(command.format(path)), 2, str(path), words)
        assert path.stat() == before
    (tmp_path / "empty").touch()
    assert run(command.format(tmp_path / "empty")).returncode == 0
    assert_one_line(run(command.format(tmp_path / "empty")), 2, "give --force to replace it")
    assert run(command.format(tmp_path / "empty"), "--force").returncode == 0, "a bundle may be written anew"


def test_nothing_is_downloaded_for_a_bundle_that_cannot_be_written(zoo, run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert_one_line(run("bundle", "net_a", "-o", tmp_path / "notes.txt"), 2, "exists and is not a bundle")
    assert not zoo.requests


def test_safetensors_replace_no_pipe(pipe):
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from bddzoo.artifacts.tensors import write_safetensors

    with pytest.raises(UsageError, match="not a regular file"):
        write_safetensors({"a": torch.zeros(1)}, pipe, {})
    assert is_special(pipe)


def test_copies_replace_no_pipe_and_no_link_to_nowhere(zoo, run, pipe, tmp_path):
    dest = tmp_path / "dest"
    dest.mkdir()
    target = dest / "net_a.pth"
    target.symlink_to(tmp_path / "nowhere")
    assert_one_line(run("fetch", "net_a", "--out", dest), 2, f"{target} exists and is different")
    assert target.is_symlink()
    target.unlink()
    pipe.rename(target)
    for force in ((), ("--force",)):
        done = run("fetch", "net_a", "--out", dest, *force, timeout=60)
        assert_one_line(done, 2, f"{target} is not a regular file")
    assert is_special(target)


@pytest.mark.parametrize("command", [("fetch", "net_a", "--out", ""), ("adopt", "")])
def test_an_empty_name_is_not_the_current_folder(zoo, run, command):
    assert_one_line(run(*command), 2, "the name is empty")
