"""How fast `bddzoo fetch` and `bddzoo cache verify` are, next to tools that check an MD5 too.

Everything runs on one machine: nginx serves files over loopback, the contenders take turns, and the
median of the rounds counts. CPU time is that of the client and its children, nginx not included.
Files lie in memory where there is a /dev/shm, so that the programs are compared and not the disk.
Before every run as much memory as the files need is written and freed: a virtual machine may have to
ask its host for memory that it has not used for a while, which would be a contender's bad luck.

    python benchmarks/speed/fetch.py                     # all: about 10 GB of room in --dir, 10 minutes
    python benchmarks/speed/fetch.py --only single --rounds 5     # the other tables stay as they are

A contender that takes more than twice the fastest one's time sits out all rounds after the second.
"floor" is what nothing can be faster than: MD5 and SHA-256 of so many bytes, at the rate at which
OpenSSL computes them here on all processors, for one file on the one processor that computes MD5.

Needs nginx, curl and aria2c (Debian: nginx-light, curl, aria2) and pooch from PyPI; a contender that
is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MB = 1_000_000
ARIA2C = ("-q", "--no-conf", "--file-allocation=none", "-x4", "-s4", "-k1M")
POOCH = """
import sys, json, pooch
from multiprocessing.pool import ThreadPool
pooch.get_logger().setLevel("ERROR")
jobs, out, items = json.load(open(sys.argv[1]))
def one(item):
    url, md5, name = item
    pooch.retrieve(url, known_hash="md5:" + md5, fname=name, path=out)
with ThreadPool(jobs) as pool:
    list(pool.imap_unordered(one, items))
"""


@dataclass
class Served:
    """A file of the benchmark."""

    name: str
    url: str
    md5: str
    size: int


@dataclass
class Spent:
    """What one run of a command cost: seconds, and peak memory in MB (10^6 bytes)."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def make_file(path: Path, size: int, seed: int) -> str:
    """Write a file that does not compress; returns its MD5."""
    block = hashlib.shake_256(str(seed).encode()).digest(1 << 20)
    state = hashlib.md5()
    with path.open("wb") as file:
        for count in range(0, size, len(block)):
            piece = (count.to_bytes(8, "little") + block)[: min(len(block), size - count)]
            file.write(piece)
            state.update(piece)
    return state.hexdigest()


@contextmanager
def nginx(root: Path, folder: Path) -> Iterator[str]:
    """Serve a folder; yields the base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi"))
    config.write_text(
        f"daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log;"
        f"{'user root;' if os.getuid() == 0 else ''} events {{ worker_connections 512; }}"
        f"http {{ access_log off; sendfile on; tcp_nopush on; {temporary}"
        f"uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; types {{}}"
        f"default_type application/octet-stream; server {{ listen 127.0.0.1:{port}; root {root}; }} }}"
    )
    process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def spend(command: list[str], cwd: Path) -> Spent:
    """Run a command to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:4]} failed with {process.returncode}: {output[-2000:]}")
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MB)


def registry_of(files: list[Served], path: Path) -> Path:
    """A registry that knows the files' MD5 and size, in JSON, which is YAML."""
    rows = [
        {
            "id": f"net_{number}",
            "backbone": "none",
            "artifacts": {
                "weights": {
                    "name": file.name,
                    "sources": [file.url],
                    "digests": [f"md5:{file.md5} published"],
                    "size": file.size,
                }
            },
        }
        for number, file in enumerate(files)
    ]
    section = {
        "page": "https://127.0.0.1/none",
        "columns": {"Backbone": {"backbone": True}},
        "tables": {"default": {"columns": ["Backbone"]}},
        "methods": [{"name": "FCN", "models": rows}],
    }
    zoo = {"id": "bench", "title": "Benchmark", "tasks": {"sem_seg": section}}
    path.write_text(json.dumps({"schema": 1, "zoos": [zoo]}, indent=1))
    return path


def contenders(files: list[Served], work: Path, jobs: int) -> dict[str, Callable[[], list[str]]]:
    """Commands by name; each makes its own empty folder `out` first."""
    registry = registry_of(files, work / "registry.yaml")
    sums = work / "sums"
    sums.write_text("".join(f"{f.md5}  {f.name}\n" for f in files))
    urls = work / "urls"
    urls.write_text("".join(f"{f.url} {f.name}\n" for f in files))
    aria = work / "aria"
    aria.write_text("".join(f"{f.url}\n  out={f.name}\n  checksum=md5={f.md5}\n" for f in files))
    plan = work / "pooch.json"
    plan.write_text(json.dumps([jobs, str(work / "out"), [[f.url, f.md5, f.name] for f in files]]))
    # What curl's output is piped into decides what it does: with tee the file is kept, as the others do.
    keep = 'curl -sf "$1" | tee "$2" | md5sum | sed "s/-/$2/"'
    drop = 'curl -sf "$1" | md5sum | sed "s/-/$2/"'
    after = 'curl -sf -o "$2" "$1" && md5sum "$2"'
    line = "xargs -P {jobs} -L 1 sh -c '{one}' sh < {urls} | sort > got && sort {sums} | diff - got"
    bddzoo = [sys.executable, "-m", "bddzoo", "fetch", "--all", "--verify", "-q", "--jobs", str(jobs)]

    def shell(one: str) -> list[str]:
        return ["sh", "-c", line.format(jobs=jobs, one=one, urls=urls, sums=sums)]

    found: dict[str, Callable[[], list[str]]] = {
        "bddzoo": lambda: [*bddzoo, "--registry", str(registry), "--cache", str(work / "out" / "cache")],
        "curl | tee | md5sum": lambda: shell(keep),
        "curl | md5sum (nothing kept)": lambda: shell(drop),
        "curl, then md5sum": lambda: shell(after),
        "aria2c --checksum": lambda: ["aria2c", *ARIA2C, f"-j{jobs}", "-i", str(aria)],
        "pooch": lambda: [sys.executable, "-c", POOCH, str(plan)],
    }
    missing = {"curl": shutil.which("curl"), "aria2c": shutil.which("aria2c"), "pooch": has_pooch()}
    return {name: make for name, make in found.items() if missing.get(name.split()[0].strip(","), True)}


def has_pooch() -> bool:
    """Whether pooch can be imported."""
    return (
        subprocess.run([sys.executable, "-c", "import pooch"], capture_output=True, check=False).returncode
        == 0
    )


def compare(title: str, files: list[Served], work: Path, jobs: int, rounds: int) -> dict[str, object]:
    """Run every contender `rounds` times in turn, the slow ones twice."""
    makes = contenders(files, work, jobs)
    out = work / "out"
    spent: dict[str, list[Spent]] = {name: [] for name in makes}
    size = sum(f.size for f in files)
    for number in range(rounds):
        order = list(makes)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            if number >= 2 and fastest(spent[name]) > 2 * min(map(fastest, spent.values())):
                continue
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            touch_memory(work / "touched", size)
            spent[name].append(spend(makes[name](), out))
    shutil.rmtree(out, ignore_errors=True)
    return summarise(title, spent, size) | {"floor": floor([f.size for f in files], jobs)}


def fastest(runs: list[Spent]) -> float:
    """Wall time of the fastest run, in seconds."""
    return min((r.wall_s for r in runs), default=float("inf"))


def touch_memory(path: Path, size: int) -> None:
    """Write and free that many bytes, so that the next run finds memory that is really there."""
    block = bytes(1 << 20)
    with path.open("wb") as file:
        for _ in range(0, size, len(block)):
            file.write(block)
    path.unlink()


def hash_rate(algorithm: str) -> float:
    """MB/s of a digest on one processor, of data in its cache; the best of a few tries."""
    block, count = os.urandom(256 << 10), 400
    best = 0.0
    for _ in range(5):
        state = hashlib.new(algorithm)
        start = time.perf_counter()
        for _ in range(count):
            state.update(block)
        best = max(best, len(block) * count / MB / (time.perf_counter() - start))
    return best


def floor(sizes: list[int], jobs: int) -> dict[str, float]:
    """Rates of the two digests in MB/s, and the seconds that they alone take at least."""
    md5, sha256 = hash_rate("md5"), hash_rate("sha256")
    total = sum(sizes) / MB
    busy = min(os.cpu_count() or 1, jobs * 2)
    least = max((total / md5 + total / sha256) / busy, max(sizes) / MB / md5)
    return {
        "md5_mb_per_s": round(md5),
        "sha256_mb_per_s": round(sha256),
        "both_digests_alone_s": round(least, 3),
    }


def summarise(title: str, spent: dict[str, list[Spent]], size: int) -> dict[str, object]:
    """Print a table and return it."""
    rows = {}
    print(f"\n{title} ({size / MB:.0f} MB)")
    print(f"{'':30} {'wall s':>8} {'best':>8} {'MB/s':>7} {'CPU s':>7} {'peak MB':>8}")
    for name, runs in spent.items():
        wall = statistics.median(r.wall_s for r in runs)
        rows[name] = {
            "wall_s": round(wall, 3),
            "best_s": round(min(r.wall_s for r in runs), 3),
            "mb_per_s": round(size / MB / wall, 1),
            "cpu_s": round(statistics.median(r.cpu_s for r in runs), 3),
            "peak_mb": round(max(r.peak_mb for r in runs), 1),
            "runs_s": [round(r.wall_s, 3) for r in runs],
        }
        shown = rows[name]
        print(f"{name:30} {wall:8.2f} {shown['best_s']:8.2f} {shown['mb_per_s']:7.0f} ", end="")
        print(f"{shown['cpu_s']:7.2f} {shown['peak_mb']:8.1f}", flush=True)
    return {"title": title, "size_bytes": size, "contenders": rows}


def compare_verify(cache: Path, size: int, rounds: int) -> dict[str, object]:
    """`cache verify` next to md5sum, on one and on two processors."""
    listing = "find objects -type f -print0 | xargs -0 -n 1 -P {jobs} md5sum > /dev/null"
    verify = [sys.executable, "-m", "bddzoo", "cache", "verify", "-q", "--cache", str(cache), "--jobs"]
    makes = {
        "bddzoo cache verify --jobs 1": [*verify, "1"],
        "xargs -P1 md5sum": ["sh", "-c", listing.format(jobs=1)],
        "bddzoo cache verify --jobs 2": [*verify, "2"],
        "xargs -P2 md5sum": ["sh", "-c", listing.format(jobs=2)],
    }
    spent: dict[str, list[Spent]] = {name: [] for name in makes}
    for _ in range(rounds):
        for name, command in makes.items():
            spent[name].append(spend(command, cache))
    return summarise("cache verify", spent, size)


def versions() -> dict[str, str]:
    """What the numbers were measured with."""
    commands = {
        "nginx": ["nginx", "-v"],
        "curl": ["curl", "--version"],
        "aria2c": ["aria2c", "--version"],
        "md5sum": ["md5sum", "--version"],
        "pooch": [sys.executable, "-c", "import pooch; print(pooch.__version__)"],
        "bddzoo": [sys.executable, "-m", "bddzoo", "--version"],
    }
    found = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": str(os.cpu_count()),
    }
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            found["processor"] = line.partition(":")[2].strip()
    for name, command in commands.items():
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found[name] = (done.stdout or done.stderr).strip().splitlines()[0]
        except (OSError, IndexError):
            found[name] = "not installed"
    return found


def main() -> None:
    """Run the benchmark."""
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=memory, help="folder for the files [%(default)s]")
    parser.add_argument("--only", choices=["single", "many", "verify"], action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--single-mb", type=int, default=1000)
    parser.add_argument("--files", type=int, default=80)
    parser.add_argument("--file-mb", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fetch.json")
    options = parser.parse_args()
    parts = options.only or ["single", "many", "verify"]
    if shutil.which("nginx") is None:
        raise SystemExit("nginx is not installed (Debian: apt-get install nginx-light)")
    load = os.getloadavg()[0]
    # Installed programs have their bytecode; a checkout under test may be told not to keep it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = tempfile.gettempdir() + "/bddzoo-bench-bytecode"
    tables = []
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="bddzoo-bench-") as name:
        folder = Path(name)
        served = folder / "served"
        served.mkdir()
        with nginx(served, folder) as url:

            def serve(name: str, size: int, seed: int) -> Served:
                return Served(name, f"{url}/{name}", make_file(served / name, size, seed), size)

            if "single" in parts:
                big = serve("big.pth", options.single_mb * MB, 0)
                tables.append(compare("one file", [big], folder, 1, options.rounds))
                (served / big.name).unlink()
            if "many" in parts or "verify" in parts:
                size = options.file_mb * MB
                many = [serve(f"net_{n}.pth", size, n + 1) for n in range(options.files)]
                if "many" in parts:
                    title = f"{len(many)} files, {options.jobs} at a time"
                    tables.append(compare(title, many, folder, options.jobs, options.rounds))
                if "verify" in parts:
                    registry = registry_of(many, folder / "registry.yaml")
                    cache = folder / "cache"
                    fetch = [
                        sys.executable,
                        "-m",
                        "bddzoo",
                        "fetch",
                        "--all",
                        "-q",
                        "--registry",
                        str(registry),
                    ]
                    spend([*fetch, "--cache", str(cache)], folder)
                    tables.append(compare_verify(cache, size * len(many), options.rounds))
    ran = {"load_before": round(load, 2), "rounds": options.rounds}
    fresh = {str(table["title"]): table | ran for table in tables}
    try:
        kept = {table["title"]: table for table in json.loads(options.out.read_text())["tables"]}
    except (OSError, ValueError, KeyError):
        kept = {}
    result = {"versions": versions(), "tables": list({**kept, **fresh}.values())}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten: {options.out}")


if __name__ == "__main__":
    main()
