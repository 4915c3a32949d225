"""The help of every command: options are explained, and the examples are commands that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from bddzoo.cli.app import App
from bddzoo.cli.main import cli
from bddzoo.registry import load_registry

REGISTRY = load_registry()
# Options that write a file or a folder of the user's choice, in all commands alike.
OUT = {"-o", "--out"}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with what is typed after `bddzoo`."""
    root = click.Context(cli)
    stack: list[tuple[str, click.Command]] = [
        (name, found) for name in cli.list_commands(root) if (found := cli.get_command(root, name))
    ]
    while stack:
        name, command = stack.pop(0)
        yield name, command
        if isinstance(command, click.Group):
            stack += [(f"{name} {child}", found) for child, found in command.commands.items()]


def examples(text: str | None) -> list[list[str]]:
    """Command lines of an epilog, split into words after `bddzoo`; what else a shell does is left out."""
    lines = re.sub(r"\\\n\s*", " ", text or "").splitlines()
    found = []
    for line in lines:
        if not re.match(r"\s+([A-Z_]+=\S+ )*bddzoo ", line):
            continue
        words = shlex.split(line)
        while "bddzoo" in words:
            words = words[words.index("bddzoo") + 1 :]
            end = next((i for i, word in enumerate(words) if word in (">", "|", "&&")), len(words))
            found.append(words[:end])
            words = words[end:]
    return found


ALL = dict(commands())
EXAMPLES = [
    pytest.param(words, id=" ".join(words)[:70])
    for command in (*ALL.values(), cli)
    for words in examples(command.epilog)
]


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_explained(name: str) -> None:
    for option in ALL[name].params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, option.opts
            assert option.help.endswith((".", "?", ")")) or ":" in option.help, option.help


@pytest.mark.parametrize("name", ALL)
def test_every_command_that_writes_says_out(name: str) -> None:
    for option in ALL[name].params:
        if OUT & set(option.opts):
            assert set(option.opts) >= OUT, option.opts


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_examples_of_itself(name: str) -> None:
    words = name.split()
    found = examples(ALL[name].epilog)
    assert any(example[: len(words)] == words for example in found)


@pytest.mark.parametrize("name", [name for name, found in ALL.items() if isinstance(found, click.Group)])
def test_groups_list_their_commands_in_whole_sentences(name: str) -> None:
    done = CliRunner().invoke(cli, [*name.split(), "--help"])
    assert done.exit_code == 0
    told = " ".join(done.output.split())
    assert "..." not in told.partition("Commands:")[2].partition("Examples:")[0]
    for command in ALL[name].commands.values():  # type: ignore[attr-defined]
        assert str(command.help).partition(".")[0].split()[-1] in told


@pytest.mark.parametrize("words", EXAMPLES)
def test_examples_are_commands(words: list[str]) -> None:
    """Every option is known and has a value that it takes; nothing is run."""
    context: click.Context = click.Context(cli, info_name="bddzoo", obj=App())
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group):
        name, child, rest = command.resolve_command(context, rest)
        assert name is not None
        assert child is not None
        command = child
        if isinstance(command, click.Group):
            context = click.Context(command, parent=context, info_name=name)
    command.make_context(" ".join(words), rest, parent=context)


@pytest.mark.parametrize("words", EXAMPLES)
def test_models_of_examples_are_in_the_registry(words: list[str]) -> None:
    named = [w for w in words if w.endswith("_bdd100k") and "/" not in w and not w.startswith("my_")]
    for word in named:
        assert REGISTRY.find(word)
