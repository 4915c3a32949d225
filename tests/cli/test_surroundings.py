"""Places that cannot be used: no home, no current folder, no permission, no room, pipes in place of files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bddzoo.results import write_record
from tests.cli.command import ROOT, assert_one_line, bddzoo, environment, without_privileges
from tests.cli.conftest import TinyZoo
from tests.results.factory import make_model, make_record, stored_in
from tests.support.terminal import on_a_terminal
from tests.support.tiny import SEM_SEG

HOMELESS = """
import os, pwd, sys
def nobody(*_):
    raise KeyError("no such user")
pwd.getpwuid = nobody
os.environ.pop("HOME", None)
from bddzoo.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may look into."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o000)
    yield folder
    folder.chmod(0o700)


def homeless(*arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in environment(**changes).items() if not k.startswith("XDG_")}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    command = [sys.executable, "-c", HOMELESS, *map(str, arguments)]
    return subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [("results", "ls"), ("cache", "ls"), ("tables", "--measured")])
def test_a_user_without_a_home_is_told_what_to_set(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = homeless(*arguments)
    assert_one_line(done, 5, "no home folder", "HOME")
    places = {"BDDZOO_RESULTS": str(tmp_path / "r"), "BDDZOO_CACHE": str(tmp_path / "c")}
    assert homeless(*arguments, **places).returncode == 0


def test_a_user_without_a_home_may_still_look_around(no_torch: dict[str, str]) -> None:
    assert homeless("list").returncode == 0
    done = homeless("doctor", "--format", "json", **no_torch)
    states = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert states["results"]["state"] == states["cache"]["state"] == "broken"
    assert "no home folder" in states["results"]["found"]


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    line = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    command = [sys.executable, "-m", "bddzoo", "sweep", "--all", "--data", "data", "--results", "results"]
    done = subprocess.run(
        ["bash", "-c", line, "-", tmp_path / "gone", *command],
        env={**environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert_one_line(done, 5, "the current folder does not exist any more")


def test_records_that_may_not_be_deleted(tmp_path: Path) -> None:
    for day in ("01", "02"):
        kept = write_record(make_record(run={"started": f"2026-01-{day}T00:00:00Z"}), tmp_path)
    kept.parent.chmod(0o500)
    done = bddzoo("results", "prune", "--yes", "--results", tmp_path, before=without_privileges())
    kept.parent.chmod(0o700)
    assert_one_line(done, 5, "cannot delete", "Permission denied")
    assert len(stored_in(tmp_path)) == 2


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path: Path, locked: Path) -> None:
    """Neither its records, nor checks, nor labels are silently absent."""
    before = without_privileges()
    taken = bddzoo("results", "import", tmp_path, "--results", tmp_path / "new", before=before)
    assert taken.returncode == 6
    assert f"cannot read {locked}" in taken.stderr
    merged = bddzoo("check", "--merge", tmp_path, before=before)
    assert_one_line(merged, 5, f"cannot read {locked}")
    scored = bddzoo("score", "-t", "sem_seg", "-g", tmp_path, "-r", tmp_path, before=before)
    assert_one_line(scored, 5, f"cannot read {locked}")


def test_a_file_behind_a_locked_door_is_a_links_verdict_not_the_end(tiny: TinyZoo, locked: Path) -> None:
    options = ("--registry", tiny.registry, "--data", tiny.data, "--predictions", locked / "preds")
    done = bddzoo("check", SEM_SEG, *options, "--format", "json", before=without_privileges())
    assert done.returncode == 5, done.stderr
    assert [link["verdict"] for link in json.loads(done.stdout)[0]["links"]] == ["missing"]
    door = bddzoo("eval", "demo_semfpn_r18n_sem_seg", "--data", locked / "x", before=without_privileges())
    assert_one_line(door, 5, "Permission denied")


def test_a_summary_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    done = bddzoo(
        "check",
        "demo_semfpn_r18n_sem_seg",
        *("--link", "weights", "--results", tmp_path, "--format", "github"),
        env={"GITHUB_STEP_SUMMARY": str(tmp_path)},
    )
    assert done.returncode == 5
    assert f"cannot write the summary to {tmp_path}" in done.stderr
    assert done.stdout.startswith("::error")


def test_a_pipe_among_checks_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    assert_one_line(
        bddzoo("check", "--merge", tmp_path, timeout=60), 5, "pipe.json", "nothing came out of it"
    )


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "pipe"])
def test_a_bundle_is_a_regular_file(tmp_path: Path, name: str) -> None:
    """The end of another, where the list is, would be looked for for ever, with all memory."""
    os.mkfifo(tmp_path / "pipe")
    done = bddzoo("cache", "import", tmp_path / name, timeout=20)
    assert_one_line(done, 2, name, "not a regular file")


def test_checks_are_read_the_same_without_asserts(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    for level in ("0", "2"):
        done = bddzoo("check", "--merge", tmp_path, env={"PYTHONOPTIMIZE": level})
        assert_one_line(done, 2, "a.json", "check --format json")


def test_a_damaged_record_is_a_warning_in_every_command(tmp_path: Path) -> None:
    model = make_model(id="demo_semfpn_r18n_sem_seg")
    path = write_record(make_record(model), tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    for arguments, code in (
        (("results", "ls"), 0),
        (("tables", "--measured"), 0),
        (("results", "prune"), 6),
        (("results", "import", tmp_path), 6),
        (("site", "build", "-o", tmp_path / "site"), 6),
    ):
        done = bddzoo(*arguments, "--results", tmp_path)
        assert done.returncode == code
        assert f"warning: {path}" in done.stderr, done.stderr
    assert_one_line(bddzoo("results", "show", model.id, "--results", tmp_path), 6, path.name)


@pytest.mark.parametrize(
    "arguments",
    [("results", "ls", "--results", ""), ("check", "--all", "--results", ""), ("list", "--cache", "")],
)
def test_an_empty_name_is_not_the_current_folder(arguments: tuple[str, ...]) -> None:
    """A variable that is not set: `--results "$RESULTS"`."""
    assert_one_line(bddzoo(*arguments), 2, arguments[-2], "the name is empty")


@pytest.mark.parametrize(
    "arguments",
    [
        ("sweep", "--all", "--data", ".", "--time-limit", "nan"),
        ("fetch", "--all", "--timeout", "nan"),
        ("fetch", "--all", "--timeout", "inf"),
        ("cache", "gc", "--older-than", "NaN"),
    ],
)
def test_what_is_not_a_number_is_in_no_range(arguments: tuple[str, ...]) -> None:
    assert_one_line(bddzoo(*arguments), 2, arguments[-2], "not a number")


@pytest.mark.parametrize(
    "arguments", [("results", "compare", "a", "b"), ("score", "-t", "sem_seg", "-g", ".", "-r", ".")]
)
def test_a_seed_is_not_negative(arguments: tuple[str, ...]) -> None:
    assert_one_line(bddzoo(*arguments, "--seed", "-1"), 2, "--seed")


def test_paths_that_are_no_text(tiny: TinyZoo, tmp_path: Path) -> None:
    """A folder named in Latin-1, on a terminal that takes nothing but UTF-8: the numbers are not lost."""
    odd = tmp_path / os.fsdecode(b"d\xe9p\xf4t")
    try:
        shutil.copytree(tiny.folder, odd)
    except OSError:
        pytest.skip("this file system knows only UTF-8")
    env = {"PYTHONIOENCODING": "utf-8:strict"}
    common = ("--registry", odd / "registry.yaml", "--cache", odd / "cache", "--results", odd / "results")
    swept = bddzoo(
        *("sweep", SEM_SEG, *common, "--data", odd / "data", "--from", odd, "--device", "cpu"), env=env
    )
    assert swept.returncode == 3, swept.stderr
    assert "1 of 1 measured" in swept.stderr
    (stored,) = stored_in(odd / "results")
    assert any("d\\udce9p\\udcf4t" in word for word in stored.record.run.command)
    shown = bddzoo("results", "show", SEM_SEG, *common, "--format", "json", env=env)
    assert json.loads(shown.stdout)["path"] == str(stored.path)
    out = odd / "out.json"
    masks = odd / "data/labels/sem_seg/masks/val"
    scored = bddzoo("score", "-t", "sem_seg", "-g", masks, "-r", masks, "--out-file", out, env=env)
    assert scored.returncode == 0, scored.stderr
    assert json.loads(out.read_text())


def test_a_terminal_that_cannot_show_a_dash(tmp_path: Path) -> None:
    env = {"PYTHONIOENCODING": "latin-1"}
    done = bddzoo("tables", "--measured", "--zoo", "demo", "--results", tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "\\u2013" in done.stdout


def test_names_that_xml_cannot_spell() -> None:
    name = "no\x01\x1b[31m"
    done = bddzoo("check", "demo_semfpn_r18n_sem_seg", "--from-scores", name, "--format", "junit")
    (error,) = ElementTree.fromstring(done.stdout).iter("error")
    assert "no\ufffd\ufffd[31m" in error.get("message", "")


def test_a_model_without_links_is_no_check(tmp_path: Path) -> None:
    """It would be `reproduced` for readers of annotations, and no failure for those of JUnit."""
    (tmp_path / "a.json").write_text('[{"model": "m", "zoo": "z", "links": []}]')
    assert_one_line(bddzoo("check", "--merge", tmp_path, "--format", "github"), 2, "without links")


@pytest.mark.parametrize(
    ("changes", "colours"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False)],
    ids=["terminal", "dumb", "NO_COLOR"],
)
def test_errors_are_coloured_where_that_can_be_seen(changes: dict[str, str], colours: bool) -> None:
    status, shown = on_a_terminal("info", "no-such-model", stream="stderr", **changes)
    assert status == 5
    assert "no-such-model" in shown
    assert ("\x1b[" in shown) is colours


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("info", "fcn_r50"), "error: "),
        (("score", "-t", "semseg", "-g", "a", "-r", "b"), "error: "),
        (("list", "--where", "mIoU > 62"), "columns that do not fit"),
    ],
)
def test_what_is_said_fits_the_terminal(arguments: tuple[str, ...], said: str) -> None:
    _, shown = on_a_terminal(*arguments, stream="stderr", COLUMNS="80", TERM="dumb")
    assert said in shown
    wide = [line for line in shown.splitlines() if len(line) > 80 and " " in line.strip()]
    assert wide == []
    if said == "error: ":
        assert bddzoo(*arguments).stderr.count("\n") == 1, "elsewhere it is one line"
