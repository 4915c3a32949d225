"""Fetching in a world of faults: whatever happens, a file is absent or whole, and never wrong."""

from __future__ import annotations

import hashlib
import io
import itertools
import multiprocessing
import random
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bddzoo.artifacts import Cache, NetworkPolicy
from bddzoo.artifacts.fetch import Silent
from bddzoo.artifacts.maintain import check_cache
from bddzoo.errors import IntegrityError, MissingError, NetworkError
from tests.artifacts.conftest import small_disk
from tests.artifacts.registry import weights, write_registry
from tests.artifacts.zoo import CALM, QUICK, fetch_in_process, leftovers, make_bytes, make_fetcher, make_model
from tests.cli.command import assert_one_line, bddzoo
from tests.conftest import ALL
from tests.support.server import FAULTS, Fault, Server

HASTY = NetworkPolicy(
    connect_s=2, read_s=0.12, header_s=0.2, stall_s=0.2, stall_bytes=500,
    attempts=3, backoff_s=0.002, backoff_max_s=0.01,
)  # fmt: skip
# What no client can tell from a good answer unless it knows a digest or the size.
UNDETECTABLE = {"wrong-bytes", "new-etag", "length-short"}
ENDLESS = {"no-length"}


class Notes(Silent):
    """Keeps what a fetcher notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, key: str, text: str) -> None:
        self.texts.append(text)


def make_file(rng: random.Random, suffix: str, size: int) -> bytes:
    """A file of a format that shows its end, or of one that does not."""
    if suffix == "json":
        return b"[" + b",".join(b"%d" % rng.randrange(10**6) for _ in range(size // 7)) + b"]"
    noise = rng.randbytes(size)
    if suffix == "pth":
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("archive/data.pkl", noise)
        return out.getvalue()
    return noise


@dataclass
class Tally:
    """What a series of runs came to."""

    runs: int = 0
    fetched: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def check(self, cache: Cache, good: set[bytes], what: str) -> None:
        """Everything under a final name must be whole and right."""
        right = {hashlib.sha256(data).hexdigest() for data in good}
        for path in (cache.root / "objects").rglob("*"):
            if path.is_file():
                found = hashlib.sha256(path.read_bytes()).hexdigest()
                if found != path.parent.name or found not in right:
                    self.wrong.append(f"{what}: {path.name} holds {found}")
        for entry in cache.entries():
            if not cache.path_of(entry).exists():
                self.lost.append(f"{what}: {entry.model} {entry.kind} has no content")

    def add(self, other: Tally) -> None:
        """Take in what another series came to."""
        self.runs += other.runs
        self.fetched += other.fetched
        self.refused += other.refused
        self.wrong += other.wrong
        self.lost += other.lost

    def report(self, capsys: pytest.CaptureFixture[str], what: str) -> None:
        """Print the counts and insist on the zeros."""
        with capsys.disabled():
            print(
                f"\n{what}: {self.runs} runs, {self.fetched} fetched at once, {self.refused} refused, "
                f"{len(self.wrong)} files accepted wrongly, {len(self.lost)} files lost"
            )
        assert not self.wrong
        assert not self.lost


def side_by_side(run: Callable[[int, Server], Tally], lanes: int = 8) -> Tally:
    """What several series came to, each with its number and a server of its own: most of it is waiting."""

    def lane(number: int) -> Tally:
        with Server() as server:
            return run(number, server)

    total = Tally()
    with ThreadPoolExecutor(lanes) as pool:
        for tally in pool.map(lane, range(lanes)):
            total.add(tally)
    return total


def run_once(folder: Path, server: Server, rng: random.Random, names: tuple[str, ...], tally: Tally) -> None:
    """Fetch through faults, look at the cache, then fetch without them."""
    suffix = rng.choice(["pth", "json", "bin"])
    known = rng.choice(["md5", "sha256", "md5 sha256 size", "size", ""])
    if not known or known == "size":
        names = tuple(
            n for n in names if n not in UNDETECTABLE and (known or suffix != "bin" or n not in ENDLESS)
        )
    data = make_file(rng, suffix, rng.choice([1, 3000, 70_000, 200_000]))
    server.files.clear()
    server.faults[:] = [
        Fault(
            name,
            after=rng.randrange(1, len(data) + 1),
            delay=rng.choice([0.0, 0.02, 0.5]),
            chunk=rng.choice([2000, 60_000]),
            times=rng.choice([1, 2, None]),
            pattern=rng.choice(["", "", "first"]),
        )
        for name in names
    ]
    sources = (server.put(f"first/x.{suffix}", data), server.put(f"second/x.{suffix}", data))
    if rng.random() < 0.3 and known != "size":
        server.put(f"second/x.{suffix}.md5", hashlib.md5(data).hexdigest().encode())
    model = make_model(data, known, name=f"x.{suffix}", sources=sources[: rng.choice([1, 2])])
    what = (
        f"{'+'.join(f'{f.name}*{f.times or 0}' for f in server.faults)} known={known!r} {suffix} {len(data)}"
    )
    tally.runs += 1
    fetcher = make_fetcher(folder, policy=HASTY)
    try:
        result = fetcher.fetch(model, verify=rng.random() < 0.3)
        tally.fetched += 1
        if result.path.read_bytes() != data:
            tally.wrong.append(what)
    except (NetworkError, IntegrityError, MissingError):
        tally.refused += 1
    tally.check(fetcher.cache, {data}, what)
    server.faults.clear()
    try:
        result = make_fetcher(folder, policy=CALM).fetch(model)
        if result.path.read_bytes() != data:
            tally.wrong.append(f"{what}, without faults")
    except (NetworkError, IntegrityError, MissingError) as error:
        tally.lost.append(f"{what}: {error}")
    tally.check(fetcher.cache, {data}, what)
    assert not leftovers(fetcher.cache), what


def test_every_fault_alone_and_every_pair_once(tmp_path, capsys):
    rng, tally = random.Random(1), Tally()
    cases = [(name,) for name in FAULTS] + rng.sample(list(itertools.combinations(FAULTS, 2)), 20)
    with Server() as server:
        for number, names in enumerate(cases):
            run_once(tmp_path / str(number), server, rng, names, tally)
    tally.report(capsys, "faults alone and some pairs")


@pytest.mark.slow
def test_random_faults(tmp_path, capsys):
    runs = 400 if ALL else 160
    pairs = list(itertools.combinations(FAULTS, 2))
    random.Random(20240229).shuffle(pairs)

    def series(lane: int, server: Server) -> Tally:
        rng, tally = random.Random(20240229 + lane), Tally()
        for number in range(lane, runs, 8):
            names = (
                pairs[number % len(pairs)]
                if number // 8 % 2
                else tuple(rng.sample(FAULTS, rng.choice([1, 3])))
            )
            run_once(tmp_path / str(number), server, rng, names, tally)
        return tally

    tally = side_by_side(series)
    tally.report(capsys, "random faults")
    assert tally.runs == runs


# Processes to kill are forked from one that has everything imported already.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["bddzoo.artifacts.http", "bddzoo.artifacts.partial", "tests.artifacts.zoo"])


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path, capsys):
    kept: list[int] = []

    def series(lane: int, server: Server) -> Tally:
        rng, tally = random.Random(7 + lane), Tally()
        for number in range(lane, 25, 5):
            folder = tmp_path / str(number)
            data = make_bytes(rng.choice([300_000, 1_500_000]), number)
            known = rng.choice(["md5", "sha256", ""])
            model = make_model(data, known, sources=(server.put("x.pth", data),))
            server.faults[:] = [Fault("drip", chunk=len(data) // 40, delay=0.012)]
            for _ in range(4):
                tally.runs += 1
                process = PROCESSES.Process(target=fetch_in_process, args=(str(folder), model, False))
                process.start()
                time.sleep(rng.uniform(0.0, 0.45))
                process.kill()
                process.join()
                tally.fetched += process.exitcode == 0
                tally.check(Cache(folder / "cache"), {data}, f"killed {number}")
            server.faults.clear()
            server.requests.clear()
            result = make_fetcher(folder, policy=CALM).fetch(model)
            kept.append(any("Range" in r.headers for r in server.requests))
            tally.check(Cache(folder / "cache"), {data}, f"after kills {number}")
            if result.path.read_bytes() != data:
                tally.wrong.append(f"after kills {number}")
            assert not leftovers(Cache(folder / "cache"))
        return tally

    tally = side_by_side(series, 5)
    assert len(kept) == 25
    tally.report(capsys, f"killed at random moments ({sum(kept)} of 25 downloads were resumed)")


@pytest.mark.slow
def test_eight_processes_on_one_file(tmp_path, capsys):
    rng, tally = random.Random(8), Tally()
    with Server() as server:
        for number in range(3):
            folder = tmp_path / str(number)
            data = make_bytes(400_000, number)
            model = make_model(data, "md5", sources=(server.put("x.pth", data),))
            server.faults[:] = [Fault("cut", after=150_000, times=4), Fault("drip", chunk=50_000, delay=0.02)]
            children = [
                PROCESSES.Process(target=fetch_in_process, args=(str(folder), model, True)) for _ in range(8)
            ]
            for child in children:
                child.start()
            if number:
                time.sleep(rng.uniform(0.1, 0.3))
                for child in children[:3]:
                    child.kill()
            for child in children:
                child.join(60)
                tally.runs += 1
                tally.fetched += child.exitcode == 0
            assert [c.exitcode for c in children[3:]] == [0] * 5
            cache = Cache(folder / "cache")
            tally.check(cache, {data}, f"eight {number}")
            assert all(f.state in ("ok", "extra") for f in check_cache(cache))
    tally.report(capsys, "eight processes on one file")


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "4m") as folder:
        yield folder


def test_full_disk(disk, tmp_path):
    large, small = make_bytes(6_000_000), make_bytes(1_000_000, 1)
    with Server() as server:
        write_registry(
            tmp_path / "registry.yaml",
            {
                "large": weights("large.pth", server.put("large.pth", large), data=large),
                "endless": weights("endless.pth", server.put("endless.pth", large)),
                "small": weights("small.pth", server.put("small.pth", small), data=small),
            },
        )
        server.faults = [Fault("no-length", pattern="endless")]
        where = ["--registry", tmp_path / "registry.yaml", "--cache", disk / "cache"]
        done = bddzoo("fetch", "large", *where)
        assert_one_line(done, 5, "no room", "5.7 MiB needed")
        assert not any(r.path.endswith(".md5") for r in server.requests)
        assert_one_line(bddzoo("fetch", "endless", *where), 5, "the disk is full")
        assert not any(p.name == "endless.pth" for p in disk.rglob("*"))
        dry = bddzoo("fetch", "large", "--dry-run", *where)
        assert dry.returncode == 5
        assert "NOT ENOUGH ROOM" in dry.stderr
        assert bddzoo("cache", "gc", "--older-than", "0", *where).returncode == 0
        done = bddzoo("fetch", "small", "--verify", *where)
        assert done.returncode == 0, done.stderr
        assert bddzoo("cache", "verify", *where).returncode == 0


def test_at_most_four_connections_to_a_host(tmp_path):
    from bddzoo.artifacts.fetcher import FetchJob, fetch_all

    with Server() as server:
        server.faults = [Fault("drip", chunk=10_000, delay=0.01)]
        models = []
        for number in range(12):
            data = make_bytes(60_000, number)
            url = server.put(f"{number}.pth", data)
            models.append(make_model(data, model_id=f"net_{number}", sources=(url,)))
        fetcher = make_fetcher(tmp_path, jobs=12, policy=QUICK)
        outcomes = fetch_all(fetcher, [FetchJob(m, "weights") for m in models], verify=True)
        assert all(o.result is not None for o in outcomes)
        assert server.open_most <= 4


def test_dead_host_is_asked_once_for_many_files(tmp_path):
    from bddzoo.artifacts.fetcher import FetchJob, fetch_all

    with Server() as server:
        good = [make_bytes(1000, i) for i in range(6)]
        models = [
            make_model(data, model_id=f"n{i}", sources=("http://127.0.0.1:9/x", server.put(f"{i}.pth", data)))
            for i, data in enumerate(good)
        ]
        fetcher = make_fetcher(tmp_path, jobs=1, progress=(notes := Notes()))
        outcomes = fetch_all(fetcher, [FetchJob(m, "weights") for m in models])
        assert all(o.result is not None for o in outcomes)
    assert sum("trying again" in n for n in notes.texts) == 1
    assert len(notes.texts) == 2, "what happened to a host is said once, not for each of its files"
