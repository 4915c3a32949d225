"""The folder is replaced whole, and no other folder is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from bddzoo.errors import BddzooError, MissingError, UsageError
from bddzoo.reports.site import folder as module
from bddzoo.reports.site.folder import MARKER, whole_folder


def build(target: Path, text: str) -> None:
    with whole_folder(target) as fresh:
        (fresh / "index.html").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two-steps"])
def test_a_new_site_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(module, "_exchange", lambda a, b: False)
    target = tmp_path / "deep" / "site"
    build(target, "old")
    (target / "models").mkdir()
    (target / "models" / "gone.html").touch()
    build(target, "new")
    assert names(target) == [MARKER, "index.html"]
    assert (target / "index.html").read_text() == "new"
    assert names(target.parent) == ["site"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    target = tmp_path / "site"
    target.mkdir()
    build(target, "new")
    assert names(target) == [MARKER, "index.html"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    build(real, "old")
    link.symlink_to("real")
    build(link, "new")
    assert link.is_symlink()
    assert (real / "index.html").read_text() == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MissingError("no"), OSError(28, "No space left")])
def test_a_failure_leaves_the_old_site(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "site"
    build(target, "old")

    def fail() -> None:
        with whole_folder(target) as fresh:
            (fresh / "index.html").write_text("half")
            raise error

    with pytest.raises((KeyboardInterrupt, BddzooError)):
        fail()
    assert (target / "index.html").read_text() == "old"
    assert names(tmp_path) == ["site"]


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is not empty, and no site"):
        build(tmp_path, "new")
    assert names(tmp_path) == ["thesis.tex"]


def test_files_that_somebody_put_into_the_site_are_not_deleted(tmp_path: Path) -> None:
    target = tmp_path / "site"
    build(target, "old")
    (target / "CNAME").write_text("zoo.example")
    with pytest.raises(UsageError, match="also holds files that are not of the site: CNAME"):
        build(target, "new")
    assert (target / "index.html").read_text() == "old"


def test_a_file_that_appears_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    target = tmp_path / "site"
    target.mkdir()

    def race() -> None:
        with whole_folder(target):
            (target / "thesis.tex").write_text("years of work")

    with pytest.raises(UsageError):
        race()
    assert names(target) == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        build(tmp_path / "site", "new")


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_the_current_folder_is_not_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    here = tmp_path / "outer" / "inner"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    with pytest.raises(UsageError, match="current folder"):
        build(Path(place), "new")
    assert names(here) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BddzooError) as caught:
        build(tmp_path / "file" / "site", "new")
    assert "\n" not in str(caught.value)


def test_a_place_where_nobody_may_write() -> None:
    with pytest.raises(MissingError, match="cannot write"):
        build(Path("/proc/bddzoo-site"), "new")
