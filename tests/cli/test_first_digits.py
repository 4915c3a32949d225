"""Weights of which only the first digits of a digest are known prove nothing, unless a command is told so."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.cli.command import assert_one_line, bddzoo
from tests.cli.conftest import TinyZoo
from tests.support.tiny import SEM_SEG


@pytest.fixture
def registry(tiny: TinyZoo, tmp_path: Path) -> Path:
    """A registry whose number the network reproduces, and whose digest of the weights has eight digits."""
    measured = bddzoo(
        *("eval", SEM_SEG, "--registry", tiny.registry, "--from", tiny.folder, "--data", tiny.data),
        *(
            "--cache",
            tmp_path / "cache",
            "--results",
            tmp_path / "first",
            "--device",
            "cpu",
            "--format",
            "json",
        ),
    )
    number = json.loads(measured.stdout)["scores"]["summary"]["mIoU"]
    path = tiny.report(tmp_path / "registry.yaml", {"sem_seg": {"mIoU": f"{number:.2f}"}})
    digits = hashlib.sha256(tiny.weights["sem_seg"].read_bytes()).hexdigest()[:8]
    whole = hashlib.md5(tiny.weights["sem_seg"].read_bytes()).hexdigest()
    text = re.sub(f"md5:{whole} published", f"sha256:{digits} filename", path.read_text())
    path.write_text(text)
    return path


@pytest.mark.slow
def test_every_command_that_verifies_or_judges_takes_the_option(
    tiny: TinyZoo, registry: Path, tmp_path: Path
) -> None:
    run = ("--data", tiny.data, "--device", "cpu")
    commands = {
        "fetch": ("--verify",),
        "bundle": ("--verify", "--what", "weights", "-o", tmp_path / "b.zip", "--force"),
        "eval": run,
        "sweep": run,
        "check": (*run, "--link", "weights"),
    }
    codes = {}
    for name, options in commands.items():
        common = ("--registry", registry, "--cache", tmp_path / "c", "--from", tiny.folder)
        env = {"BDDZOO_RESULTS": str(tmp_path / name)}  # a record that another accepted is accepted
        plain = bddzoo(name, SEM_SEG, *common, *options, env=env)
        told = bddzoo(name, SEM_SEG, *common, *options, "--accept-prefix", env=env)
        codes[name] = plain.returncode, told.returncode
        assert "Traceback" not in plain.stderr + told.stderr
    assert codes == dict.fromkeys(commands, (6, 0))


@pytest.mark.slow
@pytest.mark.parametrize(("option", "verdict"), [((), "unverified"), (("--accept-prefix",), "reproduced")])
def test_a_record_has_one_verdict_in_every_command(
    tiny: TinyZoo, registry: Path, tmp_path: Path, option: tuple[str, ...], verdict: str
) -> None:
    common = ("--registry", registry, "--results", tmp_path / "results")
    where = ("--data", tiny.data, "--device", "cpu", "--from", tiny.folder, "--cache", tmp_path / "c")
    bddzoo("eval", SEM_SEG, *common, *where, *option)
    for command in (
        ("results", "ls", SEM_SEG),
        ("results", "show", SEM_SEG),
        ("tables", "--measured", "--task", "sem_seg"),
        ("check", SEM_SEG, "--link", "weights"),
    ):
        found = re.findall("unverified|reproduced", bddzoo(*command, *common).stdout)
        assert set(found) == {verdict}, command
    assert bddzoo("site", "build", "-o", tmp_path / "site", *common).returncode == 0
    page = (tmp_path / f"site/models/{SEM_SEG}.html").read_text()
    assert set(re.findall('class="v (unverified|reproduced)"', page)) == {verdict}


@pytest.mark.parametrize("command", [("fetch",), ("bundle", "-o", "b.zip")], ids=["fetch", "bundle"])
def test_it_says_what_verify_accepts(tiny: TinyZoo, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = bddzoo(*command, SEM_SEG, "--accept-prefix", "--registry", tiny.registry, cwd=tmp_path)
    assert_one_line(done, 2, "give --verify, too")


def test_slurm_script_passes_it_on(tiny: TinyZoo, tmp_path: Path) -> None:
    options = ("--registry", tiny.registry, "--data", tiny.data, "--results", tmp_path / "r")
    assert "--accept-prefix" in bddzoo("sweep", SEM_SEG, *options, "--print-slurm", "--accept-prefix").stdout
    assert "--accept-prefix" not in bddzoo("sweep", SEM_SEG, *options, "--print-slurm").stdout
