"""`bddzoo bundle` and `adopt` as a user runs them: in processes of their own."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from tests.artifacts.zoo import DATA, OTHER, objects
from tests.cli.command import assert_one_line, bddzoo


class TestBundle:
    @pytest.fixture
    def bundle(self, zoo, run, tmp_path):
        done = run("bundle", "net_*", "-o", tmp_path / "net.zip")
        assert done.returncode == 0, done.stderr
        return tmp_path / "net.zip"

    def test_serves_an_empty_machine(self, bundle, tmp_path):
        with zipfile.ZipFile(bundle) as archive:
            assert "testzoo/sem_seg/weights/net_a.pth" in archive.namelist()
            assert "net_a (zoo testzoo: Test zoo)" in archive.read("LICENCES.txt").decode()
            (tmp_path / "slice.yaml").write_bytes(archive.read("registry.yaml"))
        done = bddzoo(
            "fetch", "net_a", "--verify", "--offline", "--from", bundle, "--cache", tmp_path / "second",
            "--registry", tmp_path / "slice.yaml", "--format", "json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert Path(json.loads(done.stdout)[0]["path"]).read_bytes() == DATA

    def test_unpacked_is_a_mirror(self, bundle, run, tmp_path):
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(tmp_path / "unpacked")
        assert run("cache rm", "--all", "--yes").returncode == 0
        assert run("fetch", "net_a", "--verify", "--offline", "--from", tmp_path / "unpacked").returncode == 0

    def test_slice_of_the_real_registry_loads_with_numbers_as_printed(self):
        from bddzoo.registry import default_path, load_registry, load_text
        from bddzoo.registry.edit import slice_registry

        ids = [m.id for m in load_registry().models][::40]
        part = load_text(slice_registry(default_path().read_text(encoding="utf-8"), ids), "slice")
        rows = {m.id: m for m in part.models}
        named = {m.fills.model for m in rows.values() if m.fills}
        named |= {other.model for m in rows.values() for other in m.elsewhere if other.model}
        assert set(rows) == {*ids, *named}, "with the rows that they name, without which it would not load"
        whole = load_registry()
        assert [rows[i].reported for i in ids] == [whole.find(i).reported for i in ids]

    @pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "C:/evil", "a\\..\\evil"])
    def test_path_traversal_is_refused(self, bundle, run, tmp_path, name):
        with zipfile.ZipFile(bundle, "a") as archive:
            archive.writestr(name, b"evil")
        assert_one_line(run("cache import", bundle), 6, "would leave its folder")
        assert_one_line(run("fetch", "net_a", "--force", "--from", bundle), 6, "would leave its folder")

    def test_links_and_wrong_lists_are_refused(self, bundle, run, tmp_path):
        data = bundle.read_bytes()
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        with zipfile.ZipFile(bundle, "a") as archive:
            archive.writestr(info, "/etc/passwd")
        assert_one_line(run("cache import", bundle), 6, "is a link")
        with zipfile.ZipFile(bundle, "w") as archive:
            with zipfile.ZipFile(io.BytesIO(data)) as good:
                listing = good.read("bddzoo-bundle.json")
            archive.writestr("bddzoo-bundle.json", listing)
        assert_one_line(run("cache import", bundle), 6, "is not in it")
        with zipfile.ZipFile(bundle, "w") as archive:
            archive.writestr("bddzoo-bundle.json", listing.replace(b'"net_a.pth"', b'"../../net_a.pth"'))
            archive.writestr("testzoo/sem_seg/weights/net_a.pth", DATA)
        assert run("cache import", bundle).returncode == 6
        with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bddzoo-bundle.json", listing)
            archive.writestr("testzoo/sem_seg/weights/net_a.pth", bytes(50_000_000))
            archive.writestr("testzoo/sem_seg/weights/net_b.pth", OTHER)
        assert_one_line(run("cache import", bundle), 6, "has 50000000 bytes, its list says 200000")
        assert_one_line(run("fetch", "net_a", "--force", "--from", bundle), 6, "has 50000000 bytes")
        bundle.write_bytes(data[: len(data) // 2])
        assert_one_line(run("cache import", bundle), 2, "is not a bundle")
        assert_one_line(run("fetch", "net_a", "--force", "--from", bundle), 2, "is not a bundle")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("model", ""), ("model", "../../x"), ("model", "x" * 5000), ("model", "x\0y"), ("kind", ""),
            ("kind", "../weights"), ("name", "a\nb"), ("source", "\x1b]0;title\x07"), ("published", "md5:zz"),
            ("published", "md5:"), ("published_at", "https://x/\x1b[31m"), ("fetched", "x" * 5000),
        ],
        ids=lambda text: ascii(text[:20]),
    )  # fmt: skip
    def test_lists_that_make_no_sense_are_refused(self, bundle, run, tmp_path, field, value):
        with zipfile.ZipFile(bundle) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        listing = json.loads(members["bddzoo-bundle.json"])
        listing["files"][0][field] = value
        with zipfile.ZipFile(bundle, "w") as archive:
            for name, data in (members | {"bddzoo-bundle.json": json.dumps(listing)}).items():
                archive.writestr(name, data)
        done = run("cache import", bundle)
        assert_one_line(done, 6, "refused")
        assert done.stderr.strip("\n").isprintable()
        assert len(done.stderr) < 600

    def test_damage_inside_is_found(self, bundle, run, tmp_path):
        data = bytearray(bundle.read_bytes())
        data[data.find(DATA[:64]) + 1000] ^= 1
        bundle.write_bytes(data)
        assert run("cache rm", "--all", "--yes").returncode == 0
        assert_one_line(run("cache import", bundle), 6, "damaged")
        assert_one_line(run("fetch", "net_a", "--offline", "--from", bundle), 6, "damaged")
        assert not objects(tmp_path)


class TestAdopt:
    def test_by_name_and_by_digest(self, zoo, run, tmp_path):
        mine = tmp_path / "mine"
        mine.mkdir()
        (mine / "renamed (1).pth").write_bytes(DATA)
        (mine / "net_b.pth").write_bytes(OTHER)
        (mine / "notes.txt").write_text("not weights")
        done = run("adopt", mine, "--format", "json")
        rows = json.loads(done.stdout)
        assert [(r["model"], r["digest_state"]) for r in rows] == [
            ("net_b", "observed"),
            ("net_a", "verified"),
        ]
        assert {r["how"] for r in rows} <= {"hardlink", "reflink"}
        assert run("fetch", "net_a", "--verify", "--offline").returncode == 0
        assert (mine / "net_b.pth").read_bytes() == OTHER

    def test_refuses_what_only_has_the_name(self, zoo, run, tmp_path):
        path = tmp_path / "net_a.pth"
        path.write_bytes(DATA[:-1])
        assert_one_line(run("adopt", path), 6, "199999 bytes instead of 200000")
        path.write_bytes(DATA[::-1])
        assert_one_line(run("adopt", path), 6, f"instead of {hashlib.md5(DATA).hexdigest()}")
        path.write_bytes(b"<html><title>404</title></html>")
        assert_one_line(run("adopt", path), 6, "an HTML page")
        assert_one_line(run("adopt", tmp_path / "gone.pth"), 5, "no file or folder")
        assert path.exists()

    def test_verify_needs_a_digest_and_takes_the_one_beside(self, zoo, run, tmp_path):
        path = tmp_path / "net_b.pth"
        path.write_bytes(OTHER)
        assert_one_line(run("adopt", path, "--verify"), 6, "cannot be verified")
        (tmp_path / "net_b.md5").write_text(hashlib.md5(DATA).hexdigest())
        assert_one_line(run("adopt", path), 6, "net_b.md5 says")
        (tmp_path / "net_b.md5").write_text(hashlib.md5(OTHER).hexdigest().upper() + "\r\n")
        assert run("adopt", path, "--verify", "--copy").returncode == 0
        assert run("fetch", "net_b", "--verify", "--offline").returncode == 0

    def test_paths_that_are_no_text(self, zoo, run, tmp_path):
        folder = tmp_path / "mine\udcff"
        folder.mkdir()
        (folder / "net_b.pth").write_bytes(OTHER)
        (folder / "net_b.md5").write_text(hashlib.md5(OTHER).hexdigest())
        assert run("adopt", folder, errors="surrogateescape").returncode == 0
        row = json.loads(run("cache ls", "--format", "json").stdout)[0]
        assert row["source"] == str(tmp_path / "mine\\udcff" / "net_b.pth")
        assert run("fetch", "net_b", "--verify", "--offline", errors="surrogateescape").returncode == 0
        assert run("fetch", "net_a", "--from", folder, "--force", errors="surrogateescape").returncode == 0
        (folder / "net_a.pth").write_bytes(DATA[::-1])
        zoo.files.clear()
        assert run("fetch", "net_a", "--from", folder, "--force", errors="surrogateescape").returncode == 6
        kept = tmp_path / "cache" / "rejected" / "net_a" / "net_a.pth.rejected.txt"
        assert "mine\\udcff" in kept.read_text()
