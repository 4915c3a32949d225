"""Command blocks of Markdown documents: found, run one after the other, and held against what they show.

A fenced block marked `bash` or `python` is run, each in a process of its own. A block marked `text` that
follows shows lines of its output: each must occur, in order; `...` stands for anything, on a
line of its own for any lines. `<!-- exit N -->` on the line before a block says which status its last
command ends with.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(```+)\s*(\w*)\s*$")
PROGRAMS = {
    "bash": ("bash", "-euo", "pipefail", "-c"),
    "python": ("python", "-W", "error::UserWarning", "-c"),
}
_EXIT = re.compile(r"^<!-- exit (\d+) -->$")


@dataclass
class Block:
    """One command block: where it stands, what to run, how it ends, and which lines it shows."""

    line: int
    language: str
    commands: str
    status: int
    shows: list[str]


def blocks_of(text: str) -> list[Block]:
    """The command blocks of a document, in order."""
    found: list[Block] = []
    status, language, fence, start = 0, "", "", 0
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _FENCE.match(line)
        if fence:
            if match and match[1] == fence and not match[2]:
                if language in PROGRAMS:
                    found.append(Block(start, language, "\n".join(body), status, []))
                    status = 0
                elif language == "text" and found:
                    found[-1].shows += body
                fence = ""
            else:
                body.append(line)
        elif match:
            fence, language, start, body = match[1], match[2], number, []
        elif exits := _EXIT.match(line):
            status = int(exits[1])
    return found


def missing_line(shows: list[str], output: str) -> str | None:
    """The first line that is shown and does not occur in the output after those before it, or None."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    at = 0
    for shown in shows:
        wanted = " ".join(shown.split())
        if wanted in ("", "..."):
            continue
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in wanted.split("...")))
        while at < len(lines) and not pattern.search(lines[at]):
            at += 1
        if at == len(lines):
            return shown
        at += 1
    return None


def run_block(block: Block, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a block; its whole output.

    Raises:
        AssertionError: It ended otherwise than the document says, or printed something else.
    """
    done = subprocess.run(
        [*PROGRAMS[block.language], block.commands],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == block.status, (
        f"line {block.line}: status {done.returncode}, not {block.status}\n{block.commands}\n{done.stdout}"
    )
    lost = missing_line(block.shows, done.stdout)
    assert lost is None, f"line {block.line}: no line like {lost!r} in\n{done.stdout}"
    return done.stdout
