"""What documents point at is there: files, headings, commands and their options, models."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from bddzoo.cli.main import cli
from bddzoo.registry import load_registry

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.parent.name not in ("zoo", "reference")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# Global options without a value.
FLAGS = {"-q", "-v", "--quiet", "--verbose", "--no-color", "--version"}
# Of a shell, not of a command.
ENDS = {"|", "&&", ">", ";", "||"}


def prose(text: str) -> str:
    return FENCED.sub("", text)


def anchors(path: Path) -> set[str]:
    """Anchors of the headings, as GitHub and mkdocs make them."""
    titles = re.findall(r"^#+ (.+)$", prose(path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def mentions(text: str) -> list[list[str]]:
    """Commands in code, each as words after `bddzoo`."""
    text = re.sub(r"\\\n\s*", " ", text)
    inline = re.findall(r"`(bddzoo [^`]+)`", re.sub(r"\n", " ", prose(text)))
    lines = [line.strip() for line in text.splitlines() if re.match(r"(    |\$ )?bddzoo ", line)]
    found = []
    for command in (*inline, *(part for line in lines for part in re.split(r" && ", line))):
        words = re.sub(r"\s#.*", "", command).replace("'", "").replace('"', "").split()
        end = next((i for i, word in enumerate(words) if word in ENDS), len(words))
        if words[:1] == ["bddzoo"]:
            found.append(words[1:end])
    return found


def options_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that is meant, and the options that are named."""
    command: click.Command = cli
    context = click.Context(cli)
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        if rest[0].startswith("-"):
            rest = rest[1 if rest[0] in FLAGS else 2 :]
            continue
        found = command.get_command(context, rest[0])
        assert found is not None, f"no command {rest[0]!r}: {' '.join(words)}"
        command, rest = found, rest[1:]
    return command, [word.partition("=")[0].rstrip(",.;:") for word in rest if re.match(r"--?[a-z]", word)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(prose(document.read_text("utf-8"))):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_exist(document: Path) -> None:
    for words in mentions(document.read_text("utf-8")):
        command, options = options_of(words)
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        assert set(options) <= known | {"-h", "--help"}, " ".join(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_models_that_are_named_exist(document: Path) -> None:
    registry = load_registry()
    named = re.findall(r"[\w.+-]+_(?:sem_seg|ins_seg)_bdd100k\b", prose(document.read_text("utf-8")))
    for model in set(named):
        if not model.startswith(("my_", "_")):
            assert registry.find(model)


def test_commands_are_found() -> None:
    block = "```bash\nbddzoo -q info 'a' && bddzoo demo # so\n```\n"
    text = f"Run `bddzoo list\n--zoo x`, or:\n\n    bddzoo cache ls | wc\n\n{block}"
    assert mentions(text) == [["list", "--zoo", "x"], ["cache", "ls"], ["-q", "info", "a"], ["demo"]]
    assert options_of(["list", "--zoo=x", "a"])[1] == ["--zoo"]
    assert options_of(["-q", "results", "ls", "--latest"])[0].name == "ls"
    with pytest.raises(AssertionError, match="no command 'lst'"):
        options_of(["lst"])
