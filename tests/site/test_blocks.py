"""Blocks that pages share give back exactly what each page would have said."""

from __future__ import annotations

from html import escape

from hypothesis import given
from hypothesis import strategies as st

from bddzoo.reports.site.render import MARK, PageBlock, share

# Texts that hold the mark itself, and names that hold each other.
texts = st.lists(st.sampled_from([MARK, "{", "a", "b", "&lt;", "&amp;", "ab"]), max_size=6).map("".join)


@given(
    st.dictionaries(
        st.text(alphabet="ab{}<&", min_size=1, max_size=4), st.lists(texts, max_size=4), max_size=5
    )
)
def test_nothing_is_lost_and_nothing_is_changed(pages: dict[str, list[str]]) -> None:
    shared = share({model: [PageBlock("b", html) for html in blocks] for model, blocks in pages.items()})
    for model, blocks in pages.items():
        told = [shared.blocks[name].replace(MARK, escape(model)) for name in shared.names[model]]
        rest = list(blocks)
        for html in told:
            rest.remove(html)
        assert shared.own[model] == "".join(f"<section>{html}</section>" for html in rest)


def test_what_differs_in_the_name_only_is_kept_once() -> None:
    pages = {
        name: [PageBlock("k", f"run {name}"), PageBlock("d", f"{i}")]
        for i, name in enumerate(("net_a", "net_b"))
    }
    shared = share(pages)
    assert dict(shared.blocks) == {"k0": "run {model}"}
    assert shared.own == {"net_a": "<section>0</section>", "net_b": "<section>1</section>"}
