"""Blocks of model pages that many models share: written once, so that thousands of pages stay small.

What a page says of its paper, protocol or files differs from its neighbours' in nothing but the model's id.
Such a block is kept once, with a mark where the id stands; a page names it and a script puts it in. A reader
without scripts finds it on the page of references.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

MARK = "{model}"


@dataclass(frozen=True)
class Block:
    """A part of a page.

    Attributes:
        kind: One letter: what it is about.
        html: Its HTML.
    """

    kind: str
    html: str


@dataclass(frozen=True)
class Shared:
    """All pages' blocks, told apart.

    Attributes:
        blocks: Name -> HTML with `MARK` in place of the model's id.
        names: Model id -> names of its shared blocks, in order.
        own: Model id -> HTML of the blocks that only this page has.
    """

    blocks: Mapping[str, str]
    names: Mapping[str, Sequence[str]]
    own: Mapping[str, str]


def share(pages: Mapping[str, Sequence[Block]]) -> Shared:
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
    return Shared({name: text for text, name in known.items()}, names, own)


def _general(html: str, model: str) -> str | None:
    """The block with the mark for the model's id; None where it could not be turned back."""
    name = escape(model)
    text = html.replace(name, MARK)
    return text if text.replace(MARK, name) == html else None
