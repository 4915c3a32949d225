"""`bddzoo fetch` as a user runs it: in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.artifacts.registry import weights, write_registry
from tests.artifacts.zoo import DATA, OTHER, change, objects
from tests.cli.command import assert_one_line, bddzoo, interrupt
from tests.support.server import Fault, Server


class TestFetch:
    def test_prints_path_size_state_and_source(self, zoo, run):
        done = run("fetch", "net_a", "--verify")
        row = done.stdout.splitlines()[2]
        name, size, state, source = (cell for cell in row.split("  ") if cell)
        assert done.returncode == 0, done.stderr
        again = run("fetch", "net_a", "--format", "json")
        assert Path(json.loads(again.stdout)[0]["path"]).read_bytes() == DATA
        assert (name, size, state, source) == ("net_a.pth", "195.3 KiB", "verified", f"{zoo.url}/net_a.pth")

    def test_json_is_one_document_and_events_are_lines(self, zoo, run):
        done = run("fetch", "--all", "--format", "json")
        rows = json.loads(done.stdout)
        assert [(r["model"], r["digest_state"], r["md5"]) for r in rows] == [
            ("net_a", "verified", hashlib.md5(DATA).hexdigest()),
            ("net_b", "observed", hashlib.md5(OTHER).hexdigest()),
        ]
        events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        assert {e["event"] for e in events} >= {"begin", "end"}

    def test_patterns_tasks_and_quiet(self, zoo, run):
        done = run("fetch", "net_?", "--task", "sem_seg", "-q", "--format", "json")
        assert (len(json.loads(done.stdout)), '"begin"' in done.stderr) == (2, False)
        assert_one_line(run("fetch", "--task", "drivable"), 2, "known: sem_seg")
        assert_one_line(run("fetch", "nat_a"), 5, "did you mean net_a")
        assert_one_line(run("fetch", "zzz*"), 5, "no model or zoo fits 'zzz*'")
        assert_one_line(run("fetch"), 2, "no model given")

    def test_one_bad_file_does_not_stop_the_others(self, zoo, run, tmp_path):
        zoo.faults = [Fault("wrong-bytes", pattern="net_a")]
        done = run("fetch", "--all")
        assert done.returncode == 6
        assert "net_b.pth" in done.stdout
        assert "net_a.pth" not in done.stdout
        assert "expected md5:" in done.stderr
        assert [p.name for p in objects(tmp_path)] == ["net_b.pth"]
        aside = tmp_path / "cache" / "rejected" / "net_a" / "net_a.pth.rejected.txt"
        assert hashlib.md5(DATA).hexdigest() in aside.read_text()

    def test_verify_fails_on_unknown_changed_and_wrong(self, zoo, run, tmp_path):
        assert_one_line(run("fetch", "net_b", "--verify"), 6, "cannot be verified")
        assert run("fetch", "net_a").returncode == 0
        change(next(p for p in objects(tmp_path) if p.name == "net_a.pth"))
        assert run("fetch", "net_a").returncode == 0, "without --verify size and time are believed"
        assert_one_line(run("fetch", "net_a", "--verify"), 6, "was changed since")
        assert run("fetch", "net_a", "--verify").returncode == 0

    def test_offline_and_sources(self, zoo, run, tmp_path):
        assert_one_line(run("fetch", "net_a", "--offline"), 5, "--offline allows no connection")
        assert not zoo.requests
        mirror = tmp_path / "mirror"
        mirror.mkdir()
        (mirror / "net_a.pth").write_bytes(DATA)
        done = run(
            "fetch", "net_a", "--offline", env={"BDDZOO_MIRRORS": f"{mirror}, https://127.0.0.1:9/zoo"}
        )
        assert str(mirror) in done.stdout, done.stderr
        assert_one_line(run("fetch", "net_a", "--from", "/no/such"), 2, "no such folder")
        assert_one_line(run("fetch", "net_a", "--from", "gopher://x"), 2, "unknown scheme")

    def test_mirrors_of_the_config_file(self, zoo, run, tmp_path):
        config = tmp_path / "config" / "bddzoo" / "config.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(f"mirrors: [{zoo.url}/mirror]\n")
        zoo.put("mirror/sem_seg/weights/net_a.pth", DATA[::-1])
        zoo.put("mirror/testzoo/sem_seg/net_a.pth", DATA)
        done = run("fetch", "net_a", env={"XDG_CONFIG_HOME": str(tmp_path / "config")})
        assert f"{zoo.url}/mirror/testzoo/sem_seg/net_a.pth" in done.stdout, done.stderr
        config.write_text("mirrors: {a: b}\n")
        done = run("fetch", "net_a", env={"XDG_CONFIG_HOME": str(tmp_path / "config")})
        assert_one_line(done, 2, "config.yaml", "must be a list")

    def test_dry_run_says_what_from_where_and_fetches_nothing(self, zoo, run, tmp_path):
        done = run("fetch", "--all", "--dry-run", "--format", "json")
        rows = json.loads(done.stdout)
        assert [(r["state"], r["size_bytes"]) for r in rows] == [("fetch", len(DATA)), ("fetch", len(OTHER))]
        assert "to fetch: 283.2 KiB" in done.stderr
        assert not (tmp_path / "cache").exists()

    @pytest.mark.parametrize(
        ("fault", "code", "state", "words"),
        [
            ("404", 5, "missing", "has it: {url}: 404 Not Found"),
            ("html", 7, "unreachable", 'an HTML page titled "Sign in to Airport WiFi"'),
            ("500", 7, "unreachable", "500 Internal Server Error"),
            ("lfs", 6, "wrong", "a Git LFS pointer"),
            ("length-long", 6, "wrong", "has 205000 bytes, the registry knows 200000"),
        ],
    )
    def test_dry_run_says_what_fetching_would_end_with(self, zoo, run, fault, code, state, words):
        zoo.faults = [Fault(fault, pattern="net_a")]
        done = run("fetch", "net_a", "--dry-run", "--format", "json")
        row = json.loads(done.stdout)[0]
        assert (done.returncode, row["state"], row["source"], row["exit_code"]) == (code, state, None, code)
        assert words.format(url=f"{zoo.url}/net_a.pth") in row["error"]
        assert json.loads(done.stderr.splitlines()[-1])["text"] == row["error"]
        both = run("fetch", "--all", "--dry-run")
        assert both.returncode == code
        assert any(line.split()[:2] == ["fetch", "net_b"] for line in both.stdout.splitlines())
        assert "error: 1 of 2 files cannot be fetched" in both.stderr

    def test_dry_run_looks_at_the_room_for_copies_too(self, zoo, run, tmp_path):
        done = run("fetch", "--all", "--dry-run", "--out", tmp_path / "dest")
        assert done.returncode == 0
        assert "to copy: 283.2 KiB" in done.stderr
        assert not (tmp_path / "dest").exists()

    def test_many_failures_are_one_table_and_one_error(self, zoo, run, tmp_path):
        zoo.close()
        done = run("fetch", "--all", "--retries", 0)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert (done.returncode, len(errors)) == (7, 1), done.stderr
        assert "2 of 2 files failed" in errors[0]
        for name in ("net_a", "net_b"):
            assert f"{name}/weights  {zoo.url}/{name}.pth  no connection: Connection refused" in done.stderr
        done = run("fetch", "--all", "--retries", 0, "--format", "json")
        assert [r["exit_code"] for r in json.loads(done.stdout)] == [7, 7]
        assert done.stderr.count('"event":"error"') == 3, "where no table is printed, each is said"

    @pytest.mark.parametrize("source", ["", "pipe", "/dev/zero"])
    def test_sources_that_are_no_files(self, zoo, run, tmp_path, source):
        if not source:
            assert_one_line(run("fetch", "net_a", "--from", ""), 2, "is empty")
            return
        if source == "pipe":
            (tmp_path / "pipe").mkdir()
            os.mkfifo(tmp_path / "pipe" / "net_a.pth")
            source = tmp_path / "pipe"
        done = run("fetch", "net_a", "--from", source, timeout=30)
        assert done.returncode == 0
        assert f"{source}: has no net_a.pth" in done.stderr

    def test_mirror_that_is_not_mounted_is_named_and_passed_over(self, zoo, run):
        done = run("fetch", "net_a", env={"BDDZOO_MIRRORS": "/mnt/not-mounted"})
        assert done.returncode == 0
        assert "/mnt/not-mounted: is not there" in done.stderr
        done = run("fetch", "net_a", env={"BDDZOO_MIRRORS": "gopher://x/"})
        assert_one_line(done, 2, "mirror 'gopher://x/' (in BDDZOO_MIRRORS or the config file)")

    @pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"mirrors: [", b"5", b"mirrors: ['']", b"- {a: b}"])
    def test_config_file_that_makes_no_sense_is_one_line(self, zoo, run, tmp_path, text):
        config = tmp_path / "config" / "bddzoo" / "config.yaml"
        config.parent.mkdir(parents=True)
        config.write_bytes(text)
        done = run("fetch", "net_a", env={"XDG_CONFIG_HOME": str(tmp_path / "config")})
        assert_one_line(done, 2, str(config), "write e.g.")

    def test_key_in_a_link_is_sent_and_neither_shown_nor_kept(self, server, run, tmp_path):
        server.put("m/net_a.pth", DATA)
        write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
        done = run("fetch", "net_a", "--from", f"{server.url}/m/?X-Amz-Signature=abc123&v=2")
        assert f"{server.url}/m/net_a.pth?X-Amz-Signature=***&v=2" in done.stdout, done.stderr
        assert "abc123" not in done.stdout + done.stderr
        kept = b"".join(p.read_bytes() for p in (tmp_path / "cache").rglob("*.json"))
        assert b"abc123" not in kept
        assert b"X-Amz-Signature=***" in kept

    def test_dest_gets_copies_and_keeps_what_differs(self, zoo, run, tmp_path):
        dest = tmp_path / "dest"
        assert run("fetch", "net_a", "--out", dest).stdout.splitlines()[2].startswith("net_a.pth  195.3 KiB")
        (dest / "net_a.pth").write_bytes(b"mine")
        assert_one_line(run("fetch", "net_a", "--out", dest), 2, "exists and is different")
        assert (dest / "net_a.pth").read_bytes() == b"mine"
        assert run("fetch", "net_a", "--out", dest, "--force").returncode == 0
        assert (dest / "net_a.pth").read_bytes() == DATA

    def test_dead_network_names_each_source(self, run, tmp_path):
        with Server() as gone:
            address = gone.url
        write_registry(
            tmp_path / "registry.yaml",
            {
                "net_a": weights(
                    "net_a.pth", f"{address}/a/net_a.pth", "http://no-such-host.invalid/net_a.pth"
                )
            },
        )
        done = run("fetch", "net_a", "--retries", 0)
        assert_one_line(
            done, 7, f"{address}/a/net_a.pth: no connection", "no-such-host.invalid/net_a.pth: no conn"
        )

    def test_unwritable_cache_is_one_line(self, zoo, run, tmp_path):
        (tmp_path / "file").write_text("")
        done = bddzoo(
            "fetch", "net_a", "--registry", tmp_path / "registry.yaml", "--cache", tmp_path / "file" / "x"
        )
        assert_one_line(done, 5, "writing to the cache", "use another --cache")
        dest = tmp_path / "file" / "y"
        done = run("fetch", "net_a", "--out", dest)
        assert_one_line(done, 5, "writing", "choose another --out")
        assert not done.stdout, "a file that is not where it was wanted is not listed as if it were"
        row = json.loads(run("fetch", "net_a", "--out", dest, "--format", "json").stdout)[0]
        assert row["exit_code"] == 5

    def test_ctrl_c_keeps_what_arrived_and_the_next_run_goes_on(self, zoo, run, tmp_path):
        zoo.faults = [Fault("drip", chunk=5000, delay=0.05)]
        where = ["--registry", tmp_path / "registry.yaml", "--cache", tmp_path / "cache"]

        def begun() -> bool:
            return any(p.stat().st_size > 20_000 for p in (tmp_path / "cache").rglob("*.part"))

        done = interrupt(["fetch", "net_a", *where], begun)
        assert_one_line(done, 130, "interrupted")
        assert "unfinished downloads are kept" in done.stderr
        assert not done.stdout
        assert not objects(tmp_path)
        zoo.faults.clear()
        zoo.requests.clear()
        assert run("fetch", "net_a", "--verify").returncode == 0
        assert int(zoo.requests[0].headers["Range"].removeprefix("bytes=").removesuffix("-")) > 20_000

    def test_kinds_with_one_name_come_from_their_own_folders(self, server, run, tmp_path):
        kinds = {
            kind: {"name": "net_a.json", "sources": [f"https://127.0.0.1:9/sem_seg/{kind}/net_a.json"]}
            for kind in ("scores-val", "preds")
        }
        write_registry(tmp_path / "registry.yaml", {"net_a": kinds})
        server.put("m/sem_seg/scores-val/net_a.json", b'{"scores": 1}')
        server.put("m/preds/net_a.json", b'{"preds": 1}')
        server.put("m/net_a.json", b'{"neither": 1}')
        done = run(
            "fetch", "net_a", "--what", "scores,preds", "--from", f"{server.url}/m", "--format", "json"
        )
        rows = json.loads(done.stdout)
        assert [Path(r["path"]).read_bytes() for r in rows] == [b'{"scores": 1}', b'{"preds": 1}']
        assert_one_line(run("fetch", "net_a"), 5, "no zoo gives weights")
        assert_one_line(run("fetch", "net_a", "--what", "weight"), 2, "no kind 'weight'")
