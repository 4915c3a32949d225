"""What goes wrong in real life: one line on stderr, the right status, nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bddzoo.errors import install_hint
from tests.artifacts.registry import weights, write_registry
from tests.artifacts.zoo import make_bytes
from tests.cli.command import assert_one_line, bddzoo, environment, interrupt
from tests.support.server import Fault, Server

DATA = make_bytes(400_000)
QUICK = ("--timeout", "1", "--retries", "1")


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def registry(server: Server, tmp_path: Path) -> Path:
    """A zoo of one model, whose weights the server has."""
    url = server.put("net_a.pth", DATA)
    return write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", url, data=DATA)})


def files(folder: Path, pattern: str = "*.pth") -> list[Path]:
    """Files with a final name: what someone could mistake for a whole file."""
    return [path for path in folder.rglob(pattern) if path.is_file()]


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100"],
        ["fetch", "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100"],
        ["eval", "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100", "--data", "."],
        ["predict", "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100", "-i", ".", "--out", "never-made"],
    ],
)
def test_unknown_model(arguments: list[str], tmp_path: Path) -> None:
    done = bddzoo(*arguments, cwd=tmp_path)
    assert_one_line(done, 5, "deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k")
    assert list(tmp_path.iterdir()) == []


def test_unknown_command_and_option(tmp_path: Path) -> None:
    assert_one_line(bddzoo("fecth"), 2, "did you mean 'fetch'")
    assert_one_line(bddzoo("list", "--no-such-option"), 2, "--no-such-option")
    assert_one_line(bddzoo("eval"), 2, "MODEL")


def test_wrong_data_root(tmp_path: Path) -> None:
    model = "fcn_r50-d8_512x1024_40k_sem_seg_bdd100k"
    absent = bddzoo("eval", model, "--data", tmp_path / "absent")
    assert_one_line(absent, 5, "absent does not exist")
    (tmp_path / "other").mkdir()
    wrong = bddzoo("eval", model, "--data", tmp_path / "other")
    assert_one_line(wrong, 5, "images/10k")


def test_truncated_download(server: Server, registry: Path, tmp_path: Path) -> None:
    server.faults.append(Fault("cut", after=1000))
    server.faults.append(Fault("ignore-range"))
    cache = tmp_path / "cache"
    done = bddzoo("fetch", "net_a", "--registry", registry, "--cache", cache, *QUICK)
    assert_one_line(done, 7, "net_a")
    assert files(cache) == []


@pytest.mark.parametrize("verify", [[], ["--verify"]])
def test_digest_that_does_not_match(
    server: Server, registry: Path, tmp_path: Path, verify: list[str]
) -> None:
    server.faults.append(Fault("wrong-bytes"))
    cache = tmp_path / "cache"
    done = bddzoo("fetch", "net_a", "--registry", registry, "--cache", cache, *verify, *QUICK)
    assert_one_line(done, 6, "net_a.pth", "md5")
    assert files(cache) == []


def test_no_digest_where_verified_was_asked(server: Server, tmp_path: Path) -> None:
    url = server.put("net_b.pth", DATA)
    registry = write_registry(tmp_path / "registry.yaml", {"net_b": weights("net_b.pth", url)})
    done = bddzoo("fetch", "net_b", "--verify", "--registry", registry, "--cache", tmp_path / "cache", *QUICK)
    assert_one_line(done, 6, "net_b")


def test_nobody_answers(tmp_path: Path) -> None:
    registry = write_registry(
        tmp_path / "r.yaml", {"net_a": weights("net_a.pth", "http://127.0.0.1:9/net_a.pth")}
    )
    done = bddzoo("fetch", "net_a", "--registry", registry, "--cache", tmp_path / "cache", *QUICK)
    assert_one_line(done, 7, "net_a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema: 1\nzoos:\n- id: a\n  titel: A\n", ["registry.yaml:4", "titel"]),
        ("schema: 1\nzoos: [\n", ["registry.yaml:2", "YAML"]),
        ("schema: 1\n\tzoos: []\n", ["registry.yaml:2", "tab"]),
        ("schema: 2\nzoos: []\n", ["registry.yaml:1", "schema"]),
    ],
)
def test_registry_with_a_typo(tmp_path: Path, text: str, words: list[str]) -> None:
    registry = tmp_path / "registry.yaml"
    registry.write_text(text)
    for command in (["list"], ["info", "x"], ["fetch", "x"], ["tables"]):
        done = bddzoo(*command, "--registry", registry)
        assert done.returncode == 2, (command, done.stderr)
        assert "Traceback" not in done.stderr
        errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert errors, done.stderr
        assert all(word in done.stderr for word in words), done.stderr


def test_registry_that_is_not_there(tmp_path: Path) -> None:
    assert_one_line(bddzoo("list", "--registry", tmp_path / "absent.yaml"), 5, "absent.yaml")


@pytest.mark.parametrize("place", ["/proc/nowhere/cache", "FILE"])
def test_cache_that_cannot_be_written(registry: Path, tmp_path: Path, place: str) -> None:
    if place == "FILE":
        (tmp_path / "file").write_text("in the way")
        place = str(tmp_path / "file")
    done = bddzoo("fetch", "net_a", "--registry", registry, "--cache", place, *QUICK)
    assert done.returncode in (2, 5), done.stderr
    assert_one_line(done, done.returncode, "--cache")


def test_ctrl_c_in_the_middle_of_a_download(server: Server, registry: Path, tmp_path: Path) -> None:
    server.faults.append(Fault("drip", chunk=2000, delay=0.05))
    cache = tmp_path / "cache"
    done = interrupt(["fetch", "net_a", "--registry", registry, "--cache", cache], lambda: server.open_now)
    assert_one_line(done, 130, "interrupted")
    assert files(cache) == []
    server.faults.clear()
    again = bddzoo("fetch", "net_a", "--verify", "--registry", registry, "--cache", cache)
    assert again.returncode == 0, again.stderr
    assert [path.read_bytes() for path in files(cache)] == [DATA]


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("torch", "['eval', 'demo_semfpn_r18n_sem_seg', '--data', sys.argv[1]]", install_hint("run")),
        ("numpy", "['score', '-t', 'sem_seg', '-g', MASKS, '-r', MASKS]", install_hint("score")),
        ("mmseg", "['demo', '-o', sys.argv[1]]", install_hint("run")),
    ],
)
def test_a_package_that_is_not_installed(tmp_path: Path, package: str, arguments: str, extra: str) -> None:
    """None in `sys.modules` makes an import fail as that of an absent package does."""
    blocked = (
        f"import sys; sys.modules[{package!r}] = None; MASKS = sys.argv[1] + '/labels/sem_seg/masks/val'"
    )
    code = f"{blocked}; from bddzoo.cli.main import run; sys.exit(run({arguments}))"
    folder = tmp_path / "data"
    for task in ("sem_seg/masks", "ins_seg/bitmasks"):
        (folder / "labels" / task / "val").mkdir(parents=True)
        (folder / "labels" / task / "val" / "a.png").touch()
    (folder / "images/10k/val").mkdir(parents=True)
    (folder / "images/10k/val/a.jpg").touch()
    where = tmp_path / "new" if "demo'," in arguments else folder
    done = subprocess.run(
        [sys.executable, "-c", code, str(where)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(BDDZOO_CACHE=str(tmp_path / "cache")),
    )
    assert_one_line(done, 5, package, extra)
    assert not (tmp_path / "new").exists()
