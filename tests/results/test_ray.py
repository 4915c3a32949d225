"""A sweep over the machines of a real Ray cluster: two nodes, on the processors of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bddzoo.errors import MissingError, NetworkError, UsageError
from bddzoo.runs.plan import Job, JobResult, JobStatus
from bddzoo.runs.ray import connected, require_ray, run_job
from bddzoo.version import __version__
from tests.results.factory import each, make_model, make_record, measured, started
from tests.results.ray_driver import on_ray
from tests.results.sweep_driver import settings

psutil = pytest.importorskip("psutil")
pytest.importorskip("ray", reason="needs bddzoo[ray]")

require_ray()  # sets what has to be set before Ray is imported
ROOT = Path(__file__).resolve().parents[2]
STORE = 80 * 1024**2  # about the least that Ray takes
pytestmark = pytest.mark.slow


class TwoNodes:
    """A cluster whose second node can be killed, and comes back."""

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster

        quick = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500}
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1,
                "object_store_memory": STORE,
                "include_dashboard": False,
                "temp_dir": f"{folder}/ray",
                "_system_config": {**quick, "health_check_failure_threshold": 10},
            },
        )
        self.folder = Path(folder)
        self.second: Any = None
        self.address = str(self.cluster.address)

    def both(self) -> TwoNodes:
        """Start the second node if it is not there."""
        for tries in range(3):
            if self.second is None:
                try:
                    self.second = self.cluster.add_node(num_cpus=1, object_store_memory=STORE)
                except Exception:  # Ray has no better name for a machine that is too busy to start one
                    if tries == 2:
                        raise
        return self

    def leftovers(self) -> set[Path]:
        """Folders of tasks; one that is killed leaves its own in the temporary folder."""
        return set(self.folder.glob("bddzoo-sweep-*"))

    def kill(self) -> None:
        """Kill the second node, as a power cut does."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = None


@pytest.fixture(scope="module")
def running() -> Iterator[TwoNodes]:
    folder = tempfile.mkdtemp(prefix="zoo-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # others' memory must not end our nodes
        patch.setenv("TMPDIR", folder)
        two = TwoNodes(folder)
        yield two
        two.cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def nodes(running: TwoNodes, monkeypatch: pytest.MonkeyPatch) -> TwoNodes:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return running.both()


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def workers(folder: Path) -> list[Any]:
    """Worker processes of a sweep in that folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(folder / "log.txt") in words and "tests.results.sweep_worker" in words:
            found.append(process)
    return found


def test_a_node_that_is_killed_in_the_middle_costs_nothing(nodes: TwoNodes, tmp_path: Path) -> None:
    killed: list[set[str]] = []

    def watch(jobs: Sequence[JobStatus]) -> None:
        places = {job.model.id: job.place for job in jobs if job.state == "running"}
        if not killed and len(set(places.values())) == 2 and any(job.state == "done" for job in jobs):
            killed.append(set(places))
            nodes.kill()

    sweep = on_ray(nodes.address, 6, settings(tmp_path, "--sleep", "2", retries=2), watch)
    jobs = sweep.run()
    assert {job.state for job in jobs} == {"done"}, [(job.model.id, job.reason) for job in jobs]
    assert measured(tmp_path) == each(6)
    assert killed, "both nodes were at work"
    twice = {name for name, times in started(tmp_path).items() if times > 1}
    assert twice <= killed[0], "only what ran on the dead node ran again"
    assert len(twice) <= 1
    print(f"6 models on 2 nodes, 1 node killed: 6 records, {len(twice)} started again")
    wait_for(lambda: not workers(tmp_path))


def test_a_sweep_that_is_killed_is_resumed_and_no_finished_model_runs_again(
    nodes: TwoNodes, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.results.ray_driver", nodes.address, str(tmp_path), "5"]
    first = subprocess.Popen([*command, "--sleep", "4"], cwd=ROOT)
    wait_for(lambda: measured(tmp_path).total() >= 2)
    # The next two start between two looks.
    wait_for(lambda: started(tmp_path).total() >= 3)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done, begun = measured(tmp_path), started(tmp_path)
    assert 2 <= done.total() < 5
    wait_for(lambda: not workers(tmp_path))
    assert measured(tmp_path) == done, "nobody but the sweep writes records"
    assert subprocess.run([*command, "--sleep", "4"], cwd=ROOT, check=False, timeout=400).returncode == 0
    assert measured(tmp_path) == each(5), "nothing is recorded twice"
    again = {name for name, times in started(tmp_path).items() if times > 1}
    assert again == begun.keys() - done.keys(), "what was running is begun again, what was finished is not"
    print(f"a sweep of 5 models, killed with {len(again)} running: 5 records, {len(again)} begun again")


def test_ctrl_c_leaves_nothing_behind_and_can_be_taken_up(nodes: TwoNodes, tmp_path: Path) -> None:
    before = nodes.leftovers()
    command = [sys.executable, "-m", "tests.results.ray_driver", nodes.address, str(tmp_path), "2"]
    first = subprocess.Popen([*command, "--sleep", "5"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: len(started(tmp_path)) == 2)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=120)
    assert (first.returncode, said) == (130, "")
    wait_for(lambda: not workers(tmp_path), 30)
    wait_for(lambda: nodes.leftovers() <= before, 30)
    done = measured(tmp_path)
    assert subprocess.run([*command, "--sleep", "5"], cwd=ROOT, check=False, timeout=400).returncode == 0
    assert measured(tmp_path) == each(2)
    assert started(tmp_path) == each(2) + (each(2) - done), "what was interrupted ran again, once"


def test_crashes_hangs_and_failures(nodes: TwoNodes, tmp_path: Path) -> None:
    before = nodes.leftovers()
    plan = settings(
        tmp_path, "--crash", "m0", "--hang", "m1", "--missing", "m2", "--crash-once", "m3", time_limit_s=6
    )
    jobs = {job.model.id: job for job in on_ray(nodes.address, 5, plan).run()}
    assert {name: job.state for name, job in jobs.items()} == {
        "m0": "failed",
        "m1": "failed",
        "m2": "failed",
        "m3": "done",
        "m4": "done",
    }
    assert "died with status -6" in jobs["m0"].reason
    assert "no end after 6 s" in jobs["m1"].reason
    assert (jobs["m2"].exit_code, jobs["m2"].reason) == (5, "no source could be reached")
    assert started(tmp_path) == Counter({"m0": 2, "m1": 2, "m2": 1, "m3": 2, "m4": 1})
    assert measured(tmp_path) == Counter(["m3", "m4"])
    wait_for(lambda: not workers(tmp_path))
    assert nodes.leftovers() <= before


def test_another_try_runs_on_another_node(nodes: TwoNodes, tmp_path: Path) -> None:
    places: set[str] = set()
    plan = settings(tmp_path, "--crash", "m0", "--sleep", "1", retries=1)
    on_ray(nodes.address, 1, plan, lambda jobs: places.update(job.place for job in jobs if job.place)).run()
    assert started(tmp_path) == Counter({"m0": 2})
    assert len(places) == 2


def test_weights_are_fetched_while_models_run(nodes: TwoNodes, tmp_path: Path) -> None:
    """What is fetched ahead is fetched once, and before its model starts."""
    log = tmp_path / "fetched.txt"
    code = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')"
    fetch = (sys.executable, "-c", code, str(log))
    on_ray(nodes.address, 4, settings(tmp_path, "--sleep", "4"), fetch=fetch).run()
    assert measured(tmp_path) == each(4)
    assert Counter(log.read_text().split()) == Counter(["m2", "m3"]), "the first two start at once"


def test_a_result_comes_when_nothing_is_left_behind(
    nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep may end the cluster as soon as it has the last result."""
    (temporary := tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    code = "import sys; sys.exit(3)"
    job = Job("m", (sys.executable, "-c", code), tmp_path / "results", "sweep", tmp_path / "log")
    with connected(nodes.address):
        outputs = run_job(job, sys.executable, __version__)
        next(outputs)
        result = next(outputs)
        left = list(temporary.glob("bddzoo-sweep-*"))
    assert isinstance(result, JobResult)
    assert (result.code, left) == (3, [])


def test_a_cluster_without_room_says_so(nodes: TwoNodes, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no machine of the Ray cluster has 3 GPUs"):
        on_ray(nodes.address, 1, settings(tmp_path), gpus=3).run()


@pytest.mark.parametrize(
    ("address", "kind"), [("127.0.0.1:1", NetworkError), ("nonsense", UsageError), ("a:b", UsageError)]
)
def test_an_address_where_no_cluster_is(address: str, kind: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(kind, match=address):
        on_ray(address, 1, settings(tmp_path)).run()


def test_records_of_something_else_are_not_kept(tmp_path: Path) -> None:
    from bddzoo.errors import IntegrityError
    from bddzoo.results.manage import keep_records, pack_records
    from bddzoo.results.store import write_record

    there = tmp_path / "there"
    record = make_record(make_model(id="m0"), run={"sweep": "s"}, statistics={"confusion": b"counts"})
    write_record(record, there, {"confusion": b"counts"})
    files = pack_records(there)
    assert len(files) == 2
    here = tmp_path / "here"
    with pytest.raises(IntegrityError, match="a record of m0"):
        keep_records(files, here, model="m1", sweep="s")
    with pytest.raises(IntegrityError, match="did not arrive whole"):
        keep_records({k: v for k, v in files.items() if k.endswith(".json")}, here, model="m0", sweep="s")
    assert not list(here.rglob("*.json"))
    keep_records(files, here, model="m0", sweep="s")
    assert pack_records(here) == files


def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    from bddzoo.runs.ray import _local_command

    log = tmp_path / "log.txt"
    worker = [sys.executable, "-m", "tests.results.sweep_worker", "m0", "--log", str(log), "--hang", "m0"]
    code = f"import subprocess; subprocess.run({_local_command(worker, sys.executable)!r})"
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_for(log.exists)
    assert workers(tmp_path)
    parent.kill()
    parent.wait()
    wait_for(lambda: not workers(tmp_path), 10)
