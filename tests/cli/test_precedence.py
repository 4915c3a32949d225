"""What the user types beats the environment, before and after a command's name, for every command."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import pytest

from bddzoo.cli.app import App
from bddzoo.cli.main import cli
from tests.cli.inprocess import command
from tests.cli.test_one_instrument import EVERY
from tests.surface.golden import SAMPLES

# Global option -> its variable, the field it sets, and what is typed.
SETTINGS = {"--registry": ("BDDZOO_REGISTRY", "registry_path"), "--cache": ("BDDZOO_CACHE", "cache_dir")}


COMMANDS = [tuple(name.split()) for name in EVERY]


def parsed(path: tuple[str, ...], typed: dict[int, list[str]]) -> tuple[App, click.Context]:
    """The global options after parsing; `typed`: arguments at each depth, 0 before the first name."""
    app = App()
    # Resilient: arguments that the command needs are left out.
    context = cli.make_context("bddzoo", [*typed.get(0, [])], obj=app, resilient_parsing=True)
    for depth, name in enumerate(path, 1):
        group = context.command
        assert isinstance(group, click.Group)
        child = group.get_command(context, name)
        assert child is not None
        context = child.make_context(name, [*typed.get(depth, [])], parent=context, resilient_parsing=True)
    return app, context


def test_the_table_names_every_global_option_that_has_a_variable() -> None:
    shared = [p for p in cli.params if isinstance(p, click.Option) and p.envvar]
    assert {p.opts[0]: p.envvar for p in shared} == {
        **{option: variable for option, (variable, _) in SETTINGS.items()},
        "--no-color": "NO_COLOR",
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("option", SETTINGS)
def test_before_and_after_every_command(
    option: str, path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    variable, field = SETTINGS[option]
    monkeypatch.setenv(variable, "of-the-environment")
    assert getattr(parsed(path, {})[0], field) == Path("of-the-environment")
    for depth in range(len(path) + 1):
        assert getattr(parsed(path, {depth: [option, "typed"]})[0], field) == Path("typed"), depth
    # The one that stands last.
    assert getattr(parsed(path, {0: [option, "a"], len(path): [option, "b"]})[0], field) == Path("b")
    monkeypatch.delenv(variable)
    assert getattr(parsed(path, {0: [option, "typed"]})[0], field) == Path("typed")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_options_of_single_commands(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    own = [p for p in parsed(path, {})[1].command.params if isinstance(p, click.Option) and p.expose_value]
    for param in own:
        if not isinstance(param.envvar, str) or param.name is None:
            continue
        monkeypatch.setenv(param.envvar, "of-the-environment")
        assert parsed(path, {})[1].params[param.name] == Path("of-the-environment")
        typed = parsed(path, {len(path): [param.opts[-1], "typed"]})[1].params[param.name]
        assert typed == Path("typed"), param.opts


@pytest.mark.parametrize("value", ["1", "0", "anything"])
def test_no_color_whatever_its_value(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    assert not parsed(("cache", "ls"), {})[0].color


def test_the_cache_that_was_named_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, other = tmp_path / "named", tmp_path / "other"
    for root in (named, other):
        shutil.copytree(SAMPLES / "cache", root)
    monkeypatch.setenv("BDDZOO_CACHE", str(other))
    before = sorted(path for path in other.rglob("*"))
    assert command("--cache", named, "cache", "rm", "--all", "--yes").code == 0
    assert sorted(path for path in other.rglob("*")) == before
    assert not [path for path in named.rglob("*") if path.is_file()]


def test_the_registry_that_was_named_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, other = (
        Path(shutil.copy(SAMPLES / "registry.yaml", tmp_path / f"{n}.yaml")) for n in ("named", "other")
    )
    monkeypatch.setenv("BDDZOO_REGISTRY", str(other))
    before = other.read_bytes()
    done = command("--registry", named, "registry", "add", "new_one", "--like", "few_bytes")
    assert "new_one was added" in done.err, done
    assert other.read_bytes() == before
    assert b"new_one" in named.read_bytes()
