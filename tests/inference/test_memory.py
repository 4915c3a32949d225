"""Real shortage of memory: the operating system refuses, torch's allocator says so, the run goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bddzoo.engines.load import is_out_of_memory
from tests.cli.command import environment
from tests.inference.memory_driver import predict
from tests.support.forked import run_forked

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
COUNT = 8


def run(folder: Path, batch: int, room_mib: int) -> dict[str, Any]:
    done = run_forked(predict, folder, batch, room_mib, env=environment())
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_the_batch_is_halved_and_every_image_predicted_as_ever(tmp_path: Path) -> None:
    for index in range(COUNT):
        noise = np.random.default_rng(index).integers(0, 256, (18, 32, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{index:02d}.png"), cv2.resize(noise, (640, 360)))
    plain = run(tmp_path, 1, 0)
    assert (plain["sizes"], plain["failed"], len(plain["digests"])) == ([], [], COUNT)
    # The logits of eight images alone take half a gigabyte.
    short = run(tmp_path, 8, 150)
    assert short["sizes"]
    assert short["sizes"] == [4, 2, 1][: len(short["sizes"])]
    assert short["failed"] == []
    assert short["digests"] == plain["digests"]


def test_what_counts_as_out_of_memory() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as numpys:
        np.empty(1 << 55, np.uint8)
    assert is_out_of_memory(numpys.value)
    with pytest.raises(RuntimeError) as other:
        torch.ones(2) @ torch.ones(3)
    assert not is_out_of_memory(other.value)
