"""Templates and assets of the site.

Blocks of model pages that many models share: written once, so that thousands of pages stay small.

What a page says of its paper, protocol or files differs from its neighbours' in nothing but the model's id.
Such a block is kept once, with a mark where the id stands; a page names it and a script puts it in. A reader
without scripts finds it on the page of references.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
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
        loader=FunctionLoader(_minified),
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


def _minified(name: str) -> str | None:
    """A template without its indentation: there is a page for each model, and spaces add up."""
    path = HERE / "templates" / name
    if not path.is_file():
        return None
    return "\n".join(line.strip() for line in path.read_text(encoding="utf-8").splitlines())


MARK = "{model}"


@dataclass(frozen=True)
class PageBlock:
    """A part of a page.

    Attributes:
        kind: One letter: what it is about.
        html: Its HTML.
    """

    kind: str
    html: str


@dataclass(frozen=True)
class SharedBlocks:
    """All pages' blocks, told apart.

    Attributes:
        blocks: Name -> HTML with `MARK` in place of the model's id.
        names: Model id -> names of its shared blocks, in order.
        own: Model id -> HTML of the blocks that only this page has.
    """

    blocks: Mapping[str, str]
    names: Mapping[str, Sequence[str]]
    own: Mapping[str, str]


def share(pages: Mapping[str, Sequence[PageBlock]]) -> SharedBlocks:
    """Tell blocks that several pages have from those that only one has.

    Args:
        pages: Model id -> its blocks in order.
    """
    general = {
        (model, i): _general(block.html, model)
        for model, blocks in pages.items()
        for i, block in enumerate(blocks)
    }
    uses = Counter(text for text in general.values() if text is not None)
    known: dict[str, str] = {}
    counts: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    own: dict[str, str] = {}
    for model, blocks in pages.items():
        mine, rest = [], []
        for i, block in enumerate(blocks):
            text = general[model, i]
            if text is None or uses[text] < 2:
                rest.append(f"<section>{block.html}</section>")
                continue
            if text not in known:
                known[text] = f"{block.kind}{counts[block.kind]}"
                counts[block.kind] += 1
            mine.append(known[text])
        names[model], own[model] = mine, "".join(rest)
    return SharedBlocks({name: text for text, name in known.items()}, names, own)


def _general(html: str, model: str) -> str | None:
    """The block with the mark for the model's id; None where it could not be turned back."""
    name = escape(model)
    text = html.replace(name, MARK)
    return text if text.replace(MARK, name) == html else None
