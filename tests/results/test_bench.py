"""Measuring: real networks in real processes."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bddzoo.errors import MissingError
from bddzoo.registry import load_registry
from bddzoo.results.speed import Device, SpeedRecord
from bddzoo.runs import bench as module
from bddzoo.runs.bench import BenchOptions, BenchTarget, bench, is_precise
from bddzoo.runs.machine import Watch
from tests.support.forked import can_fork, run_forked

SMALL = BenchOptions(device="cpu", size=(90, 160), seconds=0.2)


def demo(task: str) -> BenchTarget:
    registry = load_registry(None)
    return BenchTarget(next(m for m in registry.models if m.zoo.id == "demo" and m.task == task))


def recorded(measure: Callable[[], list[SpeedRecord]], folder: Path) -> list[SpeedRecord]:
    """Records of what is measured, in a forked process where that can be: its children need not start."""
    if not can_fork(os.environ):
        return measure()
    done = run_forked(write, measure, folder / "records.json", env=os.environ)
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode((folder / "records.json").read_bytes(), type=list[SpeedRecord])


def write(measure: Callable[[], list[SpeedRecord]], file: Path) -> None:
    file.write_bytes(msgspec.json.encode(measure()))


def measure_pair() -> list[SpeedRecord]:
    """Two models in turns."""
    steps: list[str] = []
    options = BenchOptions(device="cpu", size=(90, 160), seconds=0.5, batch_sizes=(1, 3))
    found = bench([demo("sem_seg"), demo("ins_seg")], options, command=["bddzoo"], step=steps.append)
    assert steps[0] == "loading the network"
    assert len(steps) == 4
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[SpeedRecord]:
    return recorded(measure_pair, tmp_path_factory.mktemp("pair"))


def test_what_is_measured(pair: list[SpeedRecord]) -> None:
    for record in pair:
        assert [(t.what, t.batch_size) for t in record.timings] == [
            ("network", 1),
            ("network", 3),
            ("file to file", 1),
        ]
        assert all(len(t.times_ms) >= 2 and len(t.warm_up_ms) >= 3 for t in record.timings)
        assert record.load_s > 0
        assert record.flops > 1e7
        assert record.peak_memory_bytes > 5e7
        assert record.device.type == "cpu"
    semantic, instance = pair
    assert (semantic.in_turns_with, instance.in_turns_with) == ((instance.model,), (semantic.model,))
    assert semantic.second_stage == {}
    assert instance.second_stage["detections"] == 100
    assert [len(t.times_ms) for t in semantic.timings] == [len(t.times_ms) for t in instance.timings]
    model = load_registry(None).find(semantic.model)
    assert model.network is not None
    assert semantic.params == model.network.params


def test_three_images_take_longer_than_one(pair: list[SpeedRecord]) -> None:
    one, three, _ = pair[0].timings
    assert three.median_ms > one.median_ms


def test_the_second_stage_does_the_same_work_whatever_is_seen() -> None:
    import torch

    from bddzoo.engines.load import load_model
    from bddzoo.runs.bench import fix_second_stage

    model = demo("ins_seg").model
    runner: Any = load_model(model, None)
    network = runner.module
    wanted = fix_second_stage(network)
    seen: list[int] = []
    network.roi_head.bbox_head.register_forward_hook(lambda m, i, o: seen.append(len(i[0])))
    network.roi_head.mask_head.register_forward_hook(lambda m, i, o: seen.append(len(i[0])))
    for seed in (1, 2):
        x = torch.randn(1, 3, 96, 160, generator=torch.Generator().manual_seed(seed))
        runner.detect(x, [(96, 160)], [(96, 160)], [(1.0, 1.0)])
    assert seen == [wanted["proposals"], wanted["detections"]] * 2


def test_learnt_proposals_are_as_many_in_each_image() -> None:
    from bddzoo.engines.load import build_network
    from bddzoo.runs.bench import fix_second_stage

    network: Any = build_network(load_registry(None).find("sparse_rcnn_r50_fpn_1x_det_bdd100k"))
    assert fix_second_stage(network) == {"proposals": network.rpn_head.num_proposals, "detections": 100}


def measure_short_of_memory() -> list[SpeedRecord]:
    """The process is given as much memory as it has after its first timing, and a little more."""
    real = module._in_turns

    def limited(processes: Any, what: str, size: int, options: Any) -> Any:
        if size == 512:
            pid = processes[0]._process.pid
            used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            hard = resource.prlimit(pid, resource.RLIMIT_AS)[1]
            resource.prlimit(pid, resource.RLIMIT_AS, (used + (64 << 20), hard))
        return real(processes, what, size, options)

    options = BenchOptions(device="cpu", size=(360, 640), seconds=0.2, batch_sizes=(1, 512), with_io=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_in_turns", limited)
        return bench([demo("sem_seg")], options)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no prlimit here")
def test_too_little_memory_marks_the_larger_batch_only(tmp_path: Path) -> None:
    (record,) = recorded(measure_short_of_memory, tmp_path)
    small, large = record.timings
    assert small.times_ms
    assert (large.times_ms, large.failure) == ((), "too little memory")


def measure_what_is_killed() -> list[SpeedRecord]:
    """The process is killed after its first timing."""
    real = module._in_turns

    def killing(processes: Any, what: str, size: int, options: Any) -> Any:
        if what == module.FILES:
            os.kill(processes[0]._process.pid, signal.SIGKILL)
        return real(processes, what, size, options)

    warned: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_in_turns", killing)
        found = bench([demo("sem_seg")], SMALL, warn=warned.append)
    assert any("signal 9" in text for text in warned)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_process_loses_nothing_that_was_measured(tmp_path: Path) -> None:
    (record,) = recorded(measure_what_is_killed, tmp_path)
    assert [t.what for t in record.timings] == ["network"]
    assert any("signal 9" in text for text in record.warnings)


def test_a_network_that_is_not_there_is_refused() -> None:
    with pytest.raises(MissingError, match="cuda:99"):
        bench([demo("sem_seg")], BenchOptions(device="cuda:99"))


def test_other_processes_are_noticed() -> None:
    import subprocess
    import time

    if not Path("/proc/stat").exists():
        pytest.skip("only Linux tells")
    # A grandchild: one of our own children would count as ours.
    code = (
        "import subprocess as s, sys;"
        "print(s.Popen([sys.executable, '-c', 'while 1: pass'], stdin=s.DEVNULL, stdout=s.DEVNULL).pid)"
    )
    pid = int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout)
    try:
        with Watch(Device(name="x", type="cpu", threads=1)) as watch:
            time.sleep(1.0)
    finally:
        os.kill(pid, signal.SIGKILL)
    assert any("other processes used" in text for text in watch.findings())


@pytest.mark.parametrize(
    ("times", "known"), [([1.0] * 6, True), ([1.0] * 5, False), ([1.0, 2.0] * 10, False)]
)
def test_when_a_median_is_known(times: list[float], known: bool) -> None:
    assert is_precise(times) is known
