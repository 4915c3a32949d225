"""Commands on a GPU, as far as a machine without one can tell: see `tests.support.pretend`."""

import json

import pytest

from bddzoo.datasets.formats.mask import read_mask
from bddzoo.errors import ExitCode
from tests.cli.inprocess import command
from tests.support import tiny
from tests.support.pretend import NAME, pretend_gpu

TASKS = {"sem_seg": tiny.SEM_SEG, "ins_seg": tiny.INS_SEG}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    registry = tiny.write_registry(folder / "registry.yaml")
    for task in TASKS:
        tiny.make_weights(registry, task, folder / f"{task}.pth")
    tiny.make_data(folder / "data", 5)
    return folder


@pytest.fixture
def cli(world, tmp_path, monkeypatch):
    """Runs a command with the world's registry and weights of a task."""
    monkeypatch.delenv("BDDZOO_RESULTS", raising=False)

    def call(name, task, *options):
        common = ["--registry", world / "registry.yaml", "--weights", world / f"{task}.pth"]
        return command(name, TASKS[task], *common, "--cache", tmp_path / "cache", *options)

    return call


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("amp", [False, True])
def test_eval_tells_what_it_ran_on(cli, world, tmp_path, task, amp):
    summaries = []
    for device in ("cpu", "cuda"):
        options = ["--data", world / "data", "--results", tmp_path / device, "--device", device]
        options += ["--amp"] if amp and device == "cuda" else []
        if device == "cuda":
            with pretend_gpu():
                done = cli("eval", task, *options)
        else:
            done = cli("eval", task, *options)
        assert done.code == ExitCode.MISSING, done.err  # nothing is reported for these networks
        (path,) = (tmp_path / device).rglob("*.json")
        record = json.loads(path.read_text())
        assert record["protocol"]["device"] == device
        summaries.append({k: v for k, v in record["summary"].items() if v is not None})
    assert record["environment"]["gpu"] == [NAME]
    assert record["protocol"]["precision"] == ("amp-fp16" if amp else "fp32")
    assert record["protocol"]["batch_size"] == 4
    cpu, gpu = summaries
    assert gpu == pytest.approx(cpu, abs=1.0 if amp else 1e-2)


def test_predict_takes_the_gpu_that_there_is(cli, world, tmp_path):
    images = world / "data/images/10k/val"
    with pretend_gpu():
        done = cli("predict", "sem_seg", "-i", images, "--out", tmp_path / "gpu")
    assert done.code == 0, done.err
    assert cli("predict", "sem_seg", "-i", images, "--out", tmp_path / "cpu", "--device", "cpu").code == 0
    masks = sorted((tmp_path / "gpu/masks").iterdir())
    assert len(masks) == 5
    for path in masks:
        assert (read_mask(path) == read_mask(tmp_path / "cpu/masks" / path.name)).mean() > 0.9999


def test_selftest_on_a_gpu_that_is_full():
    with pretend_gpu(largest_bytes=2e5):
        done = command("selftest", "fpn_r50_512x1024_40k_sem_seg_bdd100k", "--device", "cuda")
    assert done.code == ExitCode.MISSING
    assert "error: cuda:0 has too little memory for the network" in done.err


def test_selftest():
    name = "fpn_r50_512x1024_40k_sem_seg_bdd100k"
    with pretend_gpu():
        done = command("selftest", name, "--device", "cuda", "--format", "json")
    assert done.code == 0, done.err
    assert "differs" not in done.out
    assert json.loads(done.out)
