"""The pipes and options around every command: streams that are closed or full, formats, completion."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bddzoo.cli.main import keep_interrupts
from tests.cli.command import ROOT, assert_one_line, bddzoo, environment

MODULE = f"{sys.executable} -m bddzoo"


def shell(line: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        env=environment(**changes),
        cwd=ROOT,
    )


def complete(words: str, **changes: str) -> list[str]:
    """What a shell offers for the last word."""
    done = bddzoo(
        env={
            "_BDDZOO_COMPLETE": "bash_complete",
            "_PYTHON_M_BDDZOO_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            **changes,
        }
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_a_reader_that_goes_away_changes_no_exit_status() -> None:
    """More than a pipe holds, so that the writer notices."""
    done = shell(f"{MODULE} list --format json | head -c 1; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout, "Error" in done.stderr) == ("[0\n", False)
    unknown = shell(f"{MODULE} info nobody-has-this 2>&1 | true; echo ${{PIPESTATUS[0]}}")
    assert unknown.stdout == "5\n"


def test_what_is_to_be_done_at_the_end_is_done() -> None:
    code = "import atexit, sys; from bddzoo.__main__ import main; atexit.register(print, 'the end')"
    code += "; sys.argv = ['bddzoo', '--version']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("the end\n")
    assert done.stdout.startswith("bddzoo")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_streams_that_are_closed(closed: str) -> None:
    done = shell(f"{MODULE} list {closed}")
    assert (done.returncode, done.stdout) == (0, "")
    assert "error" not in done.stderr


@pytest.mark.parametrize("command", ["list --format json", "tables --zoo demo", "--help"])
def test_an_output_that_is_full(command: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which Linux has")
    done = shell(f"{MODULE} {command} > /dev/full")
    if "json" in command:
        assert (done.returncode, json.loads(done.stderr)["exit_code"]) == (5, 5)
        assert "No space left" in done.stderr
        return
    assert_one_line(done, 5, "No space left")


def test_ctrl_c_while_python_imports_the_command_line() -> None:
    code = (
        "import os, signal, sys, bddzoo.__main__ as m\n"
        "class Late:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Late()); sys.argv[1:] = ['list']; m.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_ctrl_c_that_a_library_turns_into_an_error_of_its_own() -> None:
    before = signal.getsignal(signal.SIGINT)

    @keep_interrupts()
    def import_numpy() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise AttributeError("module 'numpy' has no attribute 'matrix'") from None

    with pytest.raises(KeyboardInterrupt):
        import_numpy()
    with pytest.raises(AttributeError), keep_interrupts():
        raise AttributeError("a bug of ours")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_format_before_the_commands_name() -> None:
    assert bddzoo("--format", "csv", "list", "--zoo", "demo").stdout.startswith("model,zoo,")
    assert json.loads(bddzoo("--format", "json", "results", "ls").stdout) is not None
    assert_one_line(bddzoo("--format", "csv", "info", "x"), 2, "'csv'", "bddzoo info --help")
    assert_one_line(bddzoo("demo", "--format", "json"), 2, "'json'")


def test_completion_of_options() -> None:
    assert complete("bddzoo fetch --task s") == ["sem_seg"]
    assert complete("bddzoo tables --zoo v") == ["vis4d"]
    assert complete("bddzoo list --method deep") == ["Deeplabv3", "Deeplabv3+"]
    assert "R-50-D8" in complete("bddzoo list --backbone r-50")


def test_completion_uses_the_registry_of_the_command_line(tmp_path: Path) -> None:
    """A broken one offers nothing, and does not write into the line that is being typed."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("schema: 1\nzoos: [\n")
    assert complete(f"bddzoo --registry {broken} info de") == []
    assert complete("bddzoo info de", BDDZOO_REGISTRY=os.fspath(broken)) == []
    assert complete(f"bddzoo --registry {ROOT / 'registry.yaml'} info demo_m") == [
        "demo_mask_rcnn_r18n_ins_seg"
    ]
