"""`info` shows what a cached checkpoint of openseg claims, as a claim; `selftest` chooses its networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bddzoo.engines.selftest.folder import packaged
from bddzoo.errors import ExitCode
from tests.cli.command import run_here

MODEL = "openseg_cityscapes_base_ocnet_r101"


def test_a_claim_is_shown_once_the_file_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"
    before = run_here(capsys, "info", MODEL, "--cache", cache, "--format", "json")
    assert json.loads(before.stdout)["trainer_claim"] is None
    source = tmp_path / "files"
    source.mkdir()
    with packaged() as own:
        shutil.copy(own / "openseg/ops/legacy_checkpoint_sample.pth", source / f"{MODEL}.pth")
    assert run_here(capsys, "fetch", MODEL, "--from", source, "--cache", cache).returncode == 0
    claim = json.loads(run_here(capsys, "info", MODEL, "--cache", cache, "--format", "json").stdout)
    assert claim["trainer_claim"]["best"] == 0.79
    text = run_here(capsys, "info", MODEL, "--cache", cache).stdout
    assert "the trainer's own claim" in text
    assert "best mIoU       79.00 percent" in text
    assert "best mIoU" not in run_here(capsys, "info", "openseg_cityscapes_isanet_r101").stdout


def test_a_folder_without_the_network_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "goldens"
    with packaged() as own:
        shutil.copytree(own / "openseg", folder)
    done = run_here(capsys, "selftest", "no-such-network", "--golden", folder)
    assert done.returncode == ExitCode.MISSING
    assert "has no network like no-such-network" in done.stderr
    (folder / "index.json").write_text("{}", encoding="utf-8")
    done = run_here(capsys, "selftest", "--golden", folder)
    assert done.returncode == ExitCode.INTEGRITY
    assert "is not an index of goldens" in done.stderr
