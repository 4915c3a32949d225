"""Files as earlier versions wrote them (see samples/README.md) are read by today's commands."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.cli.inprocess import command
from tests.support.server import Server
from tests.support.tiny import INS_SEG, SEM_SEG, make_data
from tests.surface.golden import SAMPLES

KNOWN = ("--registry", SAMPLES / "registry.yaml")
FEW = b"forty bytes that stand for real weights."
LEFT_BEHIND = bytes(range(256)) * 264
MODELS = (SEM_SEG, INS_SEG)
RESULTS = ("--results", SAMPLES / "results")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A copy of the cache."""
    folder = tmp_path / "cache"
    shutil.copytree(SAMPLES / "cache", folder)
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))  # nobody writes a partial that is so old
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_registry() -> None:
    rows = command("list", *KNOWN, "--format", "json").data
    assert [row["id"] for row in rows] == [SEM_SEG, "few_bytes", "left_behind", INS_SEG]
    assert command("registry", "check", KNOWN[1]).code == 0


def test_records_and_their_statistics() -> None:
    before = contents(SAMPLES / "results")
    rows = command("results", "ls", *KNOWN, *RESULTS, "--format", "json").data
    assert {row["model"]: row["verdict"]["verdict"] for row in rows} == dict.fromkeys(MODELS, "drifted")
    for model in MODELS:
        stored = next((SAMPLES / "results").rglob(f"{model}/*.json"))
        shown = command("results", "show", model, *KNOWN, *RESULTS, "--format", "json").data
        written = json.loads(stored.read_text())
        assert {key: shown[key] for key in written} == written
        compared = command("results", "compare", model, model, *KNOWN, *RESULTS, "--format", "json")
        assert compared.code == 0, compared.err
        assert {row["difference"] for row in compared.data["metrics"]} == {0.0}
    assert contents(SAMPLES / "results") == before


def test_a_sweep_goes_on_where_an_earlier_version_stopped(tmp_path: Path) -> None:
    """Nothing is measured again: there is nothing to fetch the weights from."""
    data = make_data(tmp_path / "data")
    version = command("--version").out.split()[-1]
    identity = ["", version, "--data", str(data.resolve()), "--split", "val", "--device", "cpu"]
    sweep = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    results = tmp_path / "results"
    shutil.copytree(SAMPLES / "results", results)
    (made,) = (results / ".sweeps").iterdir()
    made.rename(made.with_name(sweep))
    for path in results.glob("*/*/*/*.json"):
        record = path.read_bytes().replace(made.name.encode(), sweep.encode())
        path.with_name(f"{hashlib.sha256(record).hexdigest()[:16]}.json").write_bytes(record)
        path.unlink()
    before = contents(results)
    options = ("--data", data, "--device", "cpu", "--cache", tmp_path / "cache", "--results", results)
    done = command("sweep", "--all", *KNOWN, *options, "--format", "json")
    assert done.code == 3, done.err
    assert done.data["sweep"] == sweep
    assert {row["model"]: row["state"] for row in done.data["models"]} == dict.fromkeys(MODELS, "done")
    assert contents(results) == before


def test_a_cache(cache: Path) -> None:
    where = ("--cache", cache, "--format", "json")
    (row,) = command("cache", "ls", *where).data
    assert (row["model"], row["kind"], row["present"]) == ("few_bytes", "weights", True)
    assert Path(row["path"]).read_bytes() == FEW
    verified = command("cache", "verify", *where)
    assert verified.code == 0, verified.err
    assert {f["model"] for f in verified.data if f["state"] == "ok"} == {"few_bytes"}
    fetched = command("fetch", "few_bytes", *KNOWN, "--verify", "--offline", *where).data
    assert (fetched[0]["cached"], fetched[0]["digest_state"]) == (True, "verified")
    removed = command("cache", "gc", "--older-than", "0", "--yes", *where).data
    assert {Path(row["path"]).suffix for row in removed} >= {".part", ".rejected"}
    assert Path(row["path"]).read_bytes() == FEW


def test_a_download_that_broke_off_is_continued(cache: Path) -> None:
    with Server() as server:
        server.put("left_behind.pth", LEFT_BEHIND)
        where = ("--cache", cache, "--from", server.url, "--format", "json")
        done = command("fetch", "left_behind", *KNOWN, "--verify", *where)
        asked = [request.headers.get("Range") for request in server.requests if request.method == "GET"]
    assert done.code == 0, done.err
    assert Path(done.data[0]["path"]).read_bytes() == LEFT_BEHIND
    assert asked == ["bytes=66000-"]
    assert list((cache / "partial").rglob("*.part")) == []


def test_a_bundle(tmp_path: Path, cache: Path) -> None:
    bundle = SAMPLES / "bundle.zip"
    where = ("--cache", tmp_path / "new", "--format", "json")
    done = command("fetch", "few_bytes", *KNOWN, "--verify", "--offline", "--from", bundle, *where)
    assert done.code == 0, done.err
    assert Path(done.data[0]["path"]).read_bytes() == FEW
    other = ("--cache", tmp_path / "other")
    assert command("cache", "import", bundle, *other).code == 0
    assert command("cache", "verify", *other).code == 0
    # What is written today is laid out alike.
    assert command("bundle", "few_bytes", *KNOWN, "--cache", cache, "-o", tmp_path / "b.zip").code == 0
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(tmp_path / "b.zip") as new:
        assert old.namelist() == new.namelist()
        assert json.loads(old.read("bddzoo-bundle.json")) == json.loads(new.read("bddzoo-bundle.json"))


@pytest.mark.parametrize("name", ["scores.json", "scores-official.json"])
def test_a_score_file(name: str) -> None:
    done = command("check", SEM_SEG, *KNOWN, "--from-scores", SAMPLES / name, "--format", "json")
    (metric,) = done.data[0]["links"][0]["metrics"]
    assert (done.code, metric["verdict"]) == (3, "drifted")
    assert metric["found"] == json.loads((SAMPLES / "scores.json").read_text())["summary"]["mIoU"]


def test_checks_and_the_history_of_links(tmp_path: Path) -> None:
    merged = command("check", "--merge", SAMPLES / "checks", "--format", "json")
    assert (merged.code, merged.data[0]["first_broken"]) == (3, "scores")
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(SAMPLES / "site-marker", site / ".bddzoo-site")
    (site / "index.html").write_text("of an earlier version")
    history, checks = ("--history", SAMPLES / "health.json"), ("--checks", SAMPLES / "checks")
    done = command("site", "build", *KNOWN, *RESULTS, *history, *checks, "-o", site, "--force")
    assert done.code == 0, done.err
    assert "127.0.0.1" in "".join(p.read_text() for p in site.rglob("*.html"))
    assert (site / ".bddzoo-site").read_bytes() == (SAMPLES / "site-marker").read_bytes()
