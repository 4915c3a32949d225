from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from bddzoo.errors import MissingError
from bddzoo.runs.local import LocalExecutor
from bddzoo.runs.plan import JobStatus, remaining_s
from bddzoo.runs.sweep import Sweep
from tests.results.factory import each, make_model, make_models, make_record, measured, started, stored_in
from tests.results.sweep_driver import local, settings

ROOT = Path(__file__).resolve().parents[2]
# Runs with a kill; the number is for machines with time.
KILLS = int(os.environ.get("BDDZOO_TEST_KILLS", "6"))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_every_model_is_measured_once_and_the_sweep_can_be_taken_up(tmp_path: Path) -> None:
    states: list[Counter[str]] = []
    sweep = local(
        make_models(4), settings(tmp_path), 2, lambda jobs: states.append(Counter(j.state for j in jobs))
    )
    jobs = sweep.run()
    assert {job.state for job in jobs} == {"done"}
    assert max(state["running"] for state in states) == 2
    assert measured(tmp_path) == each(4)
    again = local(make_models(5), settings(tmp_path)).run()
    assert {job.state for job in again} == {"done"}
    assert started(tmp_path) == each(5), "nothing ran twice"
    other = local(make_models(1), settings(tmp_path, name="other")).run()
    assert other[0].tries == 1, "another name is another sweep"
    assert remaining_s(jobs, 2) == 0.0


def test_a_crash_hits_one_and_is_tried_again(tmp_path: Path) -> None:
    jobs = local(make_models(3), settings(tmp_path, "--crash", "m1", retries=1)).run()
    states = {job.model.id: job for job in jobs}
    assert states["m1"].state == "failed"
    assert "died with status -6" in states["m1"].reason
    assert started(tmp_path)["m1"] == 2
    assert measured(tmp_path) == Counter(["m0", "m2"])
    mended = local(make_models(3), settings(tmp_path / "b", "--crash-once", "m1", retries=1)).run()
    assert {job.state for job in mended} == {"done"}


def test_what_another_try_cannot_mend_is_not_tried_again(tmp_path: Path) -> None:
    jobs = local(make_models(1), settings(tmp_path, "--missing", "m0", retries=5)).run()
    assert (jobs[0].state, jobs[0].exit_code) == ("failed", 5)
    assert jobs[0].reason == "no source could be reached"
    assert started(tmp_path)["m0"] == 1


def test_a_worker_that_hangs_is_stopped(tmp_path: Path) -> None:
    jobs = local(make_models(2), settings(tmp_path, "--hang", "m0", retries=0, time_limit_s=3), 2).run()
    states = {job.model.id: job for job in jobs}
    assert states["m0"].state == "failed"
    assert "no end after 3 s" in states["m0"].reason
    assert states["m1"].state == "done"
    print("1 worker of 2 hung: stopped at its limit, 1 record, none of the one that hung")
    assert measured(tmp_path) == Counter(["m1"])


def test_what_a_crashed_worker_has_started_is_ended(tmp_path: Path) -> None:
    """A process that a worker leaves behind would keep its GPU."""
    jobs = local(make_models(1), settings(tmp_path, "--orphan", "m0", "--crash", "m0", retries=0)).run()
    assert jobs[0].state == "failed"
    orphan = int((tmp_path / "orphan").read_text())
    deadline = time.monotonic() + 10
    while alive(orphan) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(orphan)


def alive(pid: int) -> bool:
    """Whether the process runs; a dead one that nobody has asked for is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_asks_all_workers_at_once_and_leaves_none(tmp_path: Path) -> None:
    seen: list[int] = []

    def press(jobs: Sequence[JobStatus]) -> None:
        if len(started(tmp_path)) == 3:
            seen.extend(pids(tmp_path))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local(make_models(4), settings(tmp_path, "--sleep", "30"), 3, press).run()
    assert len(seen) == 3
    assert pids(tmp_path) == []
    assert measured(tmp_path) == Counter()
    short = [local(make_models(1), settings(tmp_path), 1).run()[0].state]
    assert short == ["done"], "no lock is left"


def pids(folder: Path) -> list[int]:
    """Processes whose command line names the folder's log."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder / "log.txt").encode() in (place / "cmdline").read_bytes():
                found.append(int(place.name))
    return found


def test_weights_are_fetched_while_models_run(tmp_path: Path) -> None:
    """In the order in which they will run, each once, not what runs already; an error is for the worker."""
    fetched: list[str] = []

    def fetch(name: str) -> None:
        fetched.append(name)
        if name == "m2":
            raise MissingError("nowhere")

    plan = settings(tmp_path, "--sleep", "0.5")
    jobs = Sweep(make_models(4), plan, lambda: LocalExecutor(1, fetch=fetch)).run()
    assert {job.state for job in jobs} == {"done"}
    assert fetched == ["m1", "m2", "m3"]


def test_two_sweeps_on_one_folder_share_the_work(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.results.sweep_driver", str(tmp_path), "6", "0.3"]
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert started(tmp_path) == measured(tmp_path) == each(6)
    print("2 sweeps of 6 models on 1 folder: 6 started, 6 records")


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_and_nothing_runs_twice(tmp_path: Path) -> None:
    def command(folder: Path) -> list[str]:
        folder.mkdir()
        return [sys.executable, "-m", "tests.results.sweep_driver", str(folder), "5", "0.2"]

    begin = time.monotonic()
    assert subprocess.run(command(tmp_path / "whole"), cwd=ROOT, check=False, timeout=120).returncode == 0
    whole = time.monotonic() - begin
    moments = random.Random(0)
    counts: Counter[str] = Counter()
    for run in range(KILLS):
        folder = tmp_path / str(run)
        process = subprocess.Popen(command(folder), cwd=ROOT)
        time.sleep(moments.uniform(0.1, whole))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            counts["killed"] += 1
        process.wait()
        counts["done when killed"] += sum(measured(folder).values())
        counts["started when killed"] += sum(started(folder).values())
        # Workers that were running go on: the sweep that takes over waits for them.
        again = subprocess.run(process.args, cwd=ROOT, check=False, timeout=120)
        assert again.returncode == 0
        assert measured(folder) == started(folder) == each(5)
    assert counts["killed"], "some were killed"
    print(f"{KILLS} sweeps of 5 models, {dict(counts)}: nothing lost, nothing twice")


def test_a_corrupted_record_does_not_count_as_done(tmp_path: Path) -> None:
    plan = settings(tmp_path)
    local(make_models(2), plan).run()
    path = next(s.path for s in stored_in(plan.results) if s.record.model == "m0")
    path.write_bytes(path.read_bytes()[:50])
    jobs = local(make_models(2), plan).run()
    assert {job.state for job in jobs} == {"done"}
    assert started(tmp_path) == Counter({"m0": 2, "m1": 1})
    print("1 of 2 records corrupted: 1 model measured again")


def test_a_clock_that_jumps_does_not_matter(tmp_path: Path) -> None:
    """What is done is told by the records' content, never by a time: a record from the future counts."""
    plan = settings(tmp_path)
    from bddzoo.results import write_record

    run = {"started": "2199-01-01T00:00:00Z", "sweep": plan.id}
    write_record(make_record(make_model(id="m0"), run=run), plan.results)
    assert local(make_models(1), plan).run()[0].state == "done"
    assert started(tmp_path) == Counter()


def test_a_full_disk_loses_nothing_and_is_made_good(tmp_path: Path) -> None:
    """On a tmpfs of 256 kB: no half record, no leftover; with room again every model once."""
    apart = ["unshare", "--map-root-user", "--mount"]
    probe = f"mkdir {tmp_path}/probe && mount -t tmpfs none {tmp_path}/probe"
    if shutil.which("unshare") is None or subprocess.run([*apart, "sh", "-c", probe], check=False).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs in a namespace")
    command = [*apart, sys.executable, "-m", "tests.results.full_disk_driver", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    full, room = json.loads(done.stdout)
    assert {state for state, _ in full["states"].values()} == {"failed"}
    assert all("no space is left" in reason for _, reason in full["states"].values())
    assert (full["measured"], full["left"]) == ({}, [])
    assert {state for state, _ in room["states"].values()} == {"done"}
    assert (room["measured"], room["left"]) == (each(3), [])
    assert started(tmp_path) == each(3, times=2)
    print("3 models on a full disk: 3 failed, 0 half records; with room again: 3 records")


def test_a_place_without_room_for_a_lock_is_one_line(tmp_path: Path) -> None:
    plan = settings(tmp_path)
    (plan.folder / "m0.lock").mkdir(parents=True)
    with pytest.raises(MissingError, match="cannot write a record to"):
        local(make_models(1), plan).run()


def test_a_clock_that_jumps_during_a_sweep_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time limits go by a clock that nobody sets: the day's clock leaps by years at each look."""
    leaps = iter(range(0, 10**12, 10**8))
    monkeypatch.setattr(time, "time", lambda: float(next(leaps)))
    jobs = local(make_models(2), settings(tmp_path, time_limit_s=60)).run()
    assert {job.state for job in jobs} == {"done"}
    assert all(0 <= job.seconds < 60 for job in jobs)
    assert started(tmp_path) == measured(tmp_path) == Counter(["m0", "m1"])
    print("a clock that jumps by 3 years a look: 2 models, 2 records, 0 over time")


def test_a_results_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(MissingError, match="cannot write"):
        local(make_models(1), settings(tmp_path)).run()
