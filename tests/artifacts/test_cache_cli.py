"""`bddzoo cache` as a user runs it: in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bddzoo.artifacts.maintain import check_cache
from tests.artifacts.zoo import DATA, OTHER, change, make_fetcher, make_model, objects
from tests.cli.command import assert_one_line, bddzoo, without_privileges
from tests.support.server import Fault


class TestCache:
    def test_ls_and_rm(self, zoo, run, tmp_path):
        assert run("fetch", "--all").returncode == 0
        rows = json.loads(run("cache ls", "--format", "json").stdout)
        assert [(r["model"], r["size_bytes"]) for r in rows] == [("net_a", len(DATA)), ("net_b", len(OTHER))]
        assert run("cache rm", "net_a", "--yes").returncode == 0
        assert [p.name for p in objects(tmp_path)] == ["net_b.pth"]
        assert_one_line(run("cache rm", "net_a"), 5, "nothing in the cache fits")
        assert_one_line(run("cache rm"), 2, "no model given")
        assert run("cache rm", "--all", "--yes").returncode == 0
        assert not (tmp_path / "cache").exists()

    def test_verify_finds_changed_missing_and_extra(self, zoo, run, tmp_path):
        assert run("fetch", "--all").returncode == 0
        assert run("cache verify").returncode == 0
        a, b = sorted(objects(tmp_path), key=lambda p: p.name)
        change(a)
        b.unlink()
        (tmp_path / "cache" / "objects" / "stray").write_text("?")
        (tmp_path / "cache" / "entries" / "net_a" / "broken.json").write_text("{")
        done = run("cache verify", "--format", "json")
        states = {(f["state"], Path(f["path"]).name) for f in json.loads(done.stdout)}
        assert done.returncode == 6
        assert states == {
            ("changed", a.name),
            ("missing", b.name),
            ("extra", "stray"),
            ("unreadable", "broken.json"),
        }

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "../../../x"}, {"sha256": "zz"}, {"md5": None}, {"md5": "0" * 31}, {"size_bytes": "5"},
            {"source": 5}, {"published": 7}, {"mtime_ns": "x"}, {"model": "net_b"}, {"kind": "../x"},
            {"schema": 99}, {"fetched": None},
        ],
        ids=str,
    )  # fmt: skip
    def test_entry_that_makes_no_sense_is_no_entry(self, zoo, tmp_path, change):
        from bddzoo.artifacts import Cache

        model = make_model(DATA, sources=(f"{zoo.url}/net_a.pth",))
        fetcher = make_fetcher(tmp_path)
        fetcher.fetch(model)
        path = next((tmp_path / "cache" / "entries" / "net_a").iterdir())
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        assert Cache(tmp_path / "cache").entry("net_a", "weights") is None
        assert {f.state for f in check_cache(fetcher.cache)} >= {"unreadable"}
        assert make_fetcher(tmp_path).fetch(model, verify=True).path.read_bytes() == DATA

    def test_gc_leaves_what_is_needed(self, zoo, run, tmp_path):
        assert run("fetch", "--all").returncode == 0
        (tmp_path / "cache" / "entries" / "net_b" / "weights.json").unlink()
        zoo.faults = [Fault("wrong-bytes")]
        assert run("fetch", "net_a", "--force").returncode == 6
        done = run("cache gc", "--older-than", "0", "--yes", "--format", "json")
        assert [Path(f["path"]).name for f in json.loads(done.stdout)] == [
            "net_a.pth.rejected",
            "net_a.pth.rejected.txt",
        ], "an object as young as this may still wait for its entry"
        assert run("cache verify").returncode == 0

    @pytest.mark.parametrize(
        "command", ["cache rm --all --yes", "cache rm net_a --yes", "cache gc --older-than 0 --yes"]
    )
    def test_what_cannot_be_removed_is_not_said_to_be(self, zoo, run, tmp_path, command):
        assert run("fetch", "net_a").returncode == 0
        zoo.faults = [Fault("wrong-bytes")]
        assert run("fetch", "net_a", "--force").returncode == 6
        kept = [p for p in (tmp_path / "cache").rglob("net_a.pth*") if p.is_file()]
        for path in kept:
            path.parent.chmod(0o555)
        done = run(command, before=without_privileges())
        for path in kept:
            path.parent.chmod(0o755)
        assert_one_line(done, 5, "removing from", "no permission")
        assert [p for p in kept if not p.exists()] == []

    def test_export_and_import(self, zoo, run, tmp_path):
        assert run("fetch", "--all", "-q").returncode == 0
        archive = tmp_path / "zoo.zip"
        assert run("cache export -o", archive).returncode == 0
        first = archive.read_bytes()
        assert_one_line(run("cache export -o", archive), 2, "give --force to replace it")
        assert run("cache export --force -o", archive).returncode == 0
        assert archive.read_bytes() == first, "equal input gives equal bytes"
        other = ["--cache", tmp_path / "second"]
        assert bddzoo("cache", "import", archive, *other).returncode == 0
        done = bddzoo(
            "fetch", "net_a", "--verify", "--offline", "--registry", tmp_path / "registry.yaml", *other
        )
        assert done.returncode == 0, done.stderr
        change(objects(tmp_path)[0])
        assert_one_line(run("cache export --force -o", archive), 6, "was changed since")
        assert archive.read_bytes() == first
