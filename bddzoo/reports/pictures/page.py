"""A page with a slider between two pictures of a frame: no server, no network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from bddzoo.reports.pictures.compare import Compared
from bddzoo.reports.pictures.errors import COLOURS, WORDS, rounded

TEMPLATE = "page.html"
MIME = {".jpg": "image/jpeg", ".png": "image/png"}


def comparison_page(title: str, titles: Sequence[str], frames: Sequence[Compared], embed: Path | None) -> str:
    """HTML of the page.

    Args:
        title: Of the page.
        titles: Of the pictures of a frame; the page opens with the first two predictions side by side, or the
            truth and the only one.
        frames: What there is, in the order in which it is shown.
        embed: Folder whose pictures are put into the page itself; None to link them.

    Returns:
        A document that asks for nothing but the pictures beside it.
    """
    data = {
        "titles": list(titles),
        "start": [2, 4] if len(titles) > 4 else [1, 2],
        "frames": [
            {
                "name": frame.name,
                "differ": round(frame.difference, 5),
                "shares": [rounded(told) for told in frame.shares],
                "files": [_link(file, embed) for file in frame.files],
            }
            for frame in frames
        ],
    }
    # A script element ends at the first "</", even within a string.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    legend = "".join(
        f'<li><span class="key k{outcome}" style="background-color:rgb{COLOURS[outcome]}"></span>'
        f"{html.escape(word)}</li>"
        for outcome, word in WORDS.items()
    )
    page = (files("bddzoo.reports.pictures") / TEMPLATE).read_text(encoding="utf-8")
    for name, value in (
        ("title", html.escape(title)),
        ("legend", legend),
        ("links", "" if embed else _plain_links(titles, frames)),
        ("data", text),
    ):
        page = page.replace("{{" + name + "}}", value)
    return page


def _plain_links(titles: Sequence[str], frames: Sequence[Compared]) -> str:
    """What is left of the page where scripts are off."""
    rows = []
    for frame in frames:
        links = ", ".join(
            f'<a href="{html.escape(quote(file))}">{html.escape(title)}</a>'
            for title, file in zip(titles, frame.files, strict=True)
        )
        rows.append(f"<li>{html.escape(frame.name)}: {links}</li>")
    return "<ul>" + "".join(rows) + "</ul>"


def _link(file: str, embed: Path | None) -> str:
    if embed is None:
        return quote(file)
    path = embed / file
    return f"data:{MIME[path.suffix]};base64," + base64.b64encode(path.read_bytes()).decode("ascii")
