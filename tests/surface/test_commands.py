"""Every command with its options, and the exit codes; the wording of help is not part of it."""

from __future__ import annotations

import json
from typing import Any

import click

from bddzoo.cli.main import cli
from bddzoo.errors import MEANINGS, ExitCode
from tests.surface.golden import HERE, assert_golden


def described(param: click.Parameter, context: click.Context) -> str:
    """Names, choices, bounds, default and environment variable of an option or argument, in one line."""
    info = param.to_info_dict()
    kind = info["type"]
    is_option = isinstance(param, click.Option)
    words = ["/".join([*info["opts"], *info["secondary_opts"]]) if is_option else "(argument)"]
    words += ["required"] if info["required"] else []
    words += ["flag"] if info.get("is_flag") else []
    words += ["count"] if info.get("count") else []
    words += ["repeatable"] if info["multiple"] or info["nargs"] == -1 else []
    words += [f"[{'|'.join(map(str, kind['choices']))}]"] if kind.get("choices") else []
    bounds = [f"{name}={kind[name]:.12g}" for name in ("min", "max") if kind.get(name) is not None]
    words += bounds + ([f"${info['envvar']}"] if info["envvar"] else [])
    default = param.get_default(context, call=False)
    empty = default is None or default == () or "UNSET" in repr(default) or default is False
    return " ".join(words if empty else [*words, f"default={default}"])


def surface(command: click.Command, parent: click.Context | None, name: str) -> dict[str, Any]:
    """Parameters of a command and of its commands, by name."""
    context = click.Context(command, parent=parent, info_name=name)
    # Options in any order, arguments in theirs.
    options = sorted(described(p, context) for p in command.params if isinstance(p, click.Option))
    arguments = [described(p, context) for p in command.params if isinstance(p, click.Argument)]
    found = {name: options + arguments}
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            part = command.get_command(context, child)
            assert part is not None
            found.update(surface(part, context, f"{name} {child}"))
    return found


def test_commands_and_their_options() -> None:
    found = surface(cli, None, "bddzoo")
    # What every command takes stands once.
    common = set.intersection(*(set(params) for params in found.values()))
    short = {name: [p for p in params if p not in common] for name, params in found.items()}
    assert_golden("commands", {"every command": sorted(common), "commands": short})


def test_exit_codes() -> None:
    assert_golden("exit_codes", {code.name: [int(code), MEANINGS[code]] for code in ExitCode})


def test_the_json_of_every_command_is_among_the_golden_files() -> None:
    files = [json.loads(path.read_text()) for path in sorted((HERE / "golden").glob("json_*.json"))]
    seen = {name.removeprefix("=") for content in files for name in content}
    printing = [
        name.removeprefix("bddzoo ")
        for name, params in surface(cli, None, "bddzoo").items()
        if any(p.startswith("--format") and "json" in p for p in params)
    ]
    groups = {name.rpartition(" ")[0] for name in printing} | {"bddzoo"}
    missing = [n for n in printing if n not in groups and not any(s.startswith(n) for s in seen)]
    assert missing == ["registry schema"], "it prints registry.schema.json"
