from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.command import run_here
from tests.support.tiny import DATASET, make_data, make_weights, write_registry

COUNT = 4
Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class TinyZoo:
    """Two small real networks with random weights, and a data set for them; to be read only.

    Attributes:
        folder: Where everything is; also a source of the weights.
        registry: Registry file, with the weights' digests.
        weights: Checkpoint by task.
        data: A data set.
    """

    folder: Path
    registry: Path
    weights: dict[str, Path]
    data: Path

    def report(self, path: Path, reported: dict[str, dict[str, str]]) -> Path:
        """The same registry with numbers that the zoo reports, by task and metric."""
        content = {task: file.read_bytes() for task, file in self.weights.items()}
        dataset = DATASET.format(count=COUNT)
        return write_registry(path, weights=content, reported=reported, dataset=dataset)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyZoo:
    """See `TinyZoo`."""
    folder = tmp_path_factory.mktemp("tiny")
    plain = write_registry(folder / "plain.yaml")
    weights = {}
    for task, name in (("sem_seg", "tiny_fpn_sem_seg"), ("ins_seg", "tiny_mask_rcnn_ins_seg")):
        weights[task] = folder / f"{name}.pth"
        make_weights(plain, task, weights[task])
    zoo = TinyZoo(folder, folder / "registry.yaml", weights, make_data(folder / "data", COUNT))
    zoo.report(zoo.registry, {"sem_seg": {"mIoU": "1.00"}, "ins_seg": {"AP": "1.00", "box_AP": "1.00"}})
    return zoo


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `bddzoo` in this process, with cache and results in the test's own folder."""
    monkeypatch.setenv("BDDZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BDDZOO_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return lambda *arguments: run_here(capsys, *arguments)


@pytest.fixture(scope="session")
def no_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings under which a process cannot import torch: for what else `doctor` finds."""
    folder = tmp_path_factory.mktemp("no-torch")
    (folder / "torch.py").write_text("raise ImportError('not here')")
    return {"PYTHONPATH": str(folder)}
