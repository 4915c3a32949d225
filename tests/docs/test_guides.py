"""Every command in the guides works as it is printed, and prints what the guide shows."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.docs.guides import blocks_of, missing_line, run_block
from tests.support.forked import can_fork, write_program

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))

# These start the program itself; in the others, what is typed runs in forked processes.
REAL = ("ci", "fetch")


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_guide(guide: Path, tmp_path: Path, mini_set: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    blocks = blocks_of(text)
    assert blocks, "a guide without a command"
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    if "bddzoo data mini -o bdd" in text:  # which finds it there
        shutil.copytree(mini_set, folder / "bdd")
    kept = ("LANG", "LC_ALL", "TMPDIR", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {k: os.environ[k] for k in kept if k in os.environ}
    # The interpreter that runs the tests first: `bddzoo` and `python` are those of this environment.
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    if guide.stem not in REAL and can_fork(os.environ):
        places.insert(0, str(tmp_path / "bin"))
        (tmp_path / "bin").mkdir()
        write_program(tmp_path / "bin" / "bddzoo")
    environment |= {"PATH": os.pathsep.join(places), "HOME": str(home), "COLUMNS": "160"}
    for block in blocks:
        run_block(block, folder, environment)


def test_blocks_are_found() -> None:
    first_two = "```bash\na\nb\n```\n\n```text\nx\n...\ny\n```\n\n"
    text = f"{first_two}<!-- exit 6 -->\n```bash\nc\n```\n\n```yaml\nz\n```\n"
    first, second = blocks_of(text)
    assert (first.line, first.commands, first.status, first.shows) == (1, "a\nb", 0, ["x", "...", "y"])
    assert (second.commands, second.status, second.shows) == ("c", 6, [])


def test_output_is_held_against_what_is_shown() -> None:
    output = "model     mIoU\nfcn  59.87  x\n\nlast line\n"
    assert missing_line(["model mIoU", "...", "last"], output) is None
    assert missing_line(["fcn ... x"], output) is None
    assert missing_line(["last", "model"], output) == "model"
    assert missing_line(["fcn 59.88"], output) == "fcn 59.88"


def test_a_wrong_status_fails(tmp_path: Path) -> None:
    (block,) = blocks_of("```bash\nexit 3\n```\n")
    with pytest.raises(AssertionError, match="status 3, not 0"):
        run_block(block, tmp_path, os.environ)
