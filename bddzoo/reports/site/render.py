"""Templates and assets of the site."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
# In the order in which they stand in the one script of the front page.
SCRIPTS = ("state.js", "rows.js", "table.js", "filters.js", "plot.js", "export.js", "main.js")


@cache
def environment() -> Environment:
    """The templates; every value is escaped, and a name that is not given is an error."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    env = Environment(
        loader=FunctionLoader(_lean),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["ticks"] = _ticks
    env.filters["path"] = lambda name: quote(name, safe="~")
    return env


def render(template: str, **values: object) -> str:
    """A template filled in."""
    return environment().get_template(template).render(**values)


def template(name: str) -> Any:
    """A template's macros, as functions that return HTML."""
    return environment().get_template(name).module


def asset(name: str) -> str:
    """A style sheet or a script, without its indentation and lines of comment."""
    lines = (HERE / "assets" / name).read_text(encoding="utf-8").splitlines()
    bare = (line.strip() for line in lines)
    return "\n".join(line for line in bare if line and not line.startswith("//")) + "\n"


def front_script() -> str:
    """All scripts of the front page as one, so that a folder opened as a file needs no modules."""
    parts = "".join(asset(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _ticks(text: str) -> str:
    """The text with what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = str(text).split("`")
    # An odd backtick at the end stands for itself.
    if len(parts) % 2 == 0:
        parts[-2:] = ["`".join(parts[-2:])]
    coded = (escape(p) if i % 2 == 0 else Markup("<code>{}</code>").format(p) for i, p in enumerate(parts))
    return Markup("").join(coded)


def _lean(name: str) -> str | None:
    """A template without its indentation: there is a page for each model, and spaces add up."""
    path = HERE / "templates" / name
    if not path.is_file():
        return None
    return "\n".join(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
