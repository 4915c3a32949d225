"""The demo, as a newcomer runs it: every step the ordinary command, over real HTTP, with real networks."""

from __future__ import annotations

import json
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from bddzoo.cli.demo import (
    DEMO_ZOO,
    MARKER,
    REAL_MODELS,
    farewell,
    prepare,
    require_files,
    sample_images,
    serve,
)
from bddzoo.errors import IntegrityError, MissingError, UsageError
from bddzoo.registry import load_registry
from bddzoo.results.store import read_statistics, scan_records
from tests.cli.command import ROOT, assert_one_line, bddzoo, interrupt
from tests.cli.conftest import TinyZoo


def test_the_commands_at_the_end_name_real_models(tmp_path: Path) -> None:
    registry = load_registry(None)
    text = farewell(tmp_path)
    for model in REAL_MODELS:
        assert registry.find(model).network is not None
        assert model in text


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty and not from a demo"):
        prepare(tmp_path, keep=False)
    assert (tmp_path / "data" / "mine.txt").read_text() == "mine"


def test_only_what_the_demo_made_is_removed(tmp_path: Path) -> None:
    prepare(tmp_path / "d", keep=False)
    for name in ("cache", "results", "predictions", "mine"):
        (tmp_path / "d" / name).mkdir()
    prepare(tmp_path / "d", keep=True)
    assert {p.name for p in (tmp_path / "d").iterdir()} == {MARKER, "cache", "results", "mine"}
    prepare(tmp_path / "d", keep=False)
    assert {p.name for p in (tmp_path / "d").iterdir()} == {MARKER, "mine"}


@pytest.mark.parametrize(
    ("place", "code", "words"),
    [
        ("/proc/nowhere/demo", 5, ["choose another with -o"]),
        ("FILE", 2, ["'-o' / '--out'", "file' is a file", "bddzoo demo --help"]),
    ],
)
def test_a_place_that_cannot_be_written(tmp_path: Path, place: str, code: int, words: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    place = str(tmp_path / "file") if place == "FILE" else place
    assert_one_line(bddzoo("demo", "-o", place), code, *words)


def test_a_registry_without_demo_models(tiny: TinyZoo, tmp_path: Path) -> None:
    done = bddzoo("demo", "-o", tmp_path / "d", "--registry", tiny.registry)
    assert_one_line(done, 5, "no models of zoo 'demo'")
    assert not (tmp_path / "d").exists()


def test_the_server_gives_its_files_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    for folder in (tmp_path, tmp_path / "given"):
        (folder / "w.pth").write_bytes(str(folder).encode())
    with serve(tmp_path / "given") as url:
        with urllib.request.urlopen(url + "w.pth", timeout=10) as answer:
            assert answer.read() == str(tmp_path / "given").encode()
        for path in ("../../etc/passwd", "absent.pth"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(url + path, timeout=10)


def test_a_package_without_its_files() -> None:
    from msgspec.structs import replace

    model = next(m for m in load_registry(None).models if m.zoo.id == DEMO_ZOO)
    require_files([model])
    artifact = replace(model.artifacts[0], sources=("package:demo/absent.pth",))
    with pytest.raises(MissingError, match=r"absent\.pth"):
        require_files([replace(model, artifacts=(artifact,))])


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = bddzoo("demo", "-o", folder, cwd=tmp_path, timeout=560)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    models = [m for m in load_registry(None).models if m.zoo.id == DEMO_ZOO]
    commands = re.findall(r"^\$ bddzoo (\w+)", done.stdout, re.MULTILINE)
    assert commands[:3] == ["registry", "list", "data"]
    assert "fetch" in commands
    assert commands.count("eval") >= len(models)
    assert "predict" in commands
    assert "tables" in commands
    assert "--from http://127.0.0.1:" in done.stdout
    assert done.stdout.count("verdict: reproduced") == len(models)
    assert list(folder.rglob("overlays/*.jpg"))

    # What it left can be used with the ordinary commands.
    listed = bddzoo("results", "ls", "--results", folder / "results", "--format", "json")
    rows = json.loads(listed.stdout)
    assert {row["model"] for row in rows} == {m.id for m in models}
    assert {row["verdict"]["verdict"] for row in rows} == {"reproduced"}
    for row in rows:
        shown = bddzoo("results", "show", row["path"], "--format", "json")
        record = json.loads(shown.stdout)
        assert record["weights"]["state"] == "verified"
        assert record["weights"]["source"].startswith("http://127.0.0.1:")
        assert record["protocol"]["ground_truth"].startswith("sha256:")
    assert len(sample_images(folder / "data")) == 2
    chain = bddzoo("check", "demo", "--link", "weights", "--results", folder / "results")
    assert chain.returncode == 0, chain.stdout

    # A number that was tampered with is found, and the demo ends with that step's status.
    text = (ROOT / "registry.yaml").read_text()
    number = str(models[0].reported_value("mIoU"))
    assert text.count(number) >= 1
    head, tail = text.rsplit(f"id: {models[0].id}", 1)
    registry = tmp_path / "registry.yaml"
    registry.write_text(f"{head}id: {models[0].id}" + tail.replace(number, "99.90", 1))
    again = bddzoo("demo", "-o", folder, "--resume", "--registry", registry, cwd=tmp_path, timeout=560)
    assert again.returncode == 3, again.stdout[-2000:] + again.stderr[-2000:]
    assert again.stderr.splitlines()[-1].startswith("error: ")
    assert "tables" not in re.findall(r"^\$ bddzoo (\w+)", again.stdout, re.MULTILINE)


@pytest.mark.slow
def test_ctrl_c_is_passed_on(mini_set: Path, tmp_path: Path) -> None:
    """While the data set is made, and while a network runs; what is there then is whole."""
    folder = tmp_path / "demo"
    early = interrupt(["demo", "-o", folder], lambda: (folder / MARKER).exists())
    assert early.returncode == 130, early.stderr
    assert "Traceback" not in early.stderr
    assert not (folder / "data").exists(), "half a data set under its final name"
    shutil.copytree(mini_set, folder / "data")
    late = interrupt(
        ["demo", "-o", folder, "--resume"], lambda: len(list(folder.glob("cache/entries/*/*.json"))) == 4
    )
    assert late.returncode == 130, late.stderr
    assert "Traceback" not in late.stderr
    assert late.stderr.count("interrupted") == early.stderr.count("interrupted") == 1
    # How many networks were done by then depends on the machine.
    faults: list[IntegrityError] = []
    for stored in scan_records(folder / "results", on_error=faults.append):
        for name in stored.record.statistics:
            read_statistics(stored, name)
    assert not faults
    assert bddzoo("cache", "verify", "--cache", folder / "cache").returncode == 0
